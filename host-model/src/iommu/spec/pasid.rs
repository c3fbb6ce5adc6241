use std::fmt;
use std::num::NonZeroU32;

/// Process address space ID: 20 bits (PCIe Base spec 6.20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pasid(
    /// One more than the ID, so that an `Option` of it is no larger.
    NonZeroU32,
);

impl Pasid {
    /// Bits.
    pub const BITS: u32 = 20;

    /// `None` if it has more bits.
    pub const fn new(pasid: u32) -> Option<Self> {
        match NonZeroU32::new(pasid.wrapping_add(1)) {
            Some(above) if pasid < 1 << Self::BITS => Some(Self(above)),
            _ => None,
        }
    }

    /// The 20 bits.
    pub const fn get(self) -> u32 {
        self.0.get() - 1
    }
}

impl fmt::LowerHex for Pasid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.get(), f)
    }
}

impl fmt::Debug for Pasid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pasid({self:#x})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_20_bits() {
        for pasid in [0, 1, 0xf_ffff] {
            assert_eq!(Pasid::new(pasid).map(Pasid::get), Some(pasid));
        }
        for none in [0x10_0000, u32::MAX] {
            assert_eq!(Pasid::new(none), None);
        }
        assert_eq!(size_of::<Option<Pasid>>(), size_of::<u32>());
    }
}
