//! The measurements of one run against each other and against what is asked of them.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// One measurement.
#[derive(Debug)]
pub struct Measured {
    pub name: &'static str,
    /// Operations in an iteration.
    pub operations: u64,
}

/// What a ratio must be.
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// What is measured, and against what.
pub struct Ratio {
    pub title: &'static str,
    pub of: &'static [&'static str],
    pub to: &'static [&'static str],
    pub target: Target,
}

/// Of one operation, in nanoseconds.
#[derive(Clone, Copy)]
struct Time {
    median: f64,
    /// Of the fastest sample: what a busy machine disturbs least.
    best: f64,
}

/// What was measured in this run.
pub struct Times(Vec<(&'static str, Time)>);

impl Times {
    /// From Criterion's files, those that are not older than this run.
    pub fn read(directory: &Path, measured: &[Measured], since: SystemTime) -> Self {
        let time = |measured: &Measured| {
            let directory = directory.join(measured.name).join("new");
            let estimates = json(&directory.join("estimates.json"), since)?;
            let sample = json(&directory.join("sample.json"), since)?;
            let (iterations, times) = (sample["iters"].as_array()?, sample["times"].as_array()?);
            let each = times.iter().zip(iterations);
            let each = each.filter_map(|(time, iterations)| Some(time.as_f64()? / iterations.as_f64()?));
            let operations = measured.operations as f64;
            let time = Time {
                median: estimates["median"]["point_estimate"].as_f64()? / operations,
                best: each.reduce(f64::min)? / operations,
            };
            Some((measured.name, time))
        };
        Self(measured.iter().filter_map(time).collect())
    }

    fn product(&self, names: &[&str], of: impl Fn(&Time) -> f64) -> Option<f64> {
        let time = |name: &&str| self.0.iter().find(|(n, _)| n == name);
        names.iter().map(|name| Some(of(&time(name)?.1))).product()
    }

    /// Those ratios of which everything was measured.
    pub fn print(&self, ratios: &[Ratio]) {
        println!("{:66} {:>8} {:>8}", "ns", "median", "best");
        for (name, Time { median, best }) in &self.0 {
            println!("{name:66} {median:8.2} {best:8.2}");
        }
        println!("\n{:66} {:>8} {:>8}   target", "ratio", "median", "best");
        for ratio in ratios {
            let value =
                |of: fn(&Time) -> f64| Some(self.product(ratio.of, of)? / self.product(ratio.to, of)?);
            let (Some(median), Some(best)) = (value(|time| time.median), value(|time| time.best)) else {
                continue;
            };
            let (target, met) = match ratio.target {
                Target::AtMost(target) => (format!("<= {target}"), median <= target),
                Target::AtLeast(target) => (format!(">= {target}"), median >= target),
            };
            let missed = if met { "" } else { ", missed" };
            println!("{:66} {median:8.2} {best:8.2}   {target}{missed}", ratio.title);
        }
    }
}

fn json(file: &Path, since: SystemTime) -> Option<serde_json::Value> {
    let modified = fs::metadata(file).and_then(|metadata| metadata.modified()).ok()?;
    let content = (modified >= since).then(|| fs::read(file).ok())??;
    serde_json::from_slice(&content).ok()
}
