//! Finding a function over the link, as firmware and Linux do: IDs, BAR0, capabilities, and what quirks make of it.

use sim_bridge::RequesterId;

use super::quirks::{self, switchtec};
use super::{Function, KernelVersion, config};
use crate::irq::MsixDevice;
use crate::machine::Cpu;

/// A function that was found, with its BAR0 assigned and enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// With its aliases.
    pub function: Function,
    /// Physical address of BAR0.
    pub bar0: u64,
    /// Bytes of BAR0.
    pub bar0_bytes: u64,
    /// Its interrupts.
    pub msix: MsixDevice,
}

/// What was expected of a function and not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnumerateError {
    /// Configuration reads are not answered.
    #[error("no function answers at {0}")]
    Absent(RequesterId),
    /// BAR0 is not a memory BAR with a size.
    #[error("{id}: BAR0 is {bar:#x}, not a memory BAR")]
    Bar0 {
        /// The function.
        id: RequesterId,
        /// As read after all ones were written.
        bar: u64,
    },
    /// No MSI-X capability, or one whose table is not in BAR0.
    #[error("{0} has no MSI-X table in BAR0")]
    NoMsix(RequesterId),
}

/// More capabilities than fit into configuration space: the list has a loop.
const MAX_CAPABILITIES: usize = 48;

/// Finds the function `id`, puts its BAR0 at or above `window`, and runs `kernel`'s header fixups.
///
/// # Errors
/// See [`EnumerateError`].
pub async fn enumerate(
    cpu: &Cpu,
    id: RequesterId,
    window: u64,
    kernel: KernelVersion,
) -> Result<Found, EnumerateError> {
    let ids = cpu.config_read(id, config::ID).await;
    if ids == u32::MAX {
        return Err(EnumerateError::Absent(id));
    }
    let class = cpu.config_read(id, config::CLASS).await >> 8;
    let subsystem = cpu.config_read(id, config::SUBSYSTEM).await;
    let mut function = Function {
        subsystem: halves(subsystem),
        ..Function::endpoint(id, halves(ids), class)
    };
    quirks::header_fixups(&mut function, None, kernel);
    let (bar0, bar0_bytes) = assign_bar0(cpu, id, window).await?;
    let command = cpu.config_read(id, config::COMMAND).await;
    // The status half has bits that are cleared by writing 1.
    cpu.config_write(
        id,
        config::COMMAND,
        command & 0xffff | config::COMMAND_MEMORY_AND_MASTER,
    )
    .await;
    let msix = find_msix(cpu, id, bar0).await.ok_or(EnumerateError::NoMsix(id))?;
    Ok(Found {
        function,
        bar0,
        bar0_bytes,
        msix,
    })
}

impl Found {
    /// Runs `kernel`'s final fixups, which read the function's registers.
    pub async fn final_fixups(&mut self, cpu: &Cpu, kernel: KernelVersion) {
        if quirks::reads_proxy_ids(&self.function, kernel) {
            let proxies = switchtec::proxy_ids(cpu, self.function.id, self.bar0).await;
            quirks::add_proxy_ids(&mut self.function, proxies.iter(), kernel);
        }
    }
}

fn halves(register: u32) -> (u16, u16) {
    (register as u16, (register >> 16) as u16)
}

async fn assign_bar0(cpu: &Cpu, id: RequesterId, window: u64) -> Result<(u64, u64), EnumerateError> {
    /// Bits 3:0 say what kind of BAR it is.
    const KIND: u64 = 0xf;
    const IO: u32 = 1;
    const WIDE: u32 = 4;
    let kind = cpu.config_read(id, config::BAR0).await;
    cpu.config_write(id, config::BAR0, u32::MAX).await;
    let mut bar = u64::from(cpu.config_read(id, config::BAR0).await);
    let mut high = u32::MAX;
    if kind & WIDE != 0 {
        cpu.config_write(id, config::BAR0 + 4, u32::MAX).await;
        high = cpu.config_read(id, config::BAR0 + 4).await;
        bar |= u64::from(high) << 32;
    }
    let bytes = (bar & !KIND | u64::from(high) << 32).wrapping_neg();
    if kind & IO != 0 || bar & !KIND == 0 || !bytes.is_power_of_two() {
        return Err(EnumerateError::Bar0 { id, bar });
    }
    let address = window.next_multiple_of(bytes);
    cpu.config_write(id, config::BAR0, address as u32).await;
    if kind & WIDE != 0 {
        cpu.config_write(id, config::BAR0 + 4, (address >> 32) as u32)
            .await;
    }
    Ok((address, bytes))
}

