//! How C++ is compiled: the run-time library and the models alike, as they share headers. Also compiled into this crate's
//! own build script.

use std::env;
use std::path::Path;

use super::verilator::Verilator;

/// A compilation with what all parts have in common. `shim` is the folder of `verilated_rs.h`; `target` is for callers
/// that are no build script, whom Cargo does not tell.
pub fn base(verilator: &Verilator, shim: &Path, position_independent: bool, target: &str) -> cc::Build {
    let include = verilator.include();
    let mut build = cc::Build::new();
    if env::var_os("TARGET").is_none() {
        build.target(target).host(target);
    }
    build
        .cpp(true)
        // What the compiler says is an error's text, from `diagnose`.
        .cargo_warnings(false)
        .std("gnu++17")
        // The build script's own profile does not matter: a model below -O3 is several times slower.
        .opt_level(3)
        .debug(false)
        .warnings(false)
        .pic(position_independent)
        .flag_if_supported("-fcf-protection=none")
        .flag_if_supported("-fbracket-depth=4096")
        .flag_if_supported("-faligned-new")
        .include(shim)
        .include(&include)
        .include(include.join("vltstd"))
        // Without a run-time library that prints to standard output.
        .flag("-include")
        .flag(shim.join("verilated_rs_print.h"))
        // The same for all, as headers look at it.
        .define("VM_COVERAGE", "0")
        .define("VM_SC", "0")
        .define("VM_TRACE", "1")
        .define("VM_TRACE_FST", "1")
        .define("VM_TRACE_VCD", "0");
    if !position_independent {
        // Enough for the position-independent executable that Rust links; -fPIC costs small models a fifth of their speed.
        build.flag("-fPIE");
    }
    for hook in ["FINISH", "STOP", "FATAL", "WARN"] {
        build.define(&format!("VL_USER_{hook}"), None);
    }
    build
}

/// What the compiler says about the first file that it refuses: `cc` keeps that to itself.
pub fn diagnose(build: &cc::Build) -> Option<String> {
    let tool = build.try_get_compiler().ok()?;
    build.get_files().find_map(|file| {
        let output = tool.to_command().arg("-fsyntax-only").arg(file).output().ok()?;
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
    })
}
