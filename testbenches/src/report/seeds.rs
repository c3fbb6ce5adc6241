//! What failed under some seed, as text and as JSON.

use serde::Serialize;

use crate::run::Spec;
use crate::seeds::{Failure, Seeds, Short};

/// What failed, and how to repeat it, in lines of at most `width` columns but for the commands.
pub fn text(failures: &[(&Failure, Option<Short>)], specs: &[Spec], seeds: &Seeds, width: usize) -> String {
    let mut text = String::new();
    for (failure, short) in failures {
        let options = textwrap::Options::new(width.max(40)).subsequent_indent("    ");
        text += &textwrap::fill(&format!("{}: {}", failure.spec, failure.fault), options);
        text += &format!("\n    repeat: {}\n", failure.spec.command());
        let Some(Short { spec, steps, of }) = short else {
            continue;
        };
        if steps.len() == *of {
            text += &format!("    needs all of its {of} steps\n");
            continue;
        }
        text += &format!("    {} of {of} steps do:\n", steps.len());
        for (number, name) in steps {
            text += &format!("      {number:2} {name}\n");
        }
        text += &format!("    repeat: {}\n", spec.command());
    }
    let (combinations, each) = (specs.len(), seeds.count());
    let runs = combinations.saturating_mul(each);
    let end = match failures.len() {
        0 => "all as expected".to_owned(),
        n => format!("{n} not as expected"),
    };
    text + &format!("seeds {seeds}, {combinations} combinations: {runs} runs; {end}\n")
}

/// One failure. Steps and the command that repeats them are `null` where leaving out steps says nothing, or an earlier
/// failure has told it.
#[derive(Debug, Serialize)]
pub struct FailureJson {
    scenario: &'static str,
    kernel: &'static str,
    aliases: String,
    seed: u64,
    fault: String,
    command: String,
    steps: Option<Vec<usize>>,
    short_command: Option<String>,
}

/// All failures.
pub fn json(failures: &[(&Failure, Option<Short>)]) -> Vec<FailureJson> {
    failures
        .iter()
        .map(|(Failure { spec, fault }, short)| FailureJson {
            scenario: spec.scenario.name,
            kernel: spec.profile.name,
            aliases: spec.topology.to_string(),
            seed: spec.seed,
            fault: fault.to_string(),
            command: spec.command(),
            steps: short
                .as_ref()
                .map(|short| short.steps.iter().map(|(number, _)| *number).collect()),
            short_command: short.as_ref().map(|short| short.spec.command()),
        })
        .collect()
}
