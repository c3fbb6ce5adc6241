//! Results for a person at a terminal: a line a run, what was found explained under it.

use std::fmt::Write as _;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use host_model::checker::{Finding, FindingKind, History, Verdict};
use host_model::trace::{Ending, Loss};
use sim_bridge::{RequesterId, SimTime};

use crate::run::{Interrupts, Outcome, Spec};

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();

/// Of a file or a pipe.
const WIDTH_WITHOUT_TERMINAL: usize = 100;

/// Columns to write into.
pub fn width() -> usize {
    if std::io::stdout().is_terminal() {
        textwrap::termwidth()
    } else {
        WIDTH_WITHOUT_TERMINAL
    }
}

/// A run: its line, and its findings in paragraphs of `width` columns.
pub fn run(spec: &Spec, outcome: &Outcome, width: usize) -> String {
    let style = style(outcome.verdict);
    let expected = if outcome.is_expected() {
        format!("{DIM}as expected{DIM:#}")
    } else {
        format!("{RED}NOT as expected ({}){RED:#}", outcome.difference)
    };
    let (scenario, topology) = (spec.scenario.name, spec.topology.to_string());
    let seed = match spec.seed {
        0 => String::new(),
        seed => format!("seed {seed}, "),
    };
    let mut text = format!(
        "{scenario:16} {:5} {topology:14} {style}{:9}{style:#} {expected}  {DIM}{seed}{}{DIM:#}\n",
        spec.profile,
        outcome.verdict,
        counts(&outcome.interrupts)
    );
    for group in group(&outcome.findings) {
        let indent = textwrap::Options::new(width.max(40))
            .initial_indent("    ")
            .subsequent_indent("    ");
        for paragraph in explain(group) {
            text += &textwrap::fill(&paragraph, &indent);
            text.push('\n');
        }
    }
    text
}

/// A run that makes no sense, and why.
pub fn senseless(spec: &Spec, because: &str) -> String {
    let (scenario, topology) = (spec.scenario.name, spec.topology.to_string());
    format!(
        "{scenario:16} {:5} {topology:12} {DIM}not run: {because}{DIM:#}\n",
        spec.profile
    )
}

/// The end of a list of runs.
pub fn summary(verdicts: &[(Verdict, bool)]) -> String {
    let count = |verdict| verdicts.iter().filter(|(v, _)| *v == verdict).count();
    let kinds = [
        FindingKind::Stale,
        FindingKind::Misrouted,
        FindingKind::Lost,
        FindingKind::Spurious,
    ];
    let all = std::iter::once(Verdict::Coherent).chain(kinds.map(Verdict::Bad));
    let counted: Vec<String> = all
        .filter(|v| count(*v) > 0)
        .map(|verdict| format!("{} {verdict}", count(verdict)))
        .collect();
    let unexpected = verdicts.iter().filter(|(_, expected)| !expected).count();
    let end = match unexpected {
        0 => format!("{GREEN}all as expected{GREEN:#}"),
        n => format!("{RED}{n} not as expected{RED:#}"),
    };
    let runs = if verdicts.len() == 1 {
        "1 run".to_owned()
    } else {
        format!("{} runs", verdicts.len())
    };
    format!("{runs}: {}; {end}\n", counted.join(", "))
}

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Coherent => GREEN,
        Verdict::Bad(FindingKind::Stale) => RED,
        Verdict::Bad(_) => YELLOW,
    }
}

fn counts(interrupts: &Interrupts) -> String {
    let Interrupts {
        raised,
        delivered,
        misrouted,
        spurious,
        blocked,
        lost,
        ..
    } = *interrupts;
    let named = [
        (delivered, "delivered"),
        (misrouted, "misrouted"),
        (spurious, "spurious"),
        (blocked, "blocked"),
        (lost, "lost"),
    ];
    let parts: Vec<String> = named
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, name)| format!("{n} {name}"))
        .collect();
    format!("{raised} raised: {}", parts.join(", "))
}

/// Neighbouring findings that tell the same of consecutive requester IDs.
fn group(findings: &[Finding]) -> impl Iterator<Item = &[Finding]> {
    findings.chunk_by(|a, b| {
        let told = |f: &Finding| {
            let history = f
                .history
                .as_ref()
                .map(|h| (h.changed_by, h.changed_at, h.entry, h.invalidated.clone()));
            (
                f.kind,
                f.index,
                f.got,
                f.expected,
                f.missing_invalidations.len(),
                history,
                f.endings.clone(),
            )
        };
        a.requester.0.checked_add(1) == Some(b.requester.0) && told(a) == told(b)
    })
}

fn explain(group: &[Finding]) -> Vec<String> {
    let (first, last) = match group {
        [] => return Vec::new(),
        [one] => (one, None),
        [first, .., last] => (first, Some(last)),
    };
    let ids = match last {
        None => first.requester.to_string(),
        Some(last) => format!("{} .. {} ({} IDs)", first.requester, last.requester, group.len()),
    };
    let got = first.got.map_or("nowhere".to_owned(), |place| place.to_string());
    let expected = match first.expected {
        Some(place) => format!("to {place}"),
        None => "nowhere".to_owned(),
    };
    let mut paragraphs = vec![format!(
        "{ids}, index {}: went to {got}{}; by memory it goes {expected}.",
        first.index,
        met(first)
    )];
    if let Some(history) = &first.history {
        paragraphs.push(told(first, history));
    }
    if !first.missing_invalidations.is_empty() {
        let command = match first.history.as_ref().map(|history| history.entry) {
            Some("DTE") => "INVALIDATE_DEVTAB_ENTRY",
            _ => "INVALIDATE_INTERRUPT_TABLE",
        };
        paragraphs.push(format!("Missing: {command} for {ids}."));
    }
    paragraphs
}

/// What the interrupts met where they went.
fn met(finding: &Finding) -> String {
    let mut met: Vec<&str> = Vec::new();
    for ending in &finding.endings {
        let what = match ending {
            Ending::Delivered { .. } => "where its own handler still is",
            Ending::Misrouted { .. } => "where another's handler is (misrouted)",
            Ending::Spurious { .. } => "where no handler is (spurious)",
            Ending::Special { .. } => "without a vector (spurious)",
            Ending::Blocked => "but was blocked",
            Ending::Lost(Loss::NoApic(_)) => "where no CPU is (lost)",
            Ending::Lost(Loss::Posted(_)) => "where no virtual CPU runs (lost)",
            Ending::Lost(_) => "which no CPU takes (lost)",
        };
        if !met.contains(&what) {
            met.push(what);
        }
    }
    met.iter().map(|what| format!(", {what}")).collect()
}

fn told(finding: &Finding, history: &History) -> String {
    let mut text = format!(
        "The IOMMU cached the {} for {} at {}. {} changed it at {} and invalidated {}",
        history.entry,
        finding.requester,
        us(history.cached_at),
        history.changed_by,
        us(history.changed_at),
        ids(&history.invalidated),
    );
    // Writing to a string does not fail.
    let _ = match history.told_complete_at {
        Some(at) => write!(
            text,
            "; it returned at {}, and the old entry was used at {}.",
            us(at),
            us(history.used_at)
        ),
        None => write!(text, "; the old entry was used at {}.", us(history.used_at)),
    };
    text
}

fn ids(ids: &[RequesterId]) -> String {
    match ids {
        [] => "nothing".to_owned(),
        [one] => format!("{one} only"),
        [first, .., last] => format!("{first} .. {last} ({} IDs)", ids.len()),
    }
}

fn us(time: SimTime) -> String {
    format!("{:.2} us", time.as_ps() as f64 / 1e6)
}
