//! What a function loses with its power, saved and restored (Linux drivers/pci/pci.c).

use std::ops::RangeInclusive;

use sim_bridge::RequesterId;

use crate::machine::Cpu;

/// A function's configuration header: `saved_config_space`. Nobody here changes what else `pci_save_state` saves, but for
/// MSI and MSI-X, which the interrupt core knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    id: RequesterId,
    header: [u32; 16],
}

/// DWs in the order in which they are restored: the BARs before the command register.
const PARTS: [RangeInclusive<u16>; 3] = [10..=15, 4..=9, 0..=3];

impl SavedState {
    /// `pci_save_state`.
    pub async fn save(cpu: &Cpu, id: RequesterId) -> Self {
        let mut header = [0; 16];
        for (register, saved) in (0..).step_by(4).zip(&mut header) {
            *saved = cpu.config_read(id, register).await;
        }
        Self { id, header }
    }

    /// `pci_restore_config_space`: writes what is not as it was, each part from its end.
    pub async fn restore(&self, cpu: &Cpu) {
        for dw in PARTS.into_iter().flat_map(RangeInclusive::rev) {
            let saved = self.header[usize::from(dw)];
            if cpu.config_read(self.id, 4 * dw).await != saved {
                cpu.config_write(self.id, 4 * dw, saved).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sim_bridge::tlp::Body;

    use super::*;
    use crate::machine::{LinkTo, Machine, MachineConfig};
    use crate::pci::config;
    use crate::scripted::ScriptedDevice;

    const ID: RequesterId = RequesterId::new(0x41, 0, 0);

    #[test]
    fn what_was_lost_is_written_bars_before_the_command_register() {
        let mut device = ScriptedDevice::default();
        for register in (0..0x40).step_by(4) {
            device = device.config(register, 0, 0);
        }
        let device = device
            .config(config::COMMAND, 0, 0xffff)
            .config(config::BAR0, 0xc, 0xfffe_0000)
            .config(config::BAR0 + 4, 0, u32::MAX);
        let machine =
            Machine::new(MachineConfig::default(), [LinkTo::new(ID, device.clone())]).expect("memory");
        let sent_before = machine.run(|cpu| async move {
            for (register, value) in [
                (config::COMMAND, 6),
                (config::BAR0, 0xe000_0000),
                (config::BAR0 + 4, 1),
            ] {
                cpu.config_write(ID, register, value).await;
            }
            let saved = SavedState::save(&cpu, ID).await;
            cpu.machine().power_cycle().await;
            let before = device.sent().len();
            saved.restore(&cpu).await;
            let lost = SavedState::save(&cpu, ID).await != saved;
            assert!(!lost);
            let sent = device.sent();
            let writes = sent[before..].iter().filter_map(|tlp| match &tlp.body {
                Body::ConfigWrite(write) => Some((write.register, u32::from_le_bytes(write.data))),
                _ => None,
            });
            writes.collect::<Vec<_>>()
        });
        assert_eq!(
            sent_before.expect("nothing stalls"),
            [
                (config::BAR0 + 4, 1),
                (config::BAR0, 0xe000_000c),
                (config::COMMAND, 6)
            ]
        );
    }
}
