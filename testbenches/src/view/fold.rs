use std::fmt;

use sim_bridge::RequesterId;

/// A line that may name one of many things in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    before: String,
    which: Option<Which>,
    after: String,
}

/// Things that come in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// A requester ID.
    Id(RequesterId),
    /// A vector of a table.
    Number(u16),
}

impl Which {
    fn later(self, steps: usize) -> Option<Self> {
        let add = |n: u16| n.checked_add(u16::try_from(steps).ok()?);
        match self {
            Self::Id(id) => add(id.0).map(|id| Self::Id(RequesterId(id))),
            Self::Number(n) => add(n).map(Self::Number),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Number(n) => n.fmt(f),
        }
    }
}

impl Line {
    /// Without one.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            before: text.into(),
            which: None,
            after: String::new(),
        }
    }

    /// With a requester ID.
    pub fn of(before: impl Into<String>, id: RequesterId, after: impl Into<String>) -> Self {
        Self {
            before: before.into(),
            which: Some(Which::Id(id)),
            after: after.into(),
        }
    }

    /// With the number of a vector.
    pub fn numbered(before: impl Into<String>, number: u16, after: impl Into<String>) -> Self {
        Self {
            before: before.into(),
            which: Some(Which::Number(number)),
            after: after.into(),
        }
    }

    /// Whether `later` is the same, but for what it names being `steps` further.
    fn repeats(&self, later: &Self, steps: usize) -> bool {
        let which = match self.which {
            None => later.which.is_none(),
            Some(which) => which.later(steps) == later.which,
        };
        which && self.before == later.before && self.after == later.after
    }

    fn show(&self, repeats: usize) -> String {
        let which = match self.which {
            None => String::new(),
            Some(which) if repeats == 1 => which.to_string(),
            Some(which) => which
                .later(repeats - 1)
                .map_or_else(String::new, |last| format!("{which} .. {last} ({repeats})")),
        };
        format!("{}{which}{}\n", self.before, self.after)
    }
}

/// The most lines that repeat together.
const MAX_BLOCK: usize = 3;
/// The fewest repetitions that are folded.
const MIN_REPEATS: usize = 3;

/// The lines as text. A block of up to three lines that repeats at least three times for consecutive requester IDs or
/// vectors is shown once, with the first, the last and their number: nothing is left out silently.
pub fn fold(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < lines.len() {
        let rest = &lines[at..];
        let folded = (1..=MAX_BLOCK).find_map(|block| {
            let first = rest.get(..block)?;
            first.iter().any(|line| line.which.is_some()).then_some(())?;
            let repeats = rest
                .chunks_exact(block)
                .enumerate()
                .take_while(|(n, chunk)| first.iter().zip(*chunk).all(|(a, b)| a.repeats(b, *n)))
                .count();
            (repeats >= MIN_REPEATS).then_some((block, repeats))
        });
        let Some((block, repeats)) = folded else {
            text += &rest[0].show(1);
            at += 1;
            continue;
        };
        if block > 1 {
            text += &format!("        {repeats} times:\n");
        }
        for line in &rest[..block] {
            text += &line.show(repeats);
        }
        at += block * repeats;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(devfn: u8) -> Line {
        Line::of("invalidate ", RequesterId::from_devfn(0x41, devfn), "")
    }

    #[test]
    fn consecutive_ids_become_one_line() {
        let lines: Vec<_> = (0..=0xff).map(of).collect();
        assert_eq!(fold(&lines), "invalidate 41:00.0 .. 41:1f.7 (256)\n");
    }

    #[test]
    fn two_lines_and_gaps_are_not_folded() {
        let lines: Vec<_> = [0, 1, 4, 6].map(of).into();
        assert_eq!(
            fold(&lines),
            "invalidate 41:00.0\ninvalidate 41:00.1\ninvalidate 41:00.4\ninvalidate 41:00.6\n"
        );
    }

    #[test]
    fn blocks_of_lines_are_folded_together() {
        let lines: Vec<_> = (1..=4)
            .flat_map(|devfn| [of(devfn), Line::plain("wait")])
            .collect();
        assert_eq!(
            fold(&lines),
            "        4 times:\ninvalidate 41:00.1 .. 41:00.4 (4)\nwait\n"
        );
    }

    #[test]
    fn plain_lines_alone_are_not_folded() {
        let lines = vec![Line::plain("wait"); 4];
        assert_eq!(fold(&lines), "wait\nwait\nwait\nwait\n");
    }
}
