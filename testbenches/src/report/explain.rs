//! A finding told at length.

use host_model::checker::Explanation;

use super::finding_id::FindingId;
use super::text::wrapped;
use crate::run::Outcome;

/// The run has no such finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{case} has no finding {missing}{}", has(found))]
pub struct NoSuchFinding {
    /// Scenario, kernel, topology.
    case: String,
    /// Kind and subject.
    missing: String,
    /// Those that there are.
    found: Vec<String>,
}

/// So many are named.
const NAMED: usize = 5;

fn has(found: &[String]) -> String {
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<&str> = found.iter().take(NAMED).map(String::as_str).collect();
    match &named[..] {
        [] => ", and no other".to_owned(),
        named => format!(": there are {}{more}", named.join(", ")),
    }
}

/// The finding `id` of a run of its spec, in lines of `width` columns.
///
/// # Errors
/// The run has none of this name.
pub fn long(id: &FindingId, outcome: &Outcome, width: usize) -> Result<String, NoSuchFinding> {
    let Some(finding) = outcome.findings.iter().find(|finding| id.names(finding)) else {
        let spec = &id.spec;
        return Err(NoSuchFinding {
            case: spec.to_string(),
            missing: format!("{}:{}", id.kind.name(), id.subject),
            found: outcome
                .findings
                .iter()
                .map(|finding| FindingId::of(spec, finding).to_string())
                .collect(),
        });
    };
    let told = Explanation::of(&outcome.findings)
        .into_iter()
        .find(|told| {
            told.all()
                .any(|one| one.subject == finding.subject && one.kind == finding.kind)
        })
        .map_or(Explanation::alone(finding), |told| told.told_of(finding));
    let mut text = format!("{id}\n\n{}\n\n", wrapped(&told.sentence(), width, "", ""));
    for (time, what) in told.history() {
        let time = format!("{:>12.2} us  ", time.as_ps() as f64 / 1e6);
        let indent = " ".repeat(time.len());
        text += &wrapped(&what, width, &time, &indent);
        text.push('\n');
    }
    text.push('\n');
    let release = id.spec.profile.release;
    let at_fault = match (told.missing(), finding.function) {
        (Some(missing), Some(function)) => {
            let done = told.should_have();
            format!("Missing: {missing}. {function} of Linux {release} should have {done}.")
        }
        (Some(missing), None) => format!("Missing: {missing}."),
        (None, Some(function)) => format!("Look at {function} of Linux {release}."),
        (None, None) => String::new(),
    };
    for paragraph in [at_fault, endings(&told)] {
        if !paragraph.is_empty() {
            text += &wrapped(&paragraph, width, "", "");
            text.push('\n');
        }
    }
    Ok(text)
}

/// Where the interrupts ended, and where they should have gone.
fn endings(told: &Explanation<'_>) -> String {
    let counted: Vec<String> = told
        .endings()
        .into_iter()
        .map(|(count, how)| match count {
            1 => format!("1 interrupt: {how}"),
            _ => format!("{count} interrupts: {how}"),
        })
        .collect();
    if counted.is_empty() {
        return String::new();
    }
    let should = match told.finding.expected {
        Some(place) => format!("to {place}"),
        None => "nowhere".to_owned(),
    };
    format!("{}. By the table in memory: {should}.", counted.join("; "))
}
