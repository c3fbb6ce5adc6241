//! Instructions of the hot paths, by `valgrind --tool=callgrind`, against the table that is committed beside this.
//!
//! Runs itself under valgrind once for each path. `--update` (`make bench-count`) rewrites the table.

mod table;
#[allow(dead_code, reason = "shared with other benches and tests")]
#[path = "../workload/mod.rs"]
mod workload;

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use host_model::iommu::{CacheShape, Config, InterruptRequest, Outcome};

use table::Table;
use workload::Workload;
use workload::bare::BareArray;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Prepares a path, hands it to [`collect_instructions`], and says how many operations that was.
type Measured = (&'static str, fn() -> usize);

const PATHS: [Measured; 11] = [
    ("bare lookup", bare_lookup),
    ("bare 16-byte read", read_16),
    ("cached remap", cached_remap),
    ("cached remap by token", cached_remap_by_token),
    ("uncached remap", uncached_remap),
    ("uncached remap by tokens", uncached_remap_by_tokens),
    ("filling remap", filling_remap),
    ("IOTLB hit", iotlb_hit),
    ("IOTLB fill", iotlb_fill),
    ("invalidation", invalidation),
    ("command of 258", command_of_258),
];

/// What valgrind counts.
#[inline(never)]
fn collect_instructions(path: &mut dyn FnMut()) {
    path();
}

fn main() -> Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    let has = |flag| args.iter().any(|arg| arg == flag);
    if let [flag, name] = &args[..]
        && flag == "--path"
    {
        let (_, path) = PATHS.iter().find(|(n, _)| n == name).ok_or("no such path")?;
        println!("{}", path());
        return Ok(());
    }
    // Cargo's tests of benches don't say so.
    if !has("--bench") {
        return Ok(());
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("instructions: no valgrind; `make bench-count` installs it");
        return Ok(());
    }
    let old = Table::committed()?;
    let rows = PATHS.iter().map(|(name, _)| Ok((*name, count(name)?)));
    let new = Table::new(&rows.collect::<Result<Vec<_>>>()?)?;
    new.print_against(&old);
    if has("--update") {
        new.commit()?;
    }
    Ok(())
}

/// Instructions an operation.
fn count(name: &str) -> Result<f64> {
    let file = format!("callgrind.{}.out", name.replace(' ', "-"));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*collect_instructions*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe()?)
        .args(["--path", name])
        .output()?;
    if !output.status.success() {
        return Err(format!("valgrind: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let operations: u32 = String::from_utf8(output.stdout)?.trim().parse()?;
    let profile = fs::read_to_string(&file)?;
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let instructions: u32 = totals.ok_or("callgrind counted nothing")?.trim().parse()?;
    Ok(f64::from(instructions) / f64::from(operations))
}

fn bare_lookup() -> usize {
    let requests = workload::requests();
    let array = BareArray::holding(&requests);
    collect_instructions(&mut || {
        for request in &requests {
            black_box(array.find(black_box(request)));
        }
    });
    requests.len()
}

fn read_16() -> usize {
    let (workload, requests) = (Workload::new(workload::roomy()), workload::requests());
    let entries: Vec<_> = requests.iter().map(workload::entries_of).collect();
    collect_instructions(&mut || {
        for [_, irte] in &entries {
            workload.read_16(black_box(*irte));
        }
    });
    entries.len()
}

fn remap(
    config: Config,
    ask: impl Fn(&Workload, &InterruptRequest) -> Outcome,
    prepare: impl Fn(&Workload),
) -> usize {
    let (workload, requests) = (Workload::new(config), workload::requests());
    workload.warm(&requests);
    prepare(&workload);
    collect_instructions(&mut || {
        for request in &requests {
            black_box(Workload::destination(ask(&workload, black_box(request))));
        }
    });
    requests.len()
}

fn uncached() -> Config {
    Config::default().with_caches(CacheShape::DISABLED)
}

fn cached_remap() -> usize {
    remap(workload::roomy(), Workload::ask, |_| ())
}

fn cached_remap_by_token() -> usize {
    remap(workload::roomy(), Workload::ask_by_tokens, |_| ())
}

fn uncached_remap() -> usize {
    remap(uncached(), Workload::ask, |_| ())
}

fn uncached_remap_by_tokens() -> usize {
    remap(uncached(), Workload::ask_by_tokens, |_| ())
}

/// The DTE is cached, and the IRTE is when it is over.
fn filling_remap() -> usize {
    remap(workload::roomy(), Workload::ask, |workload| {
        let flush = workload::flush();
        workload.write_commands(&flush);
        workload.execute(flush.len());
    })
}

fn translate(prepare: impl Fn(&Workload)) -> usize {
    let (workload, requests) = (Workload::new(workload::roomy()), workload::translations());
    workload.warm_translations(&requests);
    prepare(&workload);
    collect_instructions(&mut || {
        for request in &requests {
            black_box(Workload::physical(workload.translate(black_box(request))));
        }
    });
    requests.len()
}

fn iotlb_hit() -> usize {
    translate(|_| ())
}

/// The DTE is cached, and the translation is when it is over.
fn iotlb_fill() -> usize {
    translate(|workload| {
        workload.write_commands(&[workload::invalidate_pages()]);
        workload.execute(1);
    })
}

fn commands(commands: &[[u64; 2]]) -> usize {
    let workload = Workload::new(workload::roomy());
    workload.warm(&workload::requests());
    workload.write_commands(commands);
    collect_instructions(&mut || workload.execute(black_box(commands.len())));
    commands.len()
}

fn invalidation() -> usize {
    let requesters = workload::requesters();
    commands(&requesters.map(workload::invalidate).collect::<Vec<_>>())
}

fn command_of_258() -> usize {
    commands(&workload::flush())
}
