use std::fmt;

use sim_bridge::RequesterId;

/// Requester IDs in words, those in a row folded: `41:00.0`, `41:00.0, 41:00.3`, `41:00.2-41:1f.7 (254 IDs)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids {
    ids: Vec<RequesterId>,
    counts: bool,
}

/// So many rows are told, then how many IDs there are beside.
const ROWS: usize = 4;

impl Ids {
    /// In the order of their numbers, each once.
    pub(super) fn new(ids: impl IntoIterator<Item = RequesterId>) -> Self {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort();
        ids.dedup();
        Self { ids, counts: true }
    }

    /// Where their number is told otherwise.
    pub(super) fn without_count(self) -> Self {
        Self {
            counts: false,
            ..self
        }
    }

    fn rows(&self) -> impl Iterator<Item = &[RequesterId]> {
        self.ids.chunk_by(|a, b| a.0.checked_add(1) == Some(b.0))
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = 0;
        for (n, row) in self.rows().take(ROWS).enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            match row {
                [first, _, .., last] => write!(f, "{comma}{first}-{last}")?,
                [first, rest @ ..] => {
                    write!(f, "{comma}{first}")?;
                    rest.iter().try_for_each(|id| write!(f, ", {id}"))?;
                }
                [] => {}
            }
            told += row.len();
        }
        match self.ids.len() {
            all if all > told => write!(f, " and {} others ({all} IDs)", all - told),
            all if all > 2 && self.counts => write!(f, " ({all} IDs)"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_a_row_are_folded_and_all_are_counted() {
        let id = |devfn| RequesterId::from_devfn(0x41, devfn);
        let rows: [(Vec<u8>, &str); 6] = [
            (vec![1], "41:00.1"),
            (vec![2, 1, 2], "41:00.1, 41:00.2"),
            (vec![0, 8], "41:00.0, 41:01.0"),
            ((0..=0xff).collect(), "41:00.0-41:1f.7 (256 IDs)"),
            (vec![0, 1, 2, 8], "41:00.0-41:00.2, 41:01.0 (4 IDs)"),
            (
                vec![0, 2, 4, 6, 8, 10],
                "41:00.0, 41:00.2, 41:00.4, 41:00.6 and 2 others (6 IDs)",
            ),
        ];
        for (devfns, expected) in rows {
            assert_eq!(Ids::new(devfns.into_iter().map(id)).to_string(), expected);
        }
    }
}
