//! From a [`Model`]'s settings to a library and a Rust module.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use super::classes::Classes;
use super::generate::{self, Names};
use super::manifest::{self, Manifest};
use super::messages::{self, Message, Severity};
use super::model::{Built, Model};
use super::ports::{self, Direction, Port};
use super::{Error, Verilator, cxx};

/// Part of the manifest: a model is built anew when this crate's part of it changes.
const SHIM: [&str; 4] = [
    include_str!("generate.rs"),
    include_str!("../../cpp/verilated_rs.h"),
    include_str!("../../cpp/verilated_rs_model.h"),
    include_str!("../../cpp/verilated_rs_print.h"),
];
const SHIM_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cpp");

/// Where the parts of one model are.
struct Paths {
    dir: PathBuf,
    class: String,
    symbol: String,
    library: String,
}

impl Paths {
    fn new(model: &Model) -> Result<Paths, Error> {
        let name = &model.name;
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let identifier = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(letter);
        if !identifier || generate::is_keyword(name) {
            return Err(Error::Name(name.clone()));
        }
        let out_dir = match &model.out_dir {
            Some(dir) => dir.clone(),
            None => env::var_os("OUT_DIR")
                .ok_or(Error::Environment("OUT_DIR"))?
                .into(),
        };
        // Names of two packages' models in one program must differ.
        let package = env::var("CARGO_PKG_NAME").unwrap_or_default().replace('-', "_");
        let unique = format!("{package}_{name}");
        Ok(Paths {
            dir: out_dir.join("verilated").join(name),
            class: format!("V{unique}"),
            symbol: format!("verilated_design_{unique}"),
            library: format!("verilated_{unique}"),
        })
    }

    fn generated(&self) -> PathBuf {
        self.dir.join("cpp")
    }

    fn header(&self) -> PathBuf {
        self.generated().join(format!("{}.h", self.class))
    }

    fn archive(&self) -> PathBuf {
        self.dir.join(format!("lib{}.a", self.library))
    }

    fn manifest(&self) -> PathBuf {
        self.dir.join("manifest")
    }

    fn messages(&self) -> PathBuf {
        self.dir.join("messages")
    }

    fn ports(&self) -> PathBuf {
        self.dir.join("ports")
    }

    fn rust_file(&self) -> PathBuf {
        self.dir.join("model.rs")
    }
}

pub fn build(model: &Model) -> Result<Built, Error> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VERILATOR");
    let paths = Paths::new(model)?;
    for source in &model.sources {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let verilator = model.find_verilator()?;
    if let Some(warning) = verilator.warning() {
        println!("cargo::warning={warning}");
    }
    println!("cargo::rerun-if-changed={}", verilator.path.display());

    let compiler = compiler(model, &verilator);
    let settings = settings(model, &verilator, &paths, &compiler)?;
    let current = Manifest::read(&paths.manifest()).is_some_and(|m| m.is_current(&settings));
    if !current {
        verilate(model, &verilator, &paths)?;
        generate_and_compile(model, compiler, &paths)?;
        let rule = paths.generated().join(format!("{}__ver.d", paths.class));
        let mut files = manifest::dependencies(&read(&rule)?);
        files.extend([paths.header(), paths.rust_file(), paths.ports(), paths.archive()]);
        write(&paths.manifest(), |at| Manifest::new(settings, files).write(at))?;
    }
    tell_cargo(&paths);
    let header = read(&paths.header())?;
    Ok(Built {
        ports: parse_ports(model, &header)?,
        warnings: tell_warnings(&read(&paths.messages())?),
        rebuilt: !current,
        rust_file: paths.rust_file(),
    })
}

