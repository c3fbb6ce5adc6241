//! How an input's IOMMU is built.

use arbitrary::{Arbitrary, Unstructured};
use host_model::iommu::spec::dte::DteRevision;
use host_model::iommu::spec::event::HardwareError;
use host_model::iommu::spec::features::{Efr, Efr2, Features};
use host_model::iommu::{
    BackingPageFailure, CacheRemapEnClear, CacheShape, Config, DevtabInvalidation, DteValid, EventAddress,
    EventLogInt, Faults, GaTailStore, IntCtlAbort, InterruptClear, IrtCacheDis, IrtCacheEnabledAgain,
    IrteReadFailure, IrteReservedBits, MemoryFault, OutOfRangeDevice, Policies, PowerOnCaches,
    RepeatedPageFaults, Replacement, Smi, StatusInterrupts,
};

use crate::input::Page;

/// How the IOMMU is built, and whether software has started it.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Otherwise as after reset.
    pub(crate) started: bool,
    pub(crate) config: Config,
}

impl<'a> Arbitrary<'a> for Setup {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let started = u.arbitrary()?;
        let config = Config {
            features: features(u)?,
            irt_cache: cache(u)?,
            dte_cache: cache(u)?,
            iotlb: cache(u)?,
            generation_bits: *u.choose(&[64, 4, 1])?,
            policies: policies(u)?,
            faults: faults(u)?,
        };
        Ok(Self { started, config })
    }
}

/// Everything that is implemented, but for some of it.
fn features(u: &mut Unstructured<'_>) -> arbitrary::Result<Features> {
    let everything = Efr::new()
        .with_pref_sup(true)
        .with_ppr_sup(true)
        .with_xt_sup(true)
        .with_nx_sup(true)
        .with_gt_sup(true)
        .with_ia_sup(true)
        .with_ga_sup(true)
        .with_hats(2)
        .with_gam_sup(1)
        .with_dev_tbl_seg_sup(3)
        .with_msi_cap_mmio_sup(true);
    let missing = u.arbitrary::<u64>()? & u.arbitrary::<u64>()? & u.arbitrary::<u64>()?;
    let less = Efr::from_bits(everything.into_bits() & !missing);
    let efr2 = Efr2::new().with_num_int_remap_sup(u.int_in_range(0..=1)?);
    let features = Features::new(less, efr2).or_else(|_| Features::new(everything, efr2));
    let features = features.map_err(|_| arbitrary::Error::IncorrectFormat)?;
    Ok(features.with_iotlb_sup(u.arbitrary()?))
}

fn cache(u: &mut Unstructured<'_>) -> arbitrary::Result<CacheShape> {
    let small = CacheShape::new(4, 4).expect("a possible shape");
    let shape = *u.choose(&[CacheShape::TINY, CacheShape::DISABLED, small])?;
    let replacements = [
        Replacement::PseudoLru,
        Replacement::TrueLru,
        Replacement::Random { seed: 1 },
    ];
    Ok(shape.with_replacement(*u.choose(&replacements)?))
}

fn policies(u: &mut Unstructured<'_>) -> arbitrary::Result<Policies> {
    let backing_page_failure = *u.choose(&[
        BackingPageFailure::PageTabHardwareError,
        BackingPageFailure::NoEvent,
    ])?;
    let dte_valid = *u.choose(&[DteValid::IvGoverns, DteValid::VGoverns])?;
    let dte_revision = *u.choose(&[DteRevision::Rev311, DteRevision::Rev305])?;
    let out_of_range_device = *u.choose(&[
        OutOfRangeDevice::IoPageFault,
        OutOfRangeDevice::IllegalDevTableEntry,
        OutOfRangeDevice::Unchecked,
    ])?;
    let (int_ctl_abort, smi) = both(
        u,
        [IntCtlAbort::NoEvent, IntCtlAbort::InvalidDeviceRequest],
        [Smi::Forward, Smi::Abort],
    )?;
    let irte_read_failure = *u.choose(&[IrteReadFailure::PageTabHardwareError, IrteReadFailure::NoEvent])?;
    let irte_reserved_bits = *u.choose(&[IrteReservedBits::Fault, IrteReservedBits::Ignore])?;
    let cache_remap_en_clear = *u.choose(&[CacheRemapEnClear::No, CacheRemapEnClear::Yes])?;
    let devtab_invalidation = *u.choose(&[DevtabInvalidation::DteOnly, DevtabInvalidation::DteAndIrtes])?;
    let event_address = *u.choose(&[EventAddress::HyperTransport, EventAddress::Message])?;
    let (irt_cache_enabled_again, irt_cache_dis) = both(
        u,
        [IrtCacheEnabledAgain::WhatItHeld, IrtCacheEnabledAgain::Nothing],
        [IrtCacheDis::Sticky, IrtCacheDis::Ignored],
    )?;
    let repeated_page_faults =
        *u.choose(&[RepeatedPageFaults::UntilInvalidated, RepeatedPageFaults::Reported])?;
    let (event_log_int, status_interrupts) = both(
        u,
        [EventLogInt::Always, EventLogInt::IfEnabled],
        [StatusInterrupts::RisingEdge, StatusInterrupts::EveryEntry],
    )?;
    let interrupt_clear = *u.choose(&[InterruptClear::Clears, InterruptClear::RacesWithEntries])?;
    let ga_tail_store = *u.choose(&[GaTailStore::Store, GaTailStore::Never])?;
    Ok(Policies {
        dte_valid,
        dte_revision,
        out_of_range_device,
        smi,
        int_ctl_abort,
        irte_read_failure,
        backing_page_failure,
        irte_reserved_bits,
        cache_remap_en_clear,
        devtab_invalidation,
        event_address,
        irt_cache_dis,
        irt_cache_enabled_again,
        repeated_page_faults,
        event_log_int,
        status_interrupts,
        interrupt_clear,
        ga_tail_store,
        // No operation takes the power away.
        power_on_caches: PowerOnCaches::default(),
    })
}

/// One of each, by one byte whose lowest bit is the second's: so the corpus means what it did when it was only that.
fn both<A: Copy, B: Copy>(
    u: &mut Unstructured<'_>,
    first: [A; 2],
    second: [B; 2],
) -> arbitrary::Result<(A, B)> {
    let choice: usize = u.int_in_range(0..=3)?;
    Ok((first[choice / 2], second[choice % 2]))
}

fn faults(u: &mut Unstructured<'_>) -> arbitrary::Result<Faults> {
    // Mostly none of them.
    let [
        fill_races_invalidation,
        wait_before_invalidate,
        invalidate_all_keeps_irt,
        torn_irte_read,
    ] = [u.ratio(1, 16)?, u.ratio(1, 16)?, u.ratio(1, 16)?, u.ratio(1, 16)?];
    let memory = (0..u.int_in_range(0..=1)?)
        .map(|_| {
            let start = u.arbitrary::<Page>()?.address() + u64::from(u.arbitrary::<u8>()?) * 16;
            Ok(MemoryFault {
                addresses: start..start + 32,
                error: *u.choose(&[
                    HardwareError::MasterAbort,
                    HardwareError::TargetAbort,
                    HardwareError::DataError,
                ])?,
            })
        })
        .collect::<arbitrary::Result<_>>()?;
    Ok(Faults {
        fill_races_invalidation,
        wait_before_invalidate,
        invalidate_all_keeps_irt,
        torn_irte_read,
        memory,
    })
}
