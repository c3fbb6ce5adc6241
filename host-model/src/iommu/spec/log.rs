//! Entries of the PPR log and of the GA log (AMD IOMMU spec 2.6, 2.7). Those of the event log are events.

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

use super::Pasid;

/// A page request as it lies in the PPR log: two little-endian quadwords.
pub type RawPpr = [u64; 2];

/// First quadword of a PPR log entry (Linux `PPR_REQ_TYPE`, `PPR_FLAGS`, `PPR_PASID`, `PPR_TAG`, `PPR_DEVID`).
#[bitfield(u64)]
struct PprWord {
    device: u16,
    /// PASID bits 15:0.
    pasid_low: u16,
    #[bits(10)]
    tag: u16,
    /// PASID bits 19:16.
    #[bits(4)]
    pasid_high: u8,
    #[bits(2)]
    __: u8,
    #[bits(12)]
    flags: u16,
    #[bits(4)]
    code: u8,
}

/// Flags of a page request (Linux `PPR_FLAG_*`).
#[bitfield(u16)]
#[derive(PartialEq, Eq, Hash)]
pub struct PprFlags {
    __: bool,
    /// The device asks to execute.
    pub execute: bool,
    /// The device asks to read.
    pub read: bool,
    #[bits(2)]
    __: u8,
    /// The device asks to write.
    pub write: bool,
    /// US: for user code, otherwise for a supervisor.
    pub user: bool,
    /// RZ: reserved bits of the request were not zero.
    pub reserved_not_zero: bool,
    /// GN: the address is a guest virtual one, of the PASID.
    pub guest: bool,
    #[bits(7)]
    __: u8,
}

/// PAGE_SERVICE_REQUEST: a device asks for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PprEntry {
    /// Who asks.
    pub device: RequesterId,
    /// If the request has one: GN.
    pub pasid: Option<Pasid>,
    /// Page request group index in bits 8:0, last request of the group in bit 9.
    pub tag: u16,
    /// Of the page: bits 63:12.
    pub address: u64,
    /// What it asks for; GN is that of `pasid`.
    pub flags: PprFlags,
}

impl PprEntry {
    /// Bytes of an entry.
    pub const BYTES: u32 = 16;

    /// As the IOMMU writes it into the log.
    pub const fn encode(&self) -> RawPpr {
        let RequesterId(device) = self.device;
        let pasid = match self.pasid {
            Some(pasid) => pasid.get(),
            None => 0,
        };
        let flags = self.flags.with_guest(self.pasid.is_some());
        let word = PprWord::new()
            .with_code(1)
            .with_device(device)
            .with_pasid_low(pasid as u16)
            .with_pasid_high((pasid >> 16) as u8)
            .with_tag(self.tag & 0x3ff)
            .with_flags(flags.into_bits() & 0xfff);
        [word.into_bits(), self.address & !0xfff]
    }
}

/// Entry of the GA log (Linux `GA_REQ_TYPE`, `GA_DEVID`, `GA_TAG`).
#[bitfield(u64)]
struct GaWord {
    tag: u32,
    device: u16,
    #[bits(12)]
    __: u16,
    #[bits(4)]
    code: u8,
}

/// GUEST_NR: an interrupt was posted for a guest that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GaEntry {
    /// Whose interrupt.
    pub device: RequesterId,
    /// GATag of the IRTE: the hypervisor's name for the virtual processor.
    pub tag: u32,
}

impl GaEntry {
    /// Bytes of an entry.
    pub const BYTES: u32 = 8;

    /// As the IOMMU writes it into the log: one little-endian quadword.
    pub const fn encode(&self) -> u64 {
        let RequesterId(device) = self.device;
        GaWord::new()
            .with_code(1)
            .with_device(device)
            .with_tag(self.tag)
            .into_bits()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Type, flags, device, tag and PASID by Linux's `PPR_*` macros.
    fn linux_ppr(low: u64) -> (u64, u64, u64, u64, u64) {
        let pasid = (low >> 42 & 0xf) << 16 | low >> 16 & 0xffff;
        (
            low >> 60,
            low >> 48 & 0xfff,
            low & 0xffff,
            low >> 32 & 0x3ff,
            pasid,
        )
    }

    #[test]
    fn permissions_are_where_linux_reads_them() {
        // linux drivers/iommu/amd/amd_iommu_types.h PPR_FLAG_*.
        assert_eq!(PprFlags::new().with_execute(true).into_bits(), 0x002);
        assert_eq!(PprFlags::new().with_read(true).into_bits(), 0x004);
        assert_eq!(PprFlags::new().with_write(true).into_bits(), 0x020);
        assert_eq!(PprFlags::new().with_user(true).into_bits(), 0x040);
        assert_eq!(PprFlags::new().with_reserved_not_zero(true).into_bits(), 0x080);
        assert_eq!(PprFlags::new().with_guest(true).into_bits(), 0x100);
    }

    #[test]
    fn a_request_without_a_pasid_has_gn_0() {
        let entry = PprEntry {
            device: RequesterId(0x4101),
            pasid: None,
            tag: 0x205,
            address: 0x1234_5fff,
            flags: PprFlags::new().with_read(true).with_guest(true),
        };
        assert_eq!(entry.encode(), [0x1004_0205_0000_4101, 0x1234_5000]);
    }

    proptest! {
        #[test]
        fn linux_reads_a_page_request_as_it_was_written(
            device: u16, pasid in 0u32..1 << 20, tag in 0u16..1 << 10, write: bool, page in 0u64..1 << 52,
        ) {
            let address = page << 12;
            let flags = PprFlags::new().with_user(true).with_write(write);
            let entry = PprEntry { device: RequesterId(device), pasid: Pasid::new(pasid), tag, address, flags };
            let [low, high] = entry.encode();
            let bits = if write { 0x160 } else { 0x140 };
            prop_assert_eq!(linux_ppr(low), (1, bits, device.into(), tag.into(), pasid.into()));
            prop_assert_eq!(high, address);
        }

        #[test]
        fn linux_reads_a_ga_log_entry_as_it_was_written(device: u16, tag: u32) {
            let low = GaEntry { device: RequesterId(device), tag }.encode();
            // GA_REQ_TYPE == GA_GUEST_NR, GA_DEVID, GA_TAG.
            prop_assert_eq!((low >> 60 & 0xf, low >> 32 & 0xffff, low as u32), (1, device.into(), tag));
            prop_assert_eq!(low >> 48 & 0xfff, 0);
        }
    }
}
