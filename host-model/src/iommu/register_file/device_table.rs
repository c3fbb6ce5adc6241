//! The device table in 1 to 8 segments.

use sim_bridge::RequesterId;

use super::super::spec::dte::DTE_BYTES;
use super::super::spec::registers::{Control, DevTabBase};

/// Most segments.
pub(in super::super) const SEGMENTS: usize = 8;

/// Where a requester ID's device table entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct DteLocation {
    /// Its segment of the device table.
    pub(in super::super) table: DevTabBase,
    /// Its number in that segment.
    pub(in super::super) index: u16,
}

impl DteLocation {
    /// `table` gives the base address register of a segment, 0 to 7.
    ///
    /// The top bits of the ID choose the segment (VirtualBox), and each segment holds its own IDs only, from its
    /// start on (FreeBSD `amdiommu_create_dev_tbl`).
    pub(in super::super) fn of(
        device: RequesterId,
        control: Control,
        table: impl FnOnce(usize) -> DevTabBase,
    ) -> Self {
        // Values above 3 are never written.
        let bits = u32::from(control.dev_tbl_seg_en().min(3));
        let segment = u32::from(device.0) << bits >> 16;
        Self {
            table: table(segment as usize),
            index: device.0 & (0xffff_u16 >> bits),
        }
    }

    /// Guest physical address, whether in the table or beyond its end.
    pub(in super::super) const fn address(self) -> u64 {
        self.table.address() + self.offset()
    }

    /// Does the table reach that far?
    pub(in super::super) const fn in_table(self) -> bool {
        self.offset() < self.table.length()
    }

    const fn offset(self) -> u64 {
        self.index as u64 * DTE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segment n at n << 32, 4 KiB long: 128 entries.
    fn locate(device: u16, segments: u8) -> DteLocation {
        let control = Control::new().with_dev_tbl_seg_en(segments);
        DteLocation::of(RequesterId(device), control, |segment| {
            DevTabBase::from_bits((segment as u64) << 32)
        })
    }

    #[test]
    fn the_top_bits_of_the_id_choose_the_segment() {
        // ID, DevTblSegEn, segment, offset in it.
        for (device, enabled, segment, offset) in [
            (0xffff, 0, 0, 0xffff * 32),
            (0x7fff, 1, 0, 0x7fff * 32),
            (0x8000, 1, 1, 0),
            (0xffff, 1, 1, 0x7fff * 32),
            (0x4001, 2, 1, 32),
            (0xc001, 2, 3, 32),
            (0x1fff, 3, 0, 0x1fff * 32),
            (0x2000, 3, 1, 0),
            (0xe041, 3, 7, 0x41 * 32),
        ] {
            let address = locate(device, enabled).address();
            assert_eq!(address, segment << 32 | offset, "{device:#x} of {enabled}");
        }
    }

    #[test]
    fn a_segment_ends_where_its_own_size_says() {
        assert!(locate(0xe07f, 3).in_table());
        assert!(!locate(0xe080, 3).in_table());
        assert!(!locate(0x0080, 0).in_table());
    }
}
