//! Results for a person at a terminal: a line a run, what was found explained under it.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use host_model::checker::{Explanation, FindingKind, Verdict};

use super::finding_id::FindingId;
use crate::run::{Interrupts, Outcome, Spec, word};

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
        "{scenario:20} {:7} {topology:14} {style}{:9}{style:#} {expected}  {DIM}{seed}{}{DIM:#}\n",
        spec.profile,
        outcome.verdict,
        counts(&outcome.interrupts)
    );
    for told in Explanation::of(&outcome.findings) {
        for paragraph in short(&told) {
            text += &wrapped(&paragraph, width, "    ", "    ");
            text.push('\n');
        }
        // In one piece, to be copied.
        let id = FindingId::of(spec, told.finding).to_string();
        text += &format!("    ntb-cosim explain {}\n", word(&id));
    }
    text
}

/// In lines of `width` columns; names with a `-` stay in one piece.
pub fn wrapped(text: &str, width: usize, first: &str, others: &str) -> String {
    let options = textwrap::Options::new(width.max(40))
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .initial_indent(first)
        .subsequent_indent(others);
    textwrap::fill(text, options)
}

/// A run that makes no sense, and why.
pub fn senseless(spec: &Spec, because: &str) -> String {
    let (scenario, topology) = (spec.scenario.name, spec.topology.to_string());
    format!(
        "{scenario:20} {:7} {topology:14} {DIM}not run: {because}{DIM:#}\n",
        spec.profile
    )
}

/// The short form of a finding, in paragraphs.
fn short(told: &Explanation<'_>) -> Vec<String> {
    let mut paragraphs = vec![told.sentence()];
    let look_at = told.finding.function.map(|function| format!(" ({function})"));
    if let Some(missing) = told.missing() {
        paragraphs.push(format!("Missing: {missing}{}.", look_at.unwrap_or_default()));
    }
    paragraphs
}

/// The end of a list of runs.
pub fn summary(verdicts: &[(Verdict, bool)]) -> String {
    let count = |verdict| verdicts.iter().filter(|(v, _)| *v == verdict).count();
    let all = std::iter::once(Verdict::Coherent).chain(FindingKind::ALL.into_iter().rev().map(Verdict::Bad));
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
        Verdict::Bad(kind) if kind >= FindingKind::Stale => RED,
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
    match parts.is_empty() {
        true => format!("{raised} raised"),
        false => format!("{raised} raised: {}", parts.join(", ")),
    }
}
