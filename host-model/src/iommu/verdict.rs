//! What table entries say of a request (the MSI action table), without memory or caches.

use super::config::{
    BackingPageFailure, DteValid, EventAddress, IntCtlAbort, IrteReadFailure, IrteReservedBits,
    OutOfRangeDevice, Policies, Smi,
};
use super::guest::{self, Posted};
use super::outcome::{BlockReason, DeliveryMode, Interrupt, InterruptRequest};
use super::spec::dte::{DteError, DteTranslation, IntCtl, InterruptDte, InterruptTable, RawDte};
use super::spec::event::{Event, EventFlags, HardwareError, InvalidRequest};
use super::spec::irte::{GuestIrte, Irte, IrteError, IrteFlags, IrteFormat, RawIrte};
use super::spec::registers::Control;

/// A refusal, and the event that it is reported by.
pub(super) type Refusal = (BlockReason, Option<Event>);

/// What a DTE says of a request that it does not refuse.
#[derive(Debug, PartialEq)]
pub(super) enum DteVerdict {
    Forward,
    Remap(IrteTarget),
}

/// What an IRTE says of a request that it does not refuse.
#[derive(Debug, PartialEq)]
pub(super) enum IrteVerdict {
    Remap(Interrupt),
    Post(Posted),
}

/// An entry in an interrupt remapping table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct IrteTarget {
    pub(super) address: u64,
    pub(super) index: u16,
    /// Of the DTE.
    pub(super) domain: u16,
    /// Likewise.
    pub(super) ignore_unmapped: bool,
}

/// One request under one setting of the IOMMU.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) policies: &'a Policies,
    pub(super) control: Control,
    pub(super) request: InterruptRequest,
}

