//! Results as JSON.

use std::collections::BTreeMap;

use host_model::checker::{Explanation, Finding, Place};
use serde::Serialize;

use super::finding_id::FindingId;
use crate::run::{Interrupts, Outcome, Spec};

/// One run. CPU numbers, vectors and indices are numbers, requester IDs as `41:00.1`.
#[derive(Debug, Serialize)]
pub struct RunJson {
    scenario: &'static str,
    kernel: String,
    aliases: String,
    irte: u32,
    seed: u64,
    /// What runs exactly this.
    command: String,
    verdict: &'static str,
    expected: bool,
    interrupts: Interrupts,
    commands: BTreeMap<&'static str, u64>,
    commands_per_move: Option<BTreeMap<&'static str, u64>>,
    findings: Vec<FindingJson>,
}

#[derive(Debug, Serialize)]
struct FindingJson {
    /// What `explain` takes.
    id: String,
    kind: &'static str,
    rid: Option<String>,
    index: Option<u16>,
    sentence: String,
    history: Vec<MomentJson>,
    missing: Option<String>,
    function: Option<&'static str>,
    vector_got: Option<u8>,
    vector_expected: Option<u8>,
    cpu_got: Option<u32>,
    cpu_expected: Option<u32>,
    missing_invalidations: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MomentJson {
    time_ps: u64,
    what: String,
}

impl RunJson {
    /// Of a run.
    pub fn new(spec: &Spec, outcome: &Outcome) -> Self {
        Self {
            scenario: spec.scenario.name,
            kernel: spec.profile.to_string(),
            aliases: spec.topology.to_string(),
            irte: spec.irte.bits(),
            seed: spec.seed,
            command: spec.command(),
            verdict: outcome.verdict.name(),
            expected: outcome.is_expected(),
            interrupts: outcome.interrupts,
            commands: outcome.commands.clone(),
            commands_per_move: outcome.commands_per_move.clone(),
            findings: outcome
                .findings
                .iter()
                .map(|finding| FindingJson::new(spec, finding))
                .collect(),
        }
    }
}

impl FindingJson {
    fn new(spec: &Spec, finding: &Finding) -> Self {
        let vector = |place: Option<Place>| place.map(|place| place.vector);
        let cpu = |place: Option<Place>| place.map(|place| place.cpu);
        let told = Explanation::alone(finding);
        let history = told.history().into_iter().map(|(time, what)| MomentJson {
            time_ps: time.as_ps(),
            what,
        });
        Self {
            id: FindingId::of(spec, finding).to_string(),
            kind: finding.kind.name(),
            rid: finding.subject.requester().map(|id| id.to_string()),
            index: finding.subject.index(),
            sentence: told.sentence(),
            history: history.collect(),
            missing: told.missing(),
            function: finding.function,
            vector_got: vector(finding.got),
            vector_expected: vector(finding.expected),
            cpu_got: cpu(finding.got),
            cpu_expected: cpu(finding.expected),
            missing_invalidations: finding.missing_invalidations().map(|id| id.to_string()).collect(),
        }
    }
}
