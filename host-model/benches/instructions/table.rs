//! The committed counts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::{env, fs, io};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/table.txt");

/// Counts by path, with one decimal, and the compiler that made the code.
pub struct Table {
    compiler: String,
    rows: Vec<(String, f64)>,
}

impl Table {
    pub fn new(rows: &[(&str, f64)]) -> io::Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = Command::new(rustc).arg("--version").output()?;
        let version = String::from_utf8_lossy(&version.stdout);
        let version = version.split_whitespace().nth(1).unwrap_or("unknown");
        let rounded = |(name, count): &(&str, f64)| (name.to_string(), (count * 10.0).round() / 10.0);
        Ok(Self {
            compiler: format!("rustc {version}, {}", env::consts::ARCH),
            rows: rows.iter().map(rounded).collect(),
        })
    }

    /// Empty if there is none.
    pub fn committed() -> io::Result<Self> {
        let text = match fs::read_to_string(FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let rows = text.lines().filter_map(|line| {
            let (name, count) = line.rsplit_once(' ')?;
            Some((name.trim().to_owned(), count.parse().ok()?))
        });
        Ok(Self {
            compiler: text
                .lines()
                .find_map(|line| line.strip_prefix("# By "))
                .unwrap_or("nobody")
                .to_owned(),
            rows: rows.collect(),
        })
    }

    pub fn print_against(&self, old: &Self) {
        if self.compiler != old.compiler {
            println!("committed by {}, counted by {}", old.compiler, self.compiler);
        }
        let before: BTreeMap<_, _> = old.rows.iter().map(|(name, count)| (name, count)).collect();
        println!(
            "{:26} {:>10} {:>10} {:>10}",
            "instructions", "committed", "now", "difference"
        );
        for (name, count) in &self.rows {
            match before.get(name) {
                Some(before) => println!("{name:26} {before:10.1} {count:10.1} {:+10.1}", count - *before),
                None => println!("{name:26} {:>10} {count:10.1}", "-"),
            }
        }
    }

    pub fn commit(&self) -> io::Result<()> {
        let mut text = format!(
            "# Instructions an operation, by callgrind. `make bench-count` rewrites this.\n# By {}\n",
            self.compiler
        );
        for (name, count) in &self.rows {
            writeln!(text, "{name:26} {count:8.1}").expect("a string");
        }
        fs::write(FILE, text)
    }
}