impl Judge<'_> {
    #[inline(always)]
    pub(super) fn irte_format(self) -> IrteFormat {
        if self.control.ga_en() {
            IrteFormat::Bits128 {
                xt: self.control.xt_en(),
            }
        } else {
            IrteFormat::Bits32
        }
    }

    /// Whether the message is an interrupt that IRTEs decide on: fixed or arbitrated, or of any delivery mode where
    /// tables of 2048 entries take its bits for the index (Linux fill_msi_msg).
    #[inline(always)]
    fn is_mapped(self) -> bool {
        let wide = self.control.num_int_remap_mode() == 1 && self.is_logical();
        matches!(self.delivery_mode(), 0 | 1) || wide
    }

    #[inline(always)]
    fn is_logical(self) -> bool {
        self.request.address & 1 << 2 != 0
    }

    #[inline(always)]
    fn delivery_mode(self) -> u8 {
        (self.request.data >> 8 & 7) as u8
    }

    #[inline(always)]
    fn index(self) -> u16 {
        (self.request.data & 0x7ff) as u16
    }

    /// What a DTE says of interrupts; `None` if it leaves them alone.
    #[inline(always)]
    fn interrupts(self, raw: &RawDte) -> Result<Option<InterruptDte>, DteError> {
        let v_is_0 = !DteTranslation::from_bits(raw[0]).valid();
        if v_is_0 && self.policies.dte_valid == DteValid::VGoverns {
            return Ok(None);
        }
        InterruptDte::parse(raw, self.policies.dte_revision)
    }

    /// The commonest verdict of [`Self::dte`], sooner: its target, if it has one.
    #[inline(always)]
    pub(super) fn target(self, raw: &RawDte) -> Option<IrteTarget> {
        let interrupts = self.interrupts(raw).ok()??;
        match interrupts.control {
            Ok(IntCtl::Remap(table)) if self.is_mapped() => self.target_in(table, &interrupts),
            _ => None,
        }
    }

    #[inline(never)]
    pub(super) fn dte(&self, raw: &RawDte) -> Result<DteVerdict, Refusal> {
        let parsed = self.interrupts(raw);
        let Some(interrupts) = parsed.map_err(|error| self.illegal_dte(error))? else {
            return Ok(DteVerdict::Forward);
        };
        if self.is_mapped() {
            return self.mapped(interrupts);
        }
        let logical = self.is_logical();
        match self.delivery_mode() {
            2 => passed(DeliveryMode::Smi, self.policies.smi == Smi::Forward, false),
            4 => passed(DeliveryMode::Nmi, interrupts.nmi_pass, logical),
            5 => passed(DeliveryMode::Init, interrupts.init_pass, logical),
            7 => passed(DeliveryMode::ExtInt, interrupts.ext_int_pass, logical),
            reserved => Err((BlockReason::ReservedDeliveryMode(reserved), None)),
        }
    }

    fn mapped(&self, interrupts: InterruptDte) -> Result<DteVerdict, Refusal> {
        match interrupts.control.map_err(|error| self.illegal_dte(error))? {
            IntCtl::Abort => Err(self.int_ctl_aborted()),
            IntCtl::Forward => Ok(DteVerdict::Forward),
            IntCtl::Remap(table) => match self.target_in(table, &interrupts) {
                Some(target) => Ok(DteVerdict::Remap(target)),
                None => Err(self.index_out_of_range(&interrupts, table.entries)),
            },
        }
    }

    fn int_ctl_aborted(&self) -> Refusal {
        let event = Event::InvalidDeviceRequest {
            device: self.request.requester,
            address: self.event_address(),
            request: InvalidRequest::Interrupt,
            flags: EventFlags::new(),
        };
        let reported = self.policies.int_ctl_abort == IntCtlAbort::InvalidDeviceRequest;
        (BlockReason::IntCtlAborted, reported.then_some(event))
    }

    /// `None` if the index is beyond the table.
    #[inline(always)]
    fn target_in(self, table: InterruptTable, interrupts: &InterruptDte) -> Option<IrteTarget> {
        let index = self.index();
        (index < table.entries).then(|| IrteTarget {
            address: table.root + u64::from(index) * self.irte_format().bytes(),
            index,
            domain: interrupts.domain,
            ignore_unmapped: interrupts.ignore_unmapped,
        })
    }

    fn index_out_of_range(&self, interrupts: &InterruptDte, entries: u16) -> Refusal {
        let index = self.index();
        let event = self.page_fault(interrupts.domain, EventFlags::new());
        let reported = !interrupts.ignore_unmapped;
        (
            BlockReason::IndexOutOfRange { index, entries },
            reported.then_some(event),
        )
    }

    #[inline(always)]
    fn ignores_reserved(self) -> bool {
        self.policies.irte_reserved_bits == IrteReservedBits::Ignore
    }

    /// The commonest verdict of [`Self::irte`], sooner: its interrupt, if it has one.
    #[inline(always)]
    pub(super) fn interrupt(self, target: &IrteTarget, raw: RawIrte) -> Option<Interrupt> {
        self.host_irte(target, raw).ok()
    }

    #[inline(always)]
    fn host_irte(self, target: &IrteTarget, raw: RawIrte) -> Result<Interrupt, IrteError> {
        let irte = Irte::parse(raw, self.irte_format(), self.ignores_reserved())?;
        Ok(const { Interrupt::new() }
            .with_destination(irte.destination)
            .with_destination_mode(irte.destination_mode)
            .with_vector(irte.vector)
            .with_int_type(irte.int_type)
            .with_request_eoi(irte.request_eoi)
            .with_index(target.index))
    }

    #[inline(never)]
    pub(super) fn irte(&self, target: &IrteTarget, raw: RawIrte) -> Result<IrteVerdict, Refusal> {
        let verdict = if IrteFlags::of(raw).guest_mode && guest::enabled(self.control) {
            GuestIrte::parse(raw, self.control.xt_en(), self.ignores_reserved())
                .map(|guest| IrteVerdict::Post(Posted::by(&guest, target.index)))
        } else {
            self.host_irte(target, raw).map(IrteVerdict::Remap)
        };
        verdict.map_err(|error| self.illegal_irte(target, raw, error))
    }

    #[cold]
    fn illegal_irte(&self, target: &IrteTarget, raw: RawIrte, error: IrteError) -> Refusal {
        let present = error != IrteError::RemapEnClear;
        let flags = EventFlags::new()
            .with_present(present)
            .with_reserved_not_zero(present);
        let suppressed = target.ignore_unmapped || IrteFlags::of(raw).sup_iopf;
        let event = (!suppressed).then(|| self.page_fault(target.domain, flags));
        (BlockReason::Irte(error), event)
    }

    #[cold]
    pub(super) fn not_an_interrupt(&self) -> Refusal {
        (BlockReason::NotAnInterrupt(self.request.address), None)
    }

    /// A requester ID beyond the device table.
    #[cold]
    pub(super) fn out_of_range_device(&self) -> Refusal {
        let event = match self.policies.out_of_range_device {
            OutOfRangeDevice::IllegalDevTableEntry => self.illegal_dev_table_entry(EventFlags::new()),
            OutOfRangeDevice::IoPageFault | OutOfRangeDevice::Unchecked => {
                self.page_fault(0, EventFlags::new())
            }
        };
        (BlockReason::DeviceOutOfRange, Some(event))
    }

    #[cold]
    pub(super) fn unreadable_dte(&self, address: u64, error: HardwareError) -> Refusal {
        let event = Event::DevTabHardwareError {
            device: self.request.requester,
            address,
            flags: EventFlags::new().with_interrupt(true),
            error,
        };
        (BlockReason::DteUnreadable(address), Some(event))
    }

    #[cold]
    pub(super) fn unreadable_irte(&self, target: &IrteTarget, error: HardwareError) -> Refusal {
        let event = self.page_tab_hardware_error(target, target.address, error);
        let reported = self.policies.irte_read_failure == IrteReadFailure::PageTabHardwareError;
        (
            BlockReason::IrteUnreadable(target.address),
            reported.then_some(event),
        )
    }

    /// `address` is in the vAPIC backing page.
    #[cold]
    pub(super) fn unwritable_backing_page(
        &self,
        target: &IrteTarget,
        address: u64,
        error: HardwareError,
    ) -> Refusal {
        let event = self.page_tab_hardware_error(target, address, error);
        let reported = self.policies.backing_page_failure == BackingPageFailure::PageTabHardwareError;
        (
            BlockReason::BackingPageUnwritable(address),
            reported.then_some(event),
        )
    }

    fn page_tab_hardware_error(&self, target: &IrteTarget, address: u64, error: HardwareError) -> Event {
        Event::PageTabHardwareError {
            device: self.request.requester,
            domain: target.domain,
            address,
            flags: EventFlags::new().with_interrupt(true),
            error,
        }
    }

    #[cold]
    fn illegal_dte(&self, error: DteError) -> Refusal {
        let flags = EventFlags::new().with_reserved_not_zero(error.reserved_not_zero());
        (
            BlockReason::IllegalDte(error),
            Some(self.illegal_dev_table_entry(flags)),
        )
    }

    fn illegal_dev_table_entry(&self, flags: EventFlags) -> Event {
        let flags = flags.with_interrupt(true);
        Event::IllegalDevTableEntry {
            device: self.request.requester,
            address: self.event_address(),
            flags,
        }
    }

    #[inline]
    fn page_fault(&self, domain: u16, flags: EventFlags) -> Event {
        let flags = flags.with_interrupt(true);
        Event::IoPageFault {
            device: self.request.requester,
            domain,
            address: self.event_address(),
            flags,
        }
    }

    fn event_address(&self) -> u64 {
        match self.policies.event_address {
            EventAddress::HyperTransport => 0xffff_fffd_f800_0000 | u64::from(self.request.data & 0xff) << 16,
            EventAddress::Message => self.request.address,
        }
    }
}

