//! The IOMMU in simulated time: its registers, its own work, and what that leads to.

use sim_bridge::{RequesterId, SimTime};

use super::Machine;
use crate::iommu::spec::command::Command;
use crate::iommu::spec::registers::{Control, DevTabBase, RingBase, offset};
use crate::iommu::{IotlbResponse, Step};
use crate::trace::{Kind, Source};

/// The registers of rings of which the checker is told, and what they are called.
const RINGS: [(u64, &str); 4] = [
    (offset::CMD_BUF_BASE, "command ring"),
    (offset::EVT_LOG_BASE, "event log"),
    (offset::PPR_LOG_BASE, "PPR log"),
    (offset::GA_LOG_BASE, "GA log"),
];

impl Machine {
    pub(super) fn write_iommu(&self, offset: u64, size: usize, value: u64) {
        self.iommu().write(offset, size, value);
        let register = offset & !7;
        self.with_checker(|checker| {
            if register == offset::CONTROL {
                let control = self.control();
                checker.irte_format(control.ga_en(), control.xt_en());
                checker.device_table_segments(control.dev_tbl_seg_en());
            } else if let Some(segment) = offset::dev_tab_segment(register) {
                let table = DevTabBase::from_bits(self.iommu().read(register, 8));
                checker.device_table_segment(segment, table.address(), table.length());
            } else if let Some((_, name)) = RINGS.into_iter().find(|(offset, _)| *offset == register)
                && let Ok(ring) = RingBase::from_bits(self.iommu().read(register, 8)).parse()
            {
                checker.ring(name, ring.address, ring.bytes.into());
            }
        });
        self.run_iommu();
    }

    pub(super) fn control(&self) -> Control {
        Control::from_bits(self.iommu().read(offset::CONTROL, 8))
    }

    /// Lets the IOMMU do what it has to do, a step at a time, until it waits or is done.
    pub(super) fn run_iommu(&self) {
        if self.0.iommu_runs.get() || !self.iommu().has_work() {
            return;
        }
        self.0.iommu_runs.set(true);
        let machine = self.clone();
        self.executor().spawn("IOMMU", async move {
            loop {
                machine.executor().sleep(machine.timing().iommu_step).await;
                let Some(step) = machine.iommu().step() else { break };
                machine.stepped(step);
            }
            machine.0.iommu_runs.set(false);
        });
    }

    fn stepped(&self, step: Step) {
        let now = self.now();
        self.with_checker(|checker| checker.stepped(&step, now));
        self.record(Source::Iommu, Kind::Stepped(step));
        match step {
            Step::CommandExecuted {
                command: Command::InvalidateIotlbPages { device, .. },
                ..
            } => self.await_iotlb(device),
            Step::Interrupt { source, form } => self.send_own(source, form),
            _ => {}
        }
    }

    /// No device has an IOTLB, and who has none does not answer: the IOMMU gives it up when Control.InvTimeout has passed.
    fn await_iotlb(&self, device: RequesterId) {
        let Some(timeout) = iotlb_timeout(self.control().inv_timeout()) else {
            return;
        };
        let machine = self.clone();
        self.executor()
            .spawn(format!("IOTLB invalidation of {device}"), async move {
                machine.executor().sleep(timeout).await;
                machine.iommu().iotlb_response(device, IotlbResponse::TimedOut);
                machine.run_iommu();
            });
    }
}

/// What Control.InvTimeout means; `None` is for ever (Linux `CTRL_INV_TO_NONE` to `CTRL_INV_TO_100S`, FreeBSD likewise).
/// 7 is reserved.
fn iotlb_timeout(field: u8) -> Option<SimTime> {
    let ms = match field {
        1..=6 => 10_u64.pow(u32::from(field) - 1),
        _ => return None,
    };
    Some(SimTime::from_us(1000 * ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_as_linux_names_them() {
        let ms = |ms: u64| Some(SimTime::from_us(1000 * ms));
        let named = [
            None,
            ms(1),
            ms(10),
            ms(100),
            ms(1_000),
            ms(10_000),
            ms(100_000),
            None,
        ];
        for (field, expected) in (0..).zip(named) {
            assert_eq!(iotlb_timeout(field), expected, "{field}");
        }
    }
}
