//! Interrupts that no handler wants (Linux kernel/irq/spurious.c).

use super::IrqReturn;

/// Of so many interrupts ...
const LOOKED_AT: u32 = 100_000;
/// ... more than so many unhandled ones mean that nobody cares.
const TOO_MANY: u32 = 99_900;

/// What `note_interrupt` remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Unhandled {
    /// `irq_count`: interrupts since the first unhandled one.
    interrupts: u32,
    /// `irqs_unhandled`.
    pub(super) unhandled: u32,
    /// `last_unhandled`, in jiffies.
    last: u64,
}

impl Unhandled {
    /// `note_interrupt`, `hz` jiffies a second: true where the interrupt is to be disabled, as nobody cared.
    pub(super) fn note(&mut self, result: IrqReturn, jiffies: u64, hz: u64) -> bool {
        if result == IrqReturn::None {
            // One now and then does no harm, however many there have been.
            if jiffies > self.last + hz / 10 {
                self.unhandled = 0;
            }
            self.unhandled += 1;
            self.last = jiffies;
        }
        if self.unhandled == 0 {
            return false;
        }
        self.interrupts += 1;
        if self.interrupts < LOOKED_AT {
            return false;
        }
        self.interrupts = 0;
        let nobody_cared = self.unhandled > TOO_MANY;
        self.unhandled = 0;
        nobody_cared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 250;

    fn note(state: &mut Unhandled, unhandled: u32, handled: u32) -> bool {
        let none = (0..unhandled).map(|_| IrqReturn::None);
        let all = none.chain((0..handled).map(|_| IrqReturn::Handled));
        all.fold(false, |disabled, result| state.note(result, 1, HZ) | disabled)
    }

    #[test]
    fn nobody_cares_at_the_100_000th_when_more_than_99_900_are_unhandled() {
        for (unhandled, handled, disabled) in [
            (100_000, 0, true),
            (99_999, 0, false),
            (99_901, 99, true),
            (99_900, 100, false),
        ] {
            let mut state = Unhandled::default();
            assert_eq!(note(&mut state, unhandled, handled), disabled, "{unhandled}");
        }
    }

    #[test]
    fn handled_interrupts_count_only_after_an_unhandled_one() {
        let mut state = Unhandled::default();
        assert!(!note(&mut state, 0, 99_999));
        assert!(!note(&mut state, 1, 0));
        assert_eq!((state.interrupts, state.unhandled), (1, 1));
    }

    #[test]
    fn unhandled_ones_a_tenth_of_a_second_apart_are_never_too_many() {
        let mut state = Unhandled::default();
        assert!((0..199_999).all(|n| !state.note(IrqReturn::None, 26 * (n + 1), HZ)));
        assert_eq!(state.unhandled, 1);
    }
}
