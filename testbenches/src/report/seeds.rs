//! What failed under some seed, as text and as JSON.

use serde::Serialize;

use super::text::wrapped;
use crate::run::Spec;
use crate::seeds::{Failure, Seeds, Short};

/// What failed, in lines of at most `width` columns, and the command that repeats it.
pub fn failure(failure: &Failure, width: usize) -> String {
    let what = wrapped(&format!("{}: {}", failure.spec, failure.fault), width, "", "    ");
    format!("{what}\n    repeat: {}\n", failure.spec.command())
}

/// How few of its steps fail.
pub fn short(Short { spec, steps, of }: &Short) -> String {
    if steps.len() == *of {
        return format!("    needs all of its {of} steps\n");
    }
    let mut text = format!("    {} of {of} steps do:\n", steps.len());
    for (number, name) in steps {
        text += &format!("      {number:2} {name}\n");
    }
    text + &format!("    repeat: {}\n", spec.command())
}

/// The end of a search.
pub fn summary(failures: usize, specs: &[Spec], seeds: &Seeds) -> String {
    let (combinations, each) = (specs.len(), seeds.count());
    let runs = combinations.saturating_mul(each);
    let end = match failures {
        0 => "all as expected".to_owned(),
        n => format!("{n} not as expected"),
    };
    format!("seeds {seeds}, {combinations} combinations: {runs} runs; {end}\n")
}

/// One failure. Steps and the command that repeats them are `null` where leaving out steps says nothing, or an earlier
/// failure has told it.
#[derive(Debug, Serialize)]
pub struct FailureJson {
    scenario: &'static str,
    kernel: String,
    aliases: String,
    seed: u64,
    fault: String,
    command: String,
    steps: Option<Vec<usize>>,
    short_command: Option<String>,
}

impl FailureJson {
    /// Of a failure, and that made short.
    pub fn new(Failure { spec, fault }: &Failure, short: Option<&Short>) -> Self {
        let numbers = |short: &Short| short.steps.iter().map(|(number, _)| *number).collect();
        Self {
            scenario: spec.scenario.name,
            kernel: spec.profile.to_string(),
            aliases: spec.topology.to_string(),
            seed: spec.seed,
            fault: fault.to_string(),
            command: spec.command(),
            steps: short.map(numbers),
            short_command: short.map(|short| short.spec.command()),
        }
    }
}