async fn find_msix(cpu: &Cpu, id: RequesterId, bar0: u64) -> Option<MsixDevice> {
    /// BAR indicator in the table's offset.
    const BIR: u32 = 7;
    let mut at = cpu.config_read(id, config::CAPABILITIES).await as u8 & !3;
    for _ in 0..MAX_CAPABILITIES {
        if at == 0 {
            return None;
        }
        let header = cpu.config_read(id, at.into()).await;
        if header as u8 == config::CAPABILITY_MSIX {
            let table = cpu.config_read(id, u16::from(at) + 4).await;
            return (table & BIR == 0).then(|| MsixDevice {
                id,
                capability: at.into(),
                vectors: (header >> 16 & 0x7ff) as u16 + 1,
                table: bar0 + u64::from(table & !BIR),
            });
        }
        at = (header >> 8) as u8 & !3;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{LinkTo, Machine, MachineConfig};
    use crate::pci::PciTree;
    use crate::scripted::ScriptedDevice;

    const ID: RequesterId = RequesterId::new(0x41, 0, 0);
    const WINDOW: u64 = 0xe000_0000;
    /// BARs of 128 KiB: the bits that can be written.
    const SIZE: u32 = 0xfffe_0000;

    /// A PLX NTB with a 64-bit BAR0 and an MSI-X capability at 0x50 behind another at 0x40.
    fn ntb() -> ScriptedDevice {
        ScriptedDevice::default()
            .config(config::ID, 0x87b0_10b5, 0)
            .config(config::COMMAND, 0, 0xffff)
            .config(config::CLASS, 0x0680_0001, 0)
            .config(config::BAR0, 0xc, SIZE)
            .config(config::BAR0 + 4, 0, u32::MAX)
            .config(config::SUBSYSTEM, 0x02bc_9005, 0)
            .config(config::CAPABILITIES, 0x40, 0)
            .config(0x40, 0x5005, 0)
            .config(0x50, 0x003f_0011, 0xc000_0000)
            .config(0x54, 0x2000, 0)
    }

    fn find(device: ScriptedDevice) -> Result<Found, EnumerateError> {
        let machine = Machine::new(MachineConfig::default(), [LinkTo::new(ID, device)]).expect("memory");
        machine
            .run(|cpu| async move {
                let mut found = enumerate(&cpu, ID, WINDOW + 0x1000, KernelVersion::NEWEST).await?;
                found.final_fixups(&cpu, KernelVersion::NEWEST).await;
                Ok(found)
            })
            .expect("nothing stalls")
    }

    #[test]
    fn the_table_of_a_hot_added_function_is_not_known_before_the_final_fixups() {
        let device = with_table(switchtec(0, 2, 0), 1, 1, &[0x81]);
        let machine = Machine::new(MachineConfig::default(), [LinkTo::new(ID, device)]).expect("memory");
        let found =
            machine.run(|cpu| async move { enumerate(&cpu, ID, WINDOW, KernelVersion::NEWEST).await });
        let found = found.expect("nothing stalls").expect("found");
        assert_eq!(found.function.dma_aliases, Default::default());
    }

    fn aliases(device: ScriptedDevice) -> Vec<u8> {
        let found = find(device).expect("found");
        found.function.dma_aliases.iter().collect()
    }

    #[test]
    fn a_function_is_found_with_its_bar_aligned_and_its_msix_table_in_it() {
        let found = find(ntb()).expect("found");
        assert_eq!((found.bar0, found.bar0_bytes), (WINDOW + 0x2_0000, 0x2_0000));
        let msix = MsixDevice {
            id: ID,
            capability: 0x50,
            vectors: 64,
            table: WINDOW + 0x2_2000,
        };
        assert_eq!(found.msix, msix);
        assert_eq!(found.function.dma_aliases.iter().count(), 256);
    }

    #[test]
    fn a_32_bit_bar_is_sized_by_its_own_bits() {
        let found = find(ntb().config(config::BAR0, 0, SIZE).config(config::BAR0 + 4, 0, 0));
        assert_eq!(found.map(|f| f.bar0_bytes), Ok(0x2_0000));
    }

    #[test]
    fn header_fixups_see_ids_and_subsystem() {
        assert_eq!(aliases(ntb().config(config::ID, 0x9123_1b4b, 0)), [1]);
        assert_eq!(aliases(ntb().config(config::ID, 0x0285_9005, 0)), [0x08]);
    }

    const BAR: u64 = WINDOW + 0x2_0000;

    /// A Switchtec NTB with this own partition, map of partitions, and what Linux takes for the map's high half.
    fn switchtec(own: u8, map: u32, high: u32) -> ScriptedDevice {
        ntb()
            .config(config::ID, 0x8536_11f8, 0)
            .registers(BAR + 0x1_0000, &[0, own, 0, 0])
            .registers(BAR + 0x1_0004, &map.to_le_bytes())
            // The true high half.
            .registers(BAR + 0x1_0008, &[0xff; 4])
            .registers(BAR + 0x1_0024, &high.to_le_bytes())
    }

    /// With a partition's table: its size as it says, and the first of its entries.
    fn with_table(device: ScriptedDevice, partition: u64, size: u16, entries: &[u32]) -> ScriptedDevice {
        let [low, high] = size.to_le_bytes();
        let entries: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        device
            .registers(BAR + 0x1_401c + 0x2000 * partition, &[low, high, 0, 0])
            .registers(BAR + 0x1_4400 + 0x2000 * partition, &entries)
    }

    #[test]
    fn the_switchtec_table_is_read_whether_or_not_entries_are_enabled() {
        // Enabled, not enabled, never written, twice, and under a requester ID.
        let entries = [0x81, 0x82, 0, 0x81, 0x1234_0085];
        let device = with_table(switchtec(0, 3, 0), 1, 5, &entries);
        let found = find(device).expect("found");
        let walk = PciTree::default().dma_aliases(&found.function);
        // An entry of 0 stands for the own ID here, which is then there twice.
        let devfns = walk.iter().map(|id| id.devfn());
        assert_eq!(devfns.collect::<Vec<_>>(), [0x00, 0x00, 0x40, 0x41, 0x42]);
    }

    #[test]
    fn every_partition_in_the_map_is_read_but_the_own_one() {
        let tables = |device| {
            [(0, 0x10), (1, 0x20), (2, 0x40), (33, 0x80)]
                .iter()
                .fold(device, |device, &(partition, entry)| {
                    with_table(device, partition, 1, &[entry])
                })
        };
        assert_eq!(aliases(tables(switchtec(1, 0b111, 0))), [0x08, 0x20]);
        assert_eq!(aliases(tables(switchtec(0, 0b011, 0))), [0x10]);
        assert_eq!(
            aliases(tables(switchtec(0, 0b001, 2))),
            [0x40],
            "the wrong high half"
        );
        assert_eq!(
            aliases(tables(switchtec(64, 0b011, 0))),
            [0x10],
            "64 shifts as 0 does"
        );
    }

    #[test]
    fn tables_of_no_size_or_a_wrong_one_are_passed_over() {
        let whole: Vec<u32> = (0..512).map(|n| (n & 0xff) << 1).collect();
        for (size, aliases) in [(0, 0), (1, 1), (256, 256), (512, 256), (513, 0), (0xffff, 0)] {
            let device = with_table(switchtec(0, 2, 0), 1, size, &whole);
            assert_eq!(self::aliases(device).len(), aliases, "{size}");
        }
        // Not answered: all ones.
        assert_eq!(aliases(switchtec(0, u32::MAX, u32::MAX)), [0; 0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(find(ScriptedDevice::default()), Err(EnumerateError::Absent(ID)));
        let bars = [
            // I/O, not implemented, and not implemented with 64 bits.
            ntb().config(config::BAR0, 1, SIZE),
            ntb().config(config::BAR0, 0, 0),
            ntb().config(config::BAR0, 4, 0).config(config::BAR0 + 4, 0, 0),
        ];
        for device in bars {
            assert!(matches!(find(device), Err(EnumerateError::Bar0 { id: ID, .. })));
        }
        // A list with a loop, a table in another BAR.
        let no_msix = [ntb().config(0x40, 0x4005, 0), ntb().config(0x54, 0x2002, 0)];
        for device in no_msix {
            assert_eq!(find(device), Err(EnumerateError::NoMsix(ID)));
        }
    }
}
