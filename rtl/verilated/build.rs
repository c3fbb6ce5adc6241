//! Compiles the Verilator run-time library, once for all models of a program.

#[allow(
    dead_code,
    reason = "the library's own file, of which a build script uses a part"
)]
#[path = "src/build/verilator.rs"]
mod verilator;

#[allow(
    dead_code,
    reason = "the library's own file, of which a build script uses a part"
)]
#[path = "src/build/classes.rs"]
mod classes;

#[path = "src/build/cxx.rs"]
mod cxx;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use classes::Classes;
use verilator::Verilator;

fn main() {
    for file in ["build.rs", "src/build", "cpp"] {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=VERILATOR");
    println!(
        "cargo::rustc-env=VERILATED_TARGET={}",
        env::var("TARGET").expect("Cargo sets TARGET")
    );
    let wanted = env::var_os("CARGO_FEATURE_RUN").is_some() && env::var_os("DOCS_RS").is_none();
    if wanted && let Err(error) = compile() {
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
    }
}

fn compile() -> Result<(), Box<dyn Error>> {
    let verilator = Verilator::find()?;
    if let Some(warning) = verilator.warning() {
        println!("cargo::warning={warning}");
    }
    println!("cargo::rerun-if-changed={}", verilator.path.display());
    println!("cargo::rerun-if-changed={}", verilator.include().display());
    println!("cargo::metadata=verilator={}", verilator.path.display());

    let fst = env::var_os("CARGO_FEATURE_FST").is_some();
    let include = verilator.include();
    let shim = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("cpp");
    let mut build = cxx::base(&verilator, &shim, false, "");
    build.file(shim.join("verilated_rs.cpp"));
    let sources = runtime_sources(&verilator, fst)?;
    build.files(sources.iter().map(|name| include.join(format!("{name}.cpp"))));
    println!("cargo::metadata=runtime={}", sources.join(" "));
    build.try_compile("verilated_runtime").map_err(|error| {
        let said = cxx::diagnose(&build).unwrap_or_else(|| error.to_string());
        let hint = if fst {
            "\n(FST needs zlib and lz4: Debian packages zlib1g-dev, liblz4-dev)"
        } else {
            ""
        };
        format!("the Verilator run-time library does not compile:\n{said}{hint}")
    })?;

    println!("cargo::rustc-link-lib=pthread");
    if fst {
        println!("cargo::rustc-link-lib=z");
        if include.join("fstcpp").is_dir() {
            println!("cargo::rustc-link-lib=lz4");
        }
    }
    Ok(())
}

/// What this release's models need, from its own mouth: the names change between releases.
fn runtime_sources(verilator: &Verilator, fst: bool) -> Result<Vec<String>, Box<dyn Error>> {
    let dir = Path::new(&env::var("OUT_DIR")?).join("probe");
    fs::create_dir_all(&dir)?;
    fs::write(
        dir.join("probe.v"),
        "module probe(input clk, output reg q); always @(posedge clk) q <= ~q; endmodule\n",
    )?;
    let mut command = Command::new(&verilator.path);
    command
        .args(["--cc", "--prefix", "Vprobe", "--Mdir", ".", "probe.v"])
        .current_dir(&dir);
    if fst {
        command.arg("--trace-fst");
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let list = fs::read_to_string(dir.join("Vprobe_classes.mk"))?;
    let sources = Classes::parse(&list).global;
    if sources.is_empty() {
        return Err(format!(
            "{} lists no run-time sources",
            dir.join("Vprobe_classes.mk").display()
        )
        .into());
    }
    Ok(sources)
}
