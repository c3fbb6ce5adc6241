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
    let mut bar = u64::from(cpu.config_read(id, config::BAR0).await) | 0xffff_ffff_0000_0000;
    if kind & WIDE != 0 {
        cpu.config_write(id, config::BAR0 + 4, u32::MAX).await;
        bar = bar & 0xffff_ffff | u64::from(cpu.config_read(id, config::BAR0 + 4).await) << 32;
    }
    let bytes = (bar & !KIND).wrapping_neg();
    if kind & IO != 0 || !bytes.is_power_of_two() {
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
