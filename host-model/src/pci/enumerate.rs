//! Finding a function over the link, as firmware and Linux do: IDs, BAR0, capabilities, and the aliases that quirks
//! give it.

use sim_bridge::RequesterId;

use super::quirks::{DmaAliasQuirk, switchtec};
use super::{Function, config};
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

/// Finds the function `id`, puts its BAR0 at or above `window`, and applies the quirks for its DMA aliases.
///
/// # Errors
/// See [`EnumerateError`].
pub async fn enumerate(cpu: &Cpu, id: RequesterId, window: u64) -> Result<Found, EnumerateError> {
    let ids = cpu.config_read(id, config::ID).await;
    if ids == u32::MAX {
        return Err(EnumerateError::Absent(id));
    }
    let class = cpu.config_read(id, config::CLASS).await >> 8;
    let mut function = Function::endpoint(id, (ids as u16, (ids >> 16) as u16), class);
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
    match DmaAliasQuirk::of(&function) {
        Some(DmaAliasQuirk::Function1) => function.dma_aliases.insert(id.devfn() & !7 | 1),
        Some(DmaAliasQuirk::PlxNtb) => (0..=u8::MAX).for_each(|devfn| function.dma_aliases.insert(devfn)),
        Some(DmaAliasQuirk::SwitchtecNtb) => switchtec_aliases(cpu, &mut function, bar0).await,
        None => {}
    }
    Ok(Found {
        function,
        bar0,
        bar0_bytes,
        msix,
    })
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

/// `quirk_switchtec_ntb_dma_alias`: every partition's table but the own one's; whether an entry is enabled is not asked.
async fn switchtec_aliases(cpu: &Cpu, function: &mut Function, bar0: u64) {
    let own = cpu.mmio_read(bar0 + switchtec::PARTITION_ID, 1).await;
    let low = cpu.mmio_read(bar0 + switchtec::EP_MAP_LOW, 4).await;
    let high = cpu
        .mmio_read(bar0 + switchtec::EP_MAP_HIGH_AS_LINUX_READS_IT, 4)
        .await;
    let map = (high << 32 | low) & !1u64.checked_shl(own as u32).unwrap_or(0);
    for partition in (0..64).filter(|partition| map >> partition & 1 != 0) {
        let size = cpu.mmio_read(bar0 + switchtec::table_size(partition), 2).await;
        if size == 0 || size > u64::from(switchtec::TABLE_MAX) {
            cpu.log(format!(
                "pci {}: Switchtec NTB partition {partition}: table of {size} entries",
                function.id
            ));
            continue;
        }
        for index in 0..size {
            let entry = cpu
                .mmio_read(bar0 + switchtec::table_entry(partition, index), 4)
                .await;
            function.dma_aliases.insert((entry >> 1) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Machine, MachineConfig};
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
            .config(config::CAPABILITIES, 0x40, 0)
            .config(0x40, 0x5005, 0)
            .config(0x50, 0x003f_0011, 0xc000_0000)
            .config(0x54, 0x2000, 0)
    }

    fn find(device: ScriptedDevice) -> Result<Found, EnumerateError> {
        let machine = Machine::new(MachineConfig::new(ID), Box::new(device)).expect("memory");
        machine
            .run(|cpu| async move { enumerate(&cpu, ID, WINDOW + 0x1000).await })
            .expect("nothing stalls")
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
    fn function_1_quirk_adds_function_1() {
        let found = find(ntb().config(config::ID, 0x9123_1b4b, 0)).expect("found");
        assert_eq!(found.function.dma_aliases.iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn the_switchtec_table_is_read_where_linux_reads_it() {
        let bar = WINDOW + 0x2_0000;
        let device = ntb()
            .config(config::ID, 0x8536_11f8, 0)
            // Own partition 0, partitions 0 and 1 in the map; what Linux takes for the map's high half.
            .registers(bar + 0x1_0000, &[0, 0, 0, 0, 3, 0, 0, 0])
            .registers(bar + 0x1_0024, &[0; 4])
            .registers(bar + 0x1_601c, &[3, 0, 0, 0]);
        // Enabled, not enabled, and never written.
        let device = device.registers(bar + 0x1_6400, &[0x81, 0, 0, 0, 0x82, 0, 0, 0, 0, 0, 0, 0]);
        let found = find(device).expect("found");
        assert_eq!(
            found.function.dma_aliases.iter().collect::<Vec<_>>(),
            [0x00, 0x40, 0x41]
        );
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
