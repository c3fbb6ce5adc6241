//! `quirk_switchtec_ntb_dma_alias` and the offsets in a Switchtec NTB's BAR0 that it reads (Linux 7.2 quirks.c 5928,
//! include/linux/switchtec.h).

use sim_bridge::RequesterId;

use crate::machine::Cpu;
use crate::pci::DmaAliasMask;

/// Own partition, 8 bits.
pub const PARTITION_ID: u64 = 0x1_0001;
/// Map of partitions with an endpoint, low half.
pub const EP_MAP_LOW: u64 = 0x1_0004;
/// What Linux reads as the map's high half: it advances a pointer to 64-bit words by four of them.
pub const EP_MAP_HIGH_AS_LINUX_READS_IT: u64 = 0x1_0024;
/// Entries that a requester-ID table can have.
pub const TABLE_MAX: u16 = 512;

/// The number of entries of a partition's requester-ID table, 16 bits.
pub const fn table_size(partition: u64) -> u64 {
    control_block(partition) + 0x1c
}

/// An entry of the table, 32 bits: the device/function number is in bits 8:1.
pub const fn table_entry(partition: u64, index: u64) -> u64 {
    control_block(partition) + 0x400 + 4 * index
}

const fn control_block(partition: u64) -> u64 {
    0x1_4000 + 0x2000 * partition
}

/// The proxy IDs in the tables of every partition but the own one; whether an entry is enabled is not asked.
pub(in crate::pci) async fn proxy_ids(cpu: &Cpu, ntb: RequesterId, bar0: u64) -> DmaAliasMask {
    let own = cpu.mmio_read(bar0 + PARTITION_ID, 1).await;
    let low = cpu.mmio_read(bar0 + EP_MAP_LOW, 4).await;
    let high = cpu.mmio_read(bar0 + EP_MAP_HIGH_AS_LINUX_READS_IT, 4).await;
    // x86 shifts by the lowest six bits.
    let map = (high << 32 | low) & !1u64.wrapping_shl(own as u32);
    let mut aliases = DmaAliasMask::default();
    for partition in (0..64).filter(|partition| map >> partition & 1 != 0) {
        let size = cpu.mmio_read(bar0 + table_size(partition), 2).await;
        if size == 0 {
            cpu.log(format!("pci {ntb}: Partition {partition} table_sz 0"));
            continue;
        }
        if size > u64::from(TABLE_MAX) {
            cpu.log(format!(
                "pci {ntb}: Invalid Switchtec partition {partition} table_sz {size}"
            ));
            continue;
        }
        for index in 0..size {
            let entry = cpu.mmio_read(bar0 + table_entry(partition, index), 4).await;
            aliases.insert((entry >> 1) as u8);
        }
    }
    aliases
}