fn passed(mode: DeliveryMode, pass: bool, logical: bool) -> Result<DteVerdict, Refusal> {
    if !pass {
        return Err((BlockReason::NotPassed(mode), None));
    }
    if logical {
        return Err((BlockReason::LogicalDestination(mode), None));
    }
    Ok(DteVerdict::Forward)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;
    use sim_bridge::RequesterId;

    use super::super::spec::dte::DteRevision;
    use super::*;

    /// Some bits of a word, none most often.
    fn flips() -> impl Strategy<Value = u64> {
        prop_oneof![
            3 => Just(0),
            3 => (0..64).prop_map(|bit| 1_u64 << bit),
            1 => any::<u64>(),
        ]
    }

    /// GAEn, GAMEn 1, XTEn, IntRemapMode 1, each set or clear.
    fn control() -> impl Strategy<Value = Control> {
        any::<[bool; 4]>().prop_map(|[ga, guest, xt, wide]| {
            Control::new()
                .with_ga_en(ga)
                .with_gam_en(guest.into())
                .with_xt_en(xt)
                .with_num_int_remap_mode(wide.into())
        })
    }

    fn policies() -> impl Strategy<Value = Policies> {
        any::<[bool; 3]>().prop_map(|[v_governs, revision_305, ignore]| {
            let mut policies = Policies::default();
            if v_governs {
                policies.dte_valid = DteValid::VGoverns;
            }
            if revision_305 {
                policies.dte_revision = DteRevision::Rev305;
            }
            if ignore {
                policies.irte_reserved_bits = IrteReservedBits::Ignore;
            }
            policies
        })
    }

    /// Any delivery mode and index, the destination physical or logical.
    fn request() -> impl Strategy<Value = InterruptRequest> {
        (0..0x800_u32, any::<bool>()).prop_map(|(data, logical)| InterruptRequest {
            requester: RequesterId(0x4100),
            address: 0xfee0_0000 | u64::from(logical) << 2,
            data,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_target_found_sooner_is_that_of_the_dte(
            policies in policies(),
            control in control(),
            request in request(),
            length in 0..12_u64,
            flips in [flips(), flips(), flips(), flips()],
        ) {
            let judge = Judge { policies: &policies, control, request };
            // V, TV; IV, IntCtl 2.
            let common = [3, 0x5e, 2 << 60 | 0x50_0000 | length << 1 | 1, 0];
            let raw = std::array::from_fn(|n| common[n] ^ flips[n]);
            let expected = match judge.dte(&raw) {
                Ok(DteVerdict::Remap(target)) => Some(target),
                _ => None,
            };
            prop_assert_eq!(judge.target(&raw), expected);
        }

        #[test]
        fn the_interrupt_found_sooner_is_that_of_the_irte(
            policies in policies(),
            control in control(),
            request in request(),
            [low, high] in [flips(), flips()],
            index in 0..0x800_u16,
        ) {
            let judge = Judge { policies: &policies, control, request };
            let target = IrteTarget { address: 0x50_0000, index, domain: 0x5e, ignore_unmapped: false };
            // RemapEn, destination 5; in both formats vector 0x31.
            let common = 0x31 << 64 | if control.ga_en() { 0x501 } else { 0x31_0501 };
            let raw = common ^ (u128::from(high) << 64 | u128::from(low));
            let raw = if control.ga_en() { raw } else { u128::from(raw as u32) };
            let expected = match judge.irte(&target, raw) {
                Ok(IrteVerdict::Remap(interrupt)) => Some(interrupt),
                _ => None,
            };
            prop_assert_eq!(judge.interrupt(&target, raw), expected);
        }
    }
}
