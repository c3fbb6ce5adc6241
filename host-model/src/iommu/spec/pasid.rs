use std::fmt;

/// Process address space ID: 20 bits (PCIe Base spec 6.20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pasid(u32);

impl Pasid {
    /// Bits.
    pub const BITS: u32 = 20;

    /// `None` if it has more bits.
    pub const fn new(pasid: u32) -> Option<Self> {
        if pasid < 1 << Self::BITS {
            Some(Self(pasid))
        } else {
            None
        }
    }

    /// The 20 bits.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::LowerHex for Pasid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
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
    }
}
