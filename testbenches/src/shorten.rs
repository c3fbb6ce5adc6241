//! The fewest steps that still fail: delta debugging (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing
//! Input, 2002, `ddmin`).

/// Of `items`, which fail together, a selection in the same order that still fails, and no longer does so without any
/// one of its items.
pub fn shorten<T: Clone>(items: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = items.to_vec();
    let mut parts = 2;
    while left.len() > 1 {
        let chunk = left.len().div_ceil(parts);
        let starts = (0..left.len()).step_by(chunk);
        let part = |start: usize| left[start..left.len().min(start + chunk)].to_vec();
        let without = |start: usize| {
            let mut rest = left.clone();
            rest.drain(start..left.len().min(start + chunk));
            rest
        };
        if let Some(part) = starts.clone().map(part).find(|part| fails(part)) {
            left = part;
            parts = 2;
        } else if let Some(rest) = starts.map(without).find(|rest| fails(rest)) {
            left = rest;
            parts = (parts - 1).max(2);
        } else if chunk > 1 {
            parts = (2 * parts).min(left.len());
        } else {
            break;
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fails_alone_is_left_alone() {
        let steps: Vec<u32> = (1..=20).collect();
        let mut tried = 0;
        let left = shorten(&steps, |some| {
            tried += 1;
            some.contains(&13)
        });
        assert_eq!(left, [13]);
        assert!(tried < 20, "{tried} tried, and one by one takes 20");
    }

    #[test]
    fn what_fails_only_as_a_whole_stays_whole() {
        assert_eq!(shorten(&[1, 2, 3, 4, 5], |some| some.len() == 5), [1, 2, 3, 4, 5]);
    }

    proptest! {
        #[test]
        fn exactly_the_steps_that_are_needed_are_left(
            count in 1usize..40, needed in prop::collection::btree_set(0usize..40, 1..6),
        ) {
            let needed: BTreeSet<_> = needed.into_iter().map(|n| n % count).collect();
            let steps: Vec<usize> = (0..count).collect();
            let left = shorten(&steps, |some| needed.iter().all(|n| some.contains(n)));
            prop_assert_eq!(left, needed.into_iter().collect::<Vec<_>>());
        }

        /// Whatever the reason, also where more may be better than less.
        #[test]
        fn what_is_left_fails_and_needs_each_of_its_steps(count in 1usize..12, failing in any::<u64>()) {
            let fails = |some: &[usize]| {
                let bits = some.iter().fold(0u64, |bits, n| bits | 1 << n);
                some.len() == count || (failing.rotate_left((bits % 64) as u32) ^ bits) % 3 == 0 && !some.is_empty()
            };
            let left = shorten(&(0..count).collect::<Vec<_>>(), fails);
            prop_assert!(fails(&left));
            for n in 0..left.len() {
                let mut fewer = left.clone();
                fewer.remove(n);
                prop_assert!(fewer.is_empty() || !fails(&fewer), "{left:?} without {n}");
            }
        }
    }
}