/// Everything but the sources that the result depends on.
fn settings(
    model: &Model,
    verilator: &Verilator,
    paths: &Paths,
    compiler: &cc::Build,
) -> Result<Vec<String>, Error> {
    let tool = compiler
        .try_get_compiler()
        .map_err(|e| Error::Cxx(e.to_string()))?;
    let mut settings = model.arguments(&paths.class);
    settings.push(verilator.answer.clone());
    settings.push(verilator.path.display().to_string());
    settings.push(format!("{:?}", tool.to_command()));
    settings.push(format!(
        "clock {:?} ports {:?} level {}",
        model.clock, model.ports_of, model.opt_level
    ));
    settings.push(runtime_library());
    settings.extend(SHIM.map(str::to_owned));
    Ok(settings)
}

fn compiler(model: &Model, verilator: &Verilator) -> cc::Build {
    let target = env!("VERILATED_TARGET");
    let mut build = cxx::base(verilator, Path::new(SHIM_DIR), model.position_independent, target);
    if let Some(path) = &model.compiler {
        build.compiler(path);
    }
    build
}

fn verilate(model: &Model, verilator: &Verilator, paths: &Paths) -> Result<(), Error> {
    // Files of another Verilator or of modules that are no more would be compiled too.
    match fs::remove_dir_all(&paths.dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&paths.dir)(error)),
        _ => {}
    }
    let generated = paths.generated();
    write(&generated, |dir| fs::create_dir_all(dir))?;
    let output = Command::new(&verilator.path)
        .args(model.arguments(&paths.class))
        .arg("--Mdir")
        .arg(&generated)
        .output()
        .map_err(io_error(&verilator.path))?;
    if !output.status.success() {
        let mut said = messages::parse(&String::from_utf8_lossy(&output.stderr));
        if said.iter().any(|m| m.severity == Severity::Error) {
            said.retain(|m| m.severity == Severity::Error);
        }
        return Err(Error::Design(said));
    }
    write(&paths.messages(), |at| fs::write(at, &output.stderr))
}

fn generate_and_compile(model: &Model, mut compiler: cc::Build, paths: &Paths) -> Result<(), Error> {
    let generated = paths.generated();
    let header = read(&paths.header())?;
    let ports = parse_ports(model, &header)?;
    let classes = Classes::parse(&read(&generated.join(format!("{}_classes.mk", paths.class)))?);
    check_runtime(model, &classes)?;
    share_ports(model, paths, &ports)?;

    let names = Names {
        module: &model.name,
        class: &paths.class,
        symbol: &paths.symbol,
        library: &paths.library,
        clock: clock(model, &ports)?,
        ports_of: model.ports_of.as_deref(),
        trace: model.trace,
    };
    let shim = generated.join("verilated_rs_shim.cpp");
    write(&shim, |at| fs::write(at, generate::cxx(&names, &ports)))?;
    write(&paths.rust_file(), |at| {
        fs::write(at, generate::rust(&names, &ports))
    })?;
    write(&paths.ports(), |at| fs::write(at, ports::describe(&ports)))?;

    compiler
        .cargo_metadata(false)
        .include(&generated)
        .out_dir(&paths.dir);
    let mut slow = compiler.clone();
    // It runs once: time spent on it is time lost.
    slow.opt_level(model.opt_level.min(1))
        .files(units(paths, "slow", &classes.slow, classes.parallel)?);
    let mut fast = vec!["verilated_rs_shim".to_owned()];
    fast.extend(classes.fast);
    compiler
        .opt_level(model.opt_level)
        .files(units(paths, "fast", &fast, classes.parallel)?);
    let compiled = slow
        .try_compile_intermediates()
        .and_then(|objects| compiler.objects(objects).try_compile(&paths.library));
    compiled.map_err(|error| {
        let said = cxx::diagnose(&slow)
            .or_else(|| cxx::diagnose(&compiler))
            .unwrap_or_else(|| error.to_string());
        Error::Cxx(format!("the C++ of `{}` does not compile:\n{said}", model.name))
    })
}

