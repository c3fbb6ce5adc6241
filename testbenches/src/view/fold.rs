use sim_bridge::RequesterId;

/// A line that may name a requester ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    before: String,
    id: Option<RequesterId>,
    after: String,
}

impl Line {
    /// Without one.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            before: text.into(),
            id: None,
            after: String::new(),
        }
    }

    /// With one.
    pub fn of(before: impl Into<String>, id: RequesterId, after: impl Into<String>) -> Self {
        Self {
            before: before.into(),
            id: Some(id),
            after: after.into(),
        }
    }

    /// Whether `later` is the same but for an ID that is `steps` higher.
    fn repeats(&self, later: &Self, steps: usize) -> bool {
        let id = match (self.id, later.id) {
            (None, None) => true,
            (Some(id), Some(later)) => usize::from(id.0) + steps == usize::from(later.0),
            _ => false,
        };
        id && self.before == later.before && self.after == later.after
    }

    fn show(&self, id: Option<String>) -> String {
        let id = id.or(self.id.map(|id| id.to_string())).unwrap_or_default();
        format!("{}{id}{}\n", self.before, self.after)
    }
}

/// The most lines that repeat together.
const MAX_BLOCK: usize = 3;
/// The fewest repetitions that are folded.
const MIN_REPEATS: usize = 3;

/// The lines as text. A block of up to three lines that repeats at least three times for consecutive requester IDs is
/// shown once, with the first and last ID and their number: nothing is left out silently.
pub fn fold(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < lines.len() {
        let rest = &lines[at..];
        let folded = (1..=MAX_BLOCK).find_map(|block| {
            let first = rest.get(..block)?;
            first.iter().any(|line| line.id.is_some()).then_some(())?;
            let repeats = rest
                .chunks_exact(block)
                .enumerate()
                .take_while(|(n, chunk)| first.iter().zip(*chunk).all(|(a, b)| a.repeats(b, *n)))
                .count();
            (repeats >= MIN_REPEATS).then_some((block, repeats))
        });
        let Some((block, repeats)) = folded else {
            text += &rest[0].show(None);
            at += 1;
            continue;
        };
        if block > 1 {
            text += &format!("        {repeats} times:\n");
        }
        for line in &rest[..block] {
            let range = line
                .id
                .map(|id| format!("{id} .. {} ({repeats})", RequesterId(id.0 + repeats as u16 - 1)));
            text += &line.show(range);
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
