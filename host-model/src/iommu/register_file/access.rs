//! Which part of which register an access concerns, and what comes of one that has no effect.

/// Bytes of the MMIO region. With performance counters, which are not implemented, it would be 512 KiB.
const REGION: u64 = 0x4000;

/// An aligned register or half of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Offset of the whole 64-bit register.
    pub(super) register: u64,
    /// Of the part's lowest bit in the register.
    pub(super) shift: u32,
    /// The part's bits in the register.
    pub(super) mask: u64,
}

impl Part {
    pub(super) fn of(offset: u64, size: usize) -> Result<Self, Refusal> {
        let half = 0xffff_ffff;
        let (register, shift, mask) = match (size, offset % 8) {
            (8, 0) => (offset, 0, u64::MAX),
            (4, 0) => (offset, 0, half),
            (4, 4) => (offset - 4, 32, half << 32),
            _ => return Err(Refusal::BadAccess),
        };
        if register >= REGION {
            return Err(Refusal::Absent);
        }
        Ok(Self {
            register,
            shift,
            mask,
        })
    }
}

/// Why an access, or part of it, has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    BadAccess,
    Absent,
    ReadOnly,
    Running,
    ReservedBits,
    ReservedValue,
    BeyondRing,
}

/// Register accesses that had no effect, or not all that they asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegisterRefusals {
    /// Neither 4 nor 8 bytes, or not aligned to its size: reads 0, writes are ignored.
    pub bad_access: u64,
    /// No register, or one of a feature that EFR does not name: reads 0, writes are ignored.
    pub absent: u64,
    /// A write to a read-only register: ignored.
    pub read_only: u64,
    /// A write to what a running ring uses, its base or the IOMMU's own pointer: ignored (VirtualBox, where the
    /// specification leaves it undefined).
    pub running: u64,
    /// A write that sets bits that can't be set: the others are written.
    pub reserved_bits: u64,
    /// A reserved value: a field that can't hold it keeps its own; a ring of reserved length does not run.
    pub reserved_value: u64,
    /// A head or tail beyond the end of its ring: it is kept, and counts from the ring's start.
    pub beyond_ring: u64,
}

impl RegisterRefusals {
    pub(super) fn count(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::BadAccess => &mut self.bad_access,
            Refusal::Absent => &mut self.absent,
            Refusal::ReadOnly => &mut self.read_only,
            Refusal::Running => &mut self.running,
            Refusal::ReservedBits => &mut self.reserved_bits,
            Refusal::ReservedValue => &mut self.reserved_value,
            Refusal::BeyondRing => &mut self.beyond_ring,
        };
        *counter += 1;
    }
}
