//! An HPET, as far as its timers' messages go (IA-PC HPET specification 1.0a, 2.3.8 to 2.3.10).

use super::io_apic::Message;

/// Tn_INT_ENB_CNF of a timer's configuration.
pub const ENABLE: u32 = 1 << 2;
/// Tn_FSB_EN_CNF: it sends messages.
pub const FSB_ENABLE: u32 = 1 << 14;
/// Tn_FSB_INT_DEL_CAP: it can.
const FSB_CAPABLE: u32 = 1 << 15;

/// Offset of a timer's configuration and capabilities.
pub const fn configuration(timer: u8) -> u64 {
    0x100 + 0x20 * timer as u64
}

/// Offset of a timer's FSB interrupt route: data, then address.
pub const fn route(timer: u8) -> u64 {
    configuration(timer) + 0x10
}

/// The timers' registers.
pub(super) struct Hpet {
    timers: Vec<Timer>,
}

#[derive(Clone, Copy, Default)]
struct Timer {
    configuration: u32,
    data: u32,
    address: u32,
}

impl Hpet {
    pub(super) fn new(timers: u8) -> Self {
        Self {
            timers: vec![Timer::default(); timers.into()],
        }
    }

    pub(super) fn read(&self, offset: u64) -> u32 {
        let timer = place(offset).and_then(|(timer, register)| Some((self.timers.get(timer)?, register)));
        match timer {
            Some((timer, 0)) => timer.configuration | FSB_CAPABLE,
            Some((timer, 0x10)) => timer.data,
            Some((timer, 0x14)) => timer.address,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: u64, value: u32) {
        let timer = place(offset).and_then(|(timer, register)| Some((self.timers.get_mut(timer)?, register)));
        match timer {
            Some((timer, 0)) => timer.configuration = value & (ENABLE | FSB_ENABLE),
            Some((timer, 0x10)) => timer.data = value,
            Some((timer, 0x14)) => timer.address = value,
            _ => {}
        }
    }

    /// A timer has come to its end: what it sends.
    pub(super) fn fire(&self, timer: u8) -> Option<Message> {
        let timer = self.timers.get(usize::from(timer))?;
        let sends = timer.configuration & (ENABLE | FSB_ENABLE) == ENABLE | FSB_ENABLE;
        sends.then(|| (timer.address.into(), timer.data))
    }
}

/// The timer and the register in it.
fn place(offset: u64) -> Option<(usize, u64)> {
    let offset = offset.checked_sub(configuration(0))?;
    Some((usize::try_from(offset / 0x20).ok()?, offset % 0x20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_sends_its_route_while_it_is_enabled_to() {
        let mut hpet = Hpet::new(3);
        hpet.write(route(2), 0x23);
        hpet.write(route(2) + 4, 0xfee0_1000);
        assert_eq!(hpet.fire(2), None);
        hpet.write(configuration(2), ENABLE | FSB_ENABLE);
        assert_eq!(hpet.fire(2), Some((0xfee0_1000, 0x23)));
        assert_eq!((hpet.fire(1), hpet.fire(3)), (None, None));
        assert_eq!(hpet.read(configuration(2)), ENABLE | FSB_ENABLE | FSB_CAPABLE);
    }
}
