use std::cell::{Cell, RefCell};

use sim_bridge::SimTime;

/// A CPU's local APIC, as far as fixed interrupts go, and the CPU's interrupt flag.
#[derive(Default)]
pub struct LocalApic {
    /// Interrupt request register.
    requested: Cell<[u128; 2]>,
    /// The CPU has interrupts disabled this many times over.
    disabled: Cell<u32>,
    /// A handler runs.
    in_service: Cell<bool>,
    /// Disabled by software (SVR.ASE), as that of a CPU that is offline.
    off: Cell<bool>,
    deliveries: RefCell<Vec<Delivery>>,
}

/// An interrupt that a local APIC accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// When.
    pub time: SimTime,
    /// The vector.
    pub vector: u8,
}

impl LocalApic {
    /// Takes an interrupt message.
    pub fn accept(&self, time: SimTime, vector: u8) {
        self.deliveries.borrow_mut().push(Delivery { time, vector });
        let mut requested = self.requested.get();
        requested[usize::from(vector >> 7)] |= 1 << (vector & 0x7f);
        self.requested.set(requested);
    }

    /// Whether a vector waits for its CPU.
    pub fn is_requested(&self, vector: u8) -> bool {
        self.requested.get()[usize::from(vector >> 7)] >> (vector & 0x7f) & 1 != 0
    }

    /// Linux `apic_soft_disable`: it accepts no vectors from now on, and its CPU takes none. What waits goes on waiting.
    pub fn disable(&self) {
        self.off.set(true);
    }

    /// After INIT: enabled, and nothing waits.
    pub fn reset(&self) {
        self.off.set(false);
        self.requested.set([0; 2]);
    }

    /// Whether it accepts vectors.
    pub fn is_enabled(&self) -> bool {
        !self.off.get()
    }

    /// All that it has accepted.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.borrow().clone()
    }

    /// The highest requested vector, put in service, if the CPU takes interrupts now.
    pub fn acknowledge(&self) -> Option<u8> {
        if self.has_interrupts_off() {
            return None;
        }
        let mut requested = self.requested.get();
        let word = (0..2).rev().find(|&word| requested[word] != 0)?;
        let bit = 127 - requested[word].leading_zeros();
        requested[word] &= !(1 << bit);
        self.requested.set(requested);
        self.in_service.set(true);
        u8::try_from(word * 128 + bit as usize).ok()
    }

    /// End of interrupt.
    pub fn end_of_interrupt(&self) {
        self.in_service.set(false);
    }

    /// Whether the CPU takes no interrupts: it has disabled them, a handler runs, or it is offline.
    pub fn has_interrupts_off(&self) -> bool {
        self.disabled.get() != 0 || self.in_service.get() || self.off.get()
    }

    /// Nests.
    pub fn disable_interrupts(&self) {
        self.disabled.set(self.disabled.get() + 1);
    }

    /// Undoes one [`LocalApic::disable_interrupts`].
    pub fn enable_interrupts(&self) {
        self.disabled.set(self.disabled.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_vector_is_served_first_one_at_a_time() {
        let apic = LocalApic::default();
        for vector in [0x21, 0xef, 0x80] {
            apic.accept(SimTime::ZERO, vector);
        }
        assert_eq!(apic.acknowledge(), Some(0xef));
        assert_eq!(apic.acknowledge(), None);
        apic.end_of_interrupt();
        assert_eq!(apic.acknowledge(), Some(0x80));
    }

    #[test]
    fn a_cpu_with_interrupts_disabled_takes_none_until_enabled() {
        let apic = LocalApic::default();
        apic.disable_interrupts();
        apic.disable_interrupts();
        apic.accept(SimTime::ZERO, 0x31);
        apic.enable_interrupts();
        assert_eq!(apic.acknowledge(), None);
        apic.enable_interrupts();
        assert_eq!(apic.acknowledge(), Some(0x31));
    }

    #[test]
    fn messages_of_one_vector_merge_but_are_recorded_each() {
        let apic = LocalApic::default();
        apic.accept(SimTime::from_ns(1), 0x31);
        apic.accept(SimTime::from_ns(2), 0x31);
        assert_eq!(apic.acknowledge(), Some(0x31));
        apic.end_of_interrupt();
        assert_eq!(apic.acknowledge(), None);
        assert_eq!(apic.deliveries().len(), 2);
    }
}
