//! Results as JSON.

use std::collections::BTreeMap;

use host_model::checker::{Finding, Place};
use serde::Serialize;

use crate::run::{Interrupts, Outcome, Spec};

/// One run. CPU numbers, vectors and indices are numbers, requester IDs as `41:00.1`.
#[derive(Debug, Serialize)]
pub struct RunJson {
    scenario: &'static str,
    kernel: String,
    aliases: String,
    irte: u32,
    seed: u64,
    verdict: &'static str,
    expected: bool,
    interrupts: InterruptsJson,
    commands: BTreeMap<&'static str, u64>,
    commands_per_move: Option<BTreeMap<&'static str, u64>>,
    findings: Vec<FindingJson>,
}

#[derive(Debug, Serialize)]
struct InterruptsJson {
    raised: u64,
    delivered: u64,
    misrouted: u64,
    spurious: u64,
    blocked: u64,
    lost: u64,
    stale: u64,
    in_flight: u64,
}

#[derive(Debug, Serialize)]
struct FindingJson {
    kind: &'static str,
    rid: String,
    index: u16,
    vector_got: Option<u8>,
    vector_expected: Option<u8>,
    cpu_got: Option<u32>,
    cpu_expected: Option<u32>,
    missing_invalidations: Vec<String>,
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
            verdict: outcome.verdict.name(),
            expected: outcome.is_expected(),
            interrupts: outcome.interrupts.into(),
            commands: outcome.commands.clone(),
            commands_per_move: outcome.commands_per_move.clone(),
            findings: outcome.findings.iter().map(FindingJson::from).collect(),
        }
    }
}

impl From<Interrupts> for InterruptsJson {
    fn from(counts: Interrupts) -> Self {
        let Interrupts {
            raised,
            delivered,
            misrouted,
            spurious,
            blocked,
            lost,
            stale,
            in_flight,
        } = counts;
        Self {
            raised,
            delivered,
            misrouted,
            spurious,
            blocked,
            lost,
            stale,
            in_flight,
        }
    }
}

impl From<&Finding> for FindingJson {
    fn from(finding: &Finding) -> Self {
        let vector = |place: Option<Place>| place.map(|place| place.vector);
        let cpu = |place: Option<Place>| place.map(|place| place.cpu);
        Self {
            kind: finding.kind.name(),
            rid: finding.requester.to_string(),
            index: finding.index,
            vector_got: vector(finding.got),
            vector_expected: vector(finding.expected),
            cpu_got: cpu(finding.got),
            cpu_expected: cpu(finding.expected),
            missing_invalidations: finding
                .missing_invalidations
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}
