//! The matrix of all runs, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use host_model::checker::{FindingKind, Verdict};
use serde::Serialize;

use super::text::wrapped;
use crate::matrix::{Cell, CellResult, Matrix};

/// Between a row's name and its groups.
const GAP: usize = 2;
/// Numbers of a group's columns.
const NUMBERS: &str = "123456789abcdefghijklmnopqrstuvwxyz";

/// Rows are scenarios, groups of columns topologies, the columns of each the kernels; groups that don't fit into `width`
/// follow in a block of their own. Below are what letters and numbers mean, why, and what is not as expected.
pub fn text(matrix: &Matrix, width: usize) -> String {
    let selection = &matrix.selection;
    let rows: Vec<&str> = selection
        .scenarios
        .iter()
        .map(|(scenario, _)| scenario.name)
        .collect();
    let names = rows.iter().map(|name| name.len()).max().unwrap_or(0);
    let titles: Vec<String> = selection.topologies.iter().map(ToString::to_string).collect();
    let columns = selection.profiles.len();
    let widths: Vec<usize> = titles.iter().map(|title| title.len().max(columns)).collect();
    let mut text = String::new();
    let mut from = 0;
    while from < titles.len() {
        let mut to = from;
        let mut used = names;
        while to < titles.len() && (to == from || used + GAP + widths[to] <= width) {
            used += GAP + widths[to];
            to += 1;
        }
        let mut line = |name: &str, group: &dyn Fn(usize) -> String| {
            let mut line = format!("{name:names$}");
            for (n, width) in widths.iter().enumerate().take(to).skip(from) {
                // Writing to a string does not fail.
                let _ = write!(line, "{:GAP$}{:width$}", "", group(n));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line("", &|group| titles[group].clone());
        line("", &|_| number_line(columns));
        for (row, name) in rows.iter().enumerate() {
            line(name, &|group| {
                (0..columns)
                    .map(|column| letter(matrix.cell(row, group, column)))
                    .collect()
            });
        }
        text.push('\n');
        from = to;
    }
    text + &legend(matrix, width) + &reasons(matrix, width) + &differences(matrix, width)
}

fn number_line(columns: usize) -> String {
    NUMBERS.chars().cycle().take(columns).collect()
}

/// Small as expected, a capital otherwise.
fn letter(cell: &Cell) -> char {
    let (small, expected) = match &cell.result {
        CellResult::Senseless => return '-',
        CellResult::Failed(_) => return '!',
        CellResult::Ran { verdict, .. } => (verdict_letter(*verdict), cell.is_expected()),
    };
    match (small, expected) {
        ('.', false) => 'C',
        (small, true) => small,
        (small, false) => small.to_ascii_uppercase(),
    }
}

fn verdict_letter(verdict: Verdict) -> char {
    match verdict {
        Verdict::Coherent => '.',
        Verdict::Bad(FindingKind::Overrun) => 'o',
        Verdict::Bad(FindingKind::Oops) => 'n',
        Verdict::Bad(FindingKind::UseAfterRelease) => 'u',
        Verdict::Bad(FindingKind::Stale) => 's',
        Verdict::Bad(FindingKind::Stolen) => 't',
        Verdict::Bad(FindingKind::Misrouted) => 'm',
        Verdict::Bad(FindingKind::Lost) => 'l',
        Verdict::Bad(FindingKind::Blocked) => 'b',
        Verdict::Bad(FindingKind::Spurious) => 'p',
        Verdict::Bad(FindingKind::Left) => 'f',
        Verdict::Bad(FindingKind::Held) => 'h',
    }
}

fn legend(matrix: &Matrix, width: usize) -> String {
    let kernels: Vec<String> = NUMBERS
        .chars()
        .cycle()
        .zip(&matrix.selection.profiles)
        .map(|(number, profile)| format!("{number}={profile}"))
        .collect();
    let mut verdicts: BTreeMap<Verdict, usize> = BTreeMap::new();
    let (mut senseless, mut failed, mut unexpected) = (0, 0, 0);
    for (_, _, _, cell) in matrix.cells() {
        match &cell.result {
            CellResult::Senseless => senseless += 1,
            CellResult::Failed(_) => failed += 1,
            CellResult::Ran { verdict, .. } => {
                *verdicts.entry(*verdict).or_default() += 1;
                unexpected += usize::from(!cell.is_expected());
            }
        }
    }
    let ran: usize = verdicts.values().sum();
    let mut meanings: Vec<String> = verdicts
        .iter()
        .map(|(verdict, count)| format!("{} {verdict} ({count})", verdict_letter(*verdict)))
        .collect();
    if senseless > 0 {
        meanings.push(format!("- makes no sense ({senseless})"));
    }
    if failed > 0 {
        meanings.push(format!("! the simulation failed ({failed})"));
    }
    if unexpected > 0 {
        meanings.push(format!("a capital is not as expected ({unexpected})"));
    }
    let all = if unexpected + failed == 0 {
        "; all as expected"
    } else {
        ""
    };
    paragraph(&format!("Kernels: {}.", kernels.join(", ")), width)
        + &paragraph(&format!("{ran} runs: {}{all}.", meanings.join(", ")), width)
}

/// What should be found and why, with the scenarios that it holds for; what is coherent needs no reason.
fn reasons(matrix: &Matrix, width: usize) -> String {
    let mut reasons: Vec<(char, &'static str, Vec<&'static str>)> = Vec::new();
    for (scenario, _, _, cell) in matrix.cells() {
        let small = match cell.expected.is_senseless() {
            true => '-',
            false => verdict_letter(cell.expected.verdict()),
        };
        if small == '.' {
            continue;
        }
        let because = cell.expected.because;
        match reasons.iter_mut().find(|(s, b, _)| (*s, *b) == (small, because)) {
            Some((_, _, names)) if names.last() == Some(&scenario.name) => {}
            Some((_, _, names)) => names.push(scenario.name),
            None => reasons.push((small, because, vec![scenario.name])),
        }
    }
    let mut text = String::new();
    for (small, because, names) in reasons {
        text += &paragraph(&format!("{small} {because} ({})", names.join(", ")), width);
    }
    if text.is_empty() {
        text
    } else {
        format!("\nWhy:\n{text}")
    }
}

fn differences(matrix: &Matrix, width: usize) -> String {
    let Some((topology, profile)) = matrix.first_column_that_differs() else {
        return String::new();
    };
    let mut text = "\nNot as expected:\n".to_owned();
    for (scenario, topology, profile, cell) in matrix.cells().filter(|(_, _, _, cell)| !cell.is_expected()) {
        let what = match &cell.result {
            CellResult::Senseless => continue,
            CellResult::Ran { difference, .. } => difference.to_string(),
            CellResult::Failed(why) => format!("the simulation failed: {why}"),
        };
        text += &paragraph(&format!("{} {profile} {topology}: {what}", scenario.name), width);
    }
    text + &paragraph(
        &format!("The first column that differs: {profile} {topology}."),
        width,
    )
}

fn paragraph(text: &str, width: usize) -> String {
    wrapped(text, width, "", "  ") + "\n"
}

/// One cell.
#[derive(Debug, Serialize)]
pub struct CellJson {
    scenario: &'static str,
    kernel: String,
    aliases: String,
    /// `null` where it was not run or the simulation failed.
    verdict: Option<&'static str>,
    /// `null` where the scenario makes no sense.
    expected_verdict: Option<&'static str>,
    because: &'static str,
    expected: bool,
    failure: Option<String>,
}

/// All cells, in the order of the rows.
pub fn json(matrix: &Matrix) -> Vec<CellJson> {
    matrix
        .cells()
        .map(|(scenario, topology, profile, cell)| CellJson {
            scenario: scenario.name,
            kernel: profile.to_string(),
            aliases: topology.to_string(),
            verdict: match &cell.result {
                CellResult::Ran { verdict, .. } => Some(verdict.name()),
                CellResult::Senseless | CellResult::Failed(_) => None,
            },
            expected_verdict: (!cell.expected.is_senseless()).then(|| cell.expected.verdict().name()),
            because: cell.expected.because,
            expected: cell.is_expected(),
            failure: match &cell.result {
                CellResult::Failed(why) => Some(why.clone()),
                CellResult::Ran { .. } | CellResult::Senseless => None,
            },
        })
        .collect()
}
