//! Extended Feature registers (AMD IOMMU spec 3.4.9), and which of their combinations there are.

mod efr;
mod rules;

pub use efr::{Efr, Efr2};

/// What an IOMMU says of itself in EFR, EFR2 and its capability header, within what this model does.
///
/// The default is INVALIDATE_IOMMU_ALL and 128-bit entries: the least that Linux uses both with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    efr: Efr,
    efr2: Efr2,
    iotlb_sup: bool,
}

/// Features that an IOMMU, or this one, can't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// A feature without another that it is a part of.
    #[error("{feature} needs {needed}")]
    Needs {
        /// What is there.
        feature: &'static str,
        /// What is not.
        needed: &'static str,
    },
    /// A value without a meaning.
    #[error("{feature} {value} is reserved")]
    Reserved {
        /// Which field.
        feature: &'static str,
        /// What it has.
        value: u8,
    },
    /// Features that this model does not implement.
    #[error("{register} bits {bits:#x} name features that are not implemented")]
    NotImplemented {
        /// `EFR` or `EFR2`.
        register: &'static str,
        /// The offending bits.
        bits: u64,
    },
}

impl Features {
    /// Bits of EFR that can be set. Those of guest translation (NX, GT, GATS, GLX, PASmax, US) are said, not used.
    const EFR: u64 = Efr::new()
        .with_pref_sup(true)
        .with_ppr_sup(true)
        .with_xt_sup(true)
        .with_nx_sup(true)
        .with_gt_sup(true)
        .with_ia_sup(true)
        .with_ga_sup(true)
        .with_he_sup(true)
        .with_hats(3)
        .with_gats(3)
        .with_glx_sup(3)
        .with_gam_sup(1)
        .with_pas_max(0x1f)
        .with_us_sup(true)
        .with_dev_tbl_seg_sup(3)
        .with_msi_cap_mmio_sup(true)
        .into_bits();
    /// Bits of EFR2 that can be set. GCR3TRPMode is said, not used.
    const EFR2: u64 = Efr2::new()
        .with_gcr3_trp_mode_sup(true)
        .with_num_int_remap_sup(1)
        .into_bits();

    /// Refuses features that contradict each other, reserved values, and what is not implemented. No IotlbSup.
    pub const fn new(efr: Efr, efr2: Efr2) -> Result<Self, FeatureError> {
        if let Some(error) = rules::contradiction(efr, efr2) {
            return Err(error);
        }
        let bits = efr.into_bits() & !Self::EFR;
        if bits != 0 {
            return Err(FeatureError::NotImplemented {
                register: "EFR",
                bits,
            });
        }
        let bits = efr2.into_bits() & !Self::EFR2;
        if bits != 0 {
            return Err(FeatureError::NotImplemented {
                register: "EFR2",
                bits,
            });
        }
        Ok(Self {
            efr,
            efr2,
            iotlb_sup: false,
        })
    }

    /// IotlbSup of the capability header: the IOMMU speaks ATS with devices that have an IOTLB.
    pub const fn with_iotlb_sup(self, iotlb_sup: bool) -> Self {
        Self { iotlb_sup, ..self }
    }

    /// Extended Feature register.
    pub const fn efr(&self) -> Efr {
        self.efr
    }

    /// Extended Feature 2 register.
    pub const fn efr2(&self) -> Efr2 {
        self.efr2
    }

    /// IotlbSup of the capability header.
    pub const fn iotlb_sup(&self) -> bool {
        self.iotlb_sup
    }
}

impl Default for Features {
    fn default() -> Self {
        Self {
            efr: Efr::new().with_ia_sup(true).with_ga_sup(true),
            efr2: Efr2::new(),
            iotlb_sup: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_ia_and_ga() {
        let features = Features::default();
        assert_eq!(
            (features.efr().into_bits(), features.efr2().into_bits()),
            (0xc0, 0)
        );
        assert_eq!(Features::new(features.efr(), features.efr2()), Ok(features));
        assert!(!features.iotlb_sup() && features.with_iotlb_sup(true).iotlb_sup());
    }

    #[test]
    fn all_that_is_implemented_can_be_had_together() {
        let efr = Efr::from_bits(Features::EFR).with_gats(2).with_glx_sup(2);
        assert!(Features::new(efr, Efr2::from_bits(Features::EFR2)).is_ok());
    }

    #[test]
    fn features_not_implemented_are_refused() {
        for bit in (0..64).filter(|bit| Features::EFR >> bit & 1 == 0) {
            // With all that any of them could need.
            let bits = 1 << bit;
            let efr = Efr::from_bits(Features::EFR | bits).with_gats(0).with_glx_sup(0);
            let efr = match bit {
                18..=20 => efr.with_smif_sup(1),
                // Reserved values of two-bit and three-bit fields.
                17 | 22 | 23 => continue,
                52 => efr.with_ha_sup(true),
                _ => efr,
            };
            let refused = Features::new(efr, Efr2::new());
            let bits = efr.into_bits() & !Features::EFR;
            assert_eq!(
                refused,
                Err(FeatureError::NotImplemented {
                    register: "EFR",
                    bits
                })
            );
        }
        let refused = Features::new(Efr::new(), Efr2::new().with_tmpm_sup(true));
        assert_eq!(
            refused,
            Err(FeatureError::NotImplemented {
                register: "EFR2",
                bits: 4
            })
        );
    }
}
