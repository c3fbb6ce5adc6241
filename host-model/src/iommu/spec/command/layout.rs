//! Where the operands of commands lie.

use bitfield_struct::bitfield;

/// Bits 63:60 of the first quadword.
pub(super) mod opcode {
    pub const COMPLETION_WAIT: u8 = 1;
    pub const INVALIDATE_DEVTAB_ENTRY: u8 = 2;
    pub const INVALIDATE_IOMMU_PAGES: u8 = 3;
    pub const INVALIDATE_IOTLB_PAGES: u8 = 4;
    pub const INVALIDATE_INTERRUPT_TABLE: u8 = 5;
    pub const PREFETCH_IOMMU_PAGES: u8 = 6;
    pub const COMPLETE_PPR_REQUEST: u8 = 7;
    pub const INVALIDATE_IOMMU_ALL: u8 = 8;
}

/// An opcode, its name and its bits in use.
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) opcode: u8,
    used: [u64; 2],
}

impl Form {
    /// Bits that must be 0.
    pub(super) const fn reserved(&self) -> [u64; 2] {
        [!self.used[0], !self.used[1]]
    }
}

/// Address bits 63:12 of the second quadword.
const ADDRESS: u64 = 0xffff_ffff_ffff_f000;

pub(super) const COMPLETION_WAIT: Form = Form {
    name: "COMPLETION_WAIT",
    opcode: opcode::COMPLETION_WAIT,
    used: [0xf00f_ffff_ffff_ffff, u64::MAX],
};
pub(super) const INVALIDATE_DEVTAB_ENTRY: Form = Form {
    name: "INVALIDATE_DEVTAB_ENTRY",
    opcode: opcode::INVALIDATE_DEVTAB_ENTRY,
    used: [0xf000_0000_0000_ffff, 0],
};
pub(super) const INVALIDATE_IOMMU_PAGES: Form = Form {
    name: "INVALIDATE_IOMMU_PAGES",
    opcode: opcode::INVALIDATE_IOMMU_PAGES,
    used: [0xf000_ffff_000f_ffff, ADDRESS | 0x7],
};
/// Type (bits 69:68) is reserved without InvIotlbTypeSup.
pub(super) const INVALIDATE_IOTLB_PAGES: Form = Form {
    name: "INVALIDATE_IOTLB_PAGES",
    opcode: opcode::INVALIDATE_IOTLB_PAGES,
    used: [u64::MAX, ADDRESS | 0x5],
};
pub(super) const INVALIDATE_INTERRUPT_TABLE: Form = Form {
    name: "INVALIDATE_INTERRUPT_TABLE",
    opcode: opcode::INVALIDATE_INTERRUPT_TABLE,
    used: [0xf000_0000_0000_ffff, 0],
};
pub(super) const PREFETCH_IOMMU_PAGES: Form = Form {
    name: "PREFETCH_IOMMU_PAGES",
    opcode: opcode::PREFETCH_IOMMU_PAGES,
    used: [0xf00f_ffff_ff00_ffff, ADDRESS | 0x15],
};
pub(super) const COMPLETE_PPR_REQUEST: Form = Form {
    name: "COMPLETE_PPR_REQUEST",
    opcode: opcode::COMPLETE_PPR_REQUEST,
    used: [0xf00f_ffff_0000_ffff, 0x0000_ffff_0000_0004],
};
pub(super) const INVALIDATE_IOMMU_ALL: Form = Form {
    name: "INVALIDATE_IOMMU_ALL",
    opcode: opcode::INVALIDATE_IOMMU_ALL,
    used: [0xf000_0000_0000_0000, 0],
};

/// First quadword of a command that has a requester ID as its only operand.
#[bitfield(u64)]
pub(super) struct DeviceWord {
    pub(super) device: u16,
    #[bits(44)]
    __: u64,
    #[bits(4)]
    pub(super) opcode: u8,
}

/// First quadword of COMPLETION_WAIT.
#[bitfield(u64)]
pub(super) struct WaitWord {
    pub(super) store: bool,
    pub(super) interrupt: bool,
    pub(super) flush: bool,
    /// Physical address bits 51:3.
    #[bits(49)]
    pub(super) address: u64,
    __: u8,
    #[bits(4)]
    pub(super) opcode: u8,
}

/// First quadword of INVALIDATE_IOMMU_PAGES.
#[bitfield(u64)]
pub(super) struct PagesWord {
    #[bits(20)]
    pub(super) pasid: u32,
    #[bits(12)]
    __: u16,
    pub(super) domain: u16,
    #[bits(12)]
    __: u16,
    #[bits(4)]
    pub(super) opcode: u8,
}

/// First quadword of INVALIDATE_IOTLB_PAGES (Linux 6.x `build_inv_iotlb_pages`, FreeBSD `amd_reg.h`; VirtualBox, of an
/// older revision, has the PASID's bytes in ascending order).
#[bitfield(u64)]
pub(super) struct IotlbWord {
    pub(super) device: u16,
    /// PASID bits 15:8.
    pub(super) pasid_middle: u8,
    pub(super) max_pending: u8,
    pub(super) queue: u16,
    /// PASID bits 7:0.
    pub(super) pasid_low: u8,
    /// PASID bits 19:16.
    #[bits(4)]
    pub(super) pasid_high: u8,
    #[bits(4)]
    pub(super) opcode: u8,
}

impl IotlbWord {
    pub(super) const fn pasid(self) -> u32 {
        (self.pasid_high() as u32) << 16 | (self.pasid_middle() as u32) << 8 | self.pasid_low() as u32
    }

    pub(super) const fn with_pasid(self, pasid: u32) -> Self {
        self.with_pasid_low(pasid as u8)
            .with_pasid_middle((pasid >> 8) as u8)
            .with_pasid_high((pasid >> 16 & 0xf) as u8)
    }
}

/// First quadword of PREFETCH_IOMMU_PAGES and, without a count, of COMPLETE_PPR_REQUEST.
#[bitfield(u64)]
pub(super) struct ProcessWord {
    pub(super) device: u16,
    __: u8,
    pub(super) count: u8,
    #[bits(20)]
    pub(super) pasid: u32,
    __: u8,
    #[bits(4)]
    pub(super) opcode: u8,
}

/// Flags in the second quadword of commands on translations, below the address.
#[bitfield(u64)]
pub(super) struct PageFlags {
    /// S is read with the address.
    __: bool,
    pub(super) directory: bool,
    pub(super) guest: bool,
    __: bool,
    pub(super) invalidate: bool,
    #[bits(59)]
    __: u64,
}

/// Second quadword of COMPLETE_PPR_REQUEST.
#[bitfield(u64)]
pub(super) struct PprCompletion {
    #[bits(2)]
    __: u8,
    pub(super) guest: bool,
    #[bits(29)]
    __: u32,
    pub(super) tag: u16,
    __: u16,
}