/// The files to compile. Those of a small model are one, with the shim: the headers take longer than the model, and the
/// compiler sees more of it at a time.
fn units(paths: &Paths, name: &str, classes: &[String], parallel: bool) -> Result<Vec<PathBuf>, Error> {
    let generated = paths.generated();
    if parallel {
        return Ok(classes
            .iter()
            .map(|class| generated.join(format!("{class}.cpp")))
            .collect());
    }
    let file = generated.join(format!("verilated_rs_{name}.cpp"));
    let text: String = classes
        .iter()
        .map(|class| format!("#include \"{class}.cpp\"\n"))
        .collect();
    write(&file, |at| fs::write(at, text))?;
    Ok(vec![file])
}

/// The parts of the run-time library, as its build script says; outside a build script all that it can have.
fn runtime_library() -> String {
    env::var("DEP_VERILATED_RUNTIME")
        .unwrap_or_else(|_| "verilated verilated_threads verilated_fst_c".to_owned())
}

fn check_runtime(model: &Model, classes: &Classes) -> Result<(), Error> {
    let library = runtime_library();
    let mut missing: Vec<&str> = classes.global.iter().map(String::as_str).collect();
    missing.retain(|part| !library.split(' ').any(|there| there == *part));
    match missing.as_slice() {
        [] => Ok(()),
        ["verilated_fst_c"] => Err(Error::NoFst(model.name.clone())),
        parts => Err(Error::Runtime {
            design: model.top.clone(),
            parts: parts.join(", "),
        }),
    }
}

fn share_ports(model: &Model, paths: &Paths, ports: &[Port]) -> Result<(), Error> {
    let Some(other) = &model.ports_of else {
        return Ok(());
    };
    let error = |problem: String| Error::PortsOf {
        model: model.name.clone(),
        other: other.clone(),
        problem,
    };
    let theirs = paths.dir.with_file_name(other).join("ports");
    let theirs = fs::read_to_string(theirs)
        .map_err(|_| error("it is not built; build it first, in the same build.rs".to_owned()))?;
    let ours = ports::describe(ports);
    let differ = |a: &str, b: &str| a.lines().find(|l| !b.lines().any(|m| m == *l)).map(str::to_owned);
    match differ(&ours, &theirs).or(differ(&theirs, &ours)) {
        Some(line) => Err(error(format!("only one of them has `{line}`"))),
        None if ours != theirs => Err(error("they are in another order".to_owned())),
        None => Ok(()),
    }
}

fn parse_ports(model: &Model, header: &str) -> Result<Vec<Port>, Error> {
    ports::parse(header).map_err(|source| Error::Port {
        design: model.top.clone(),
        source,
    })
}

fn clock<'a>(model: &Model, ports: &'a [Port]) -> Result<Option<&'a Port>, Error> {
    let Some(name) = &model.clock else { return Ok(None) };
    let mut candidates = ports
        .iter()
        .filter(|p| p.direction == Direction::Input && p.width == 1);
    if let Some(port) = candidates.clone().find(|p| p.name == *name) {
        return Ok(Some(port));
    }
    let mut inputs = candidates
        .next()
        .map_or("none".to_owned(), |p| format!("`{}`", p.name));
    candidates.for_each(|p| inputs += &format!(", `{}`", p.name));
    Err(Error::Clock {
        design: model.top.clone(),
        clock: name.clone(),
        inputs,
    })
}

fn tell_cargo(paths: &Paths) {
    // Which library to link says the Rust file: a package with a library and programs may include it in any of them.
    println!("cargo::rustc-link-search=native={}", paths.dir.display());
    let manifest = Manifest::read(&paths.manifest());
    // Own results are younger than this run, and Cargo would run it again.
    let sources = manifest
        .iter()
        .flat_map(Manifest::files)
        .filter(|file| !file.starts_with(&paths.dir));
    for file in sources {
        println!("cargo::rerun-if-changed={}", file.display());
    }
}

fn tell_warnings(output: &str) -> Vec<Message> {
    let mut said = messages::parse(output);
    said.retain(|m| m.severity == Severity::Warning);
    for message in &said {
        for line in message.to_string().lines() {
            println!("cargo::warning={line}");
        }
    }
    said
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(io_error(path))
}

fn write(path: &Path, how: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    how(path).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        path: path.to_owned(),
        source,
    }
}
