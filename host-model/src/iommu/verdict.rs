//! What table entries say of a request (the MSI action table), without memory or caches.

use super::config::{
    BackingPageFailure, DteValid, EventAddress, IrteReadFailure, IrteReservedBits, OutOfRangeDevice,
    Policies, Smi,
};
use super::guest::{self, Posted};
use super::outcome::{BlockReason, DeliveryMode, Interrupt, InterruptRequest};
use super::spec::dte::{DteError, DteTranslation, IntCtl, InterruptDte, RawDte};
use super::spec::event::{Event, EventFlags, HardwareError};
use super::spec::irte::{GuestIrte, Irte, IrteError, IrteFlags, IrteFormat, RawIrte};
use super::spec::msi::is_message_address;
use super::spec::registers::Control;

/// A refusal, and the event that it is reported by.
pub(super) type Refusal = (BlockReason, Option<Event>);

/// What a DTE says of a request that it does not refuse.
pub(super) enum DteVerdict {
    Forward,
    Remap(IrteTarget),
}

/// What an IRTE says of a request that it does not refuse.
pub(super) enum IrteVerdict {
    Remap(Interrupt),
    Post(Posted),
}

/// An entry in an interrupt remapping table.
#[derive(Debug, Clone, Copy)]
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
    pub(super) request: &'a InterruptRequest,
}

impl Judge<'_> {
    #[inline]
    pub(super) fn is_interrupt(&self) -> bool {
        is_message_address(self.request.address)
    }

    #[inline]
    pub(super) fn irte_format(&self) -> IrteFormat {
        if self.control.ga_en() {
            IrteFormat::Bits128 {
                xt: self.control.xt_en(),
            }
        } else {
            IrteFormat::Bits32
        }
    }

    #[inline]
    pub(super) fn dte(&self, raw: &RawDte) -> Result<DteVerdict, Refusal> {
        let v_is_0 = !DteTranslation::from_bits(raw[0]).valid();
        if v_is_0 && self.policies.dte_valid == DteValid::VGoverns {
            return Ok(DteVerdict::Forward);
        }
        let parsed = InterruptDte::parse(raw, self.policies.dte_revision);
        let Some(interrupts) = parsed.map_err(|error| self.illegal_dte(error))? else {
            return Ok(DteVerdict::Forward);
        };
        let logical = self.request.address & 1 << 2 != 0;
        // Tables of 2048 entries take the delivery mode's bits for the index (Linux fill_msi_msg).
        let wide = self.control.num_int_remap_mode() == 1 && logical;
        match (self.request.data >> 8 & 7) as u8 {
            0 | 1 => self.mapped(interrupts),
            _ if wide => self.mapped(interrupts),
            2 => passed(DeliveryMode::Smi, self.policies.smi == Smi::Forward, false),
            4 => passed(DeliveryMode::Nmi, interrupts.nmi_pass, logical),
            5 => passed(DeliveryMode::Init, interrupts.init_pass, logical),
            7 => passed(DeliveryMode::ExtInt, interrupts.ext_int_pass, logical),
            reserved => Err((BlockReason::ReservedDeliveryMode(reserved), None)),
        }
    }

    #[inline]
    fn mapped(&self, interrupts: InterruptDte) -> Result<DteVerdict, Refusal> {
        let table = match interrupts.control.map_err(|error| self.illegal_dte(error))? {
            IntCtl::Abort => return Err((BlockReason::IntCtlAborted, None)),
            IntCtl::Forward => return Ok(DteVerdict::Forward),
            IntCtl::Remap(table) => table,
        };
        let index = (self.request.data & 0x7ff) as u16;
        if index >= table.entries {
            let reason = BlockReason::IndexOutOfRange {
                index,
                entries: table.entries,
            };
            let event = self.page_fault(interrupts.domain, EventFlags::new());
            return Err((reason, (!interrupts.ignore_unmapped).then_some(event)));
        }
        let address = table.root + u64::from(index) * self.irte_format().bytes();
        Ok(DteVerdict::Remap(IrteTarget {
            address,
            index,
            domain: interrupts.domain,
            ignore_unmapped: interrupts.ignore_unmapped,
        }))
    }

    #[inline]
    pub(super) fn irte(&self, target: &IrteTarget, raw: RawIrte) -> Result<IrteVerdict, Refusal> {
        let ignore_reserved = self.policies.irte_reserved_bits == IrteReservedBits::Ignore;
        if IrteFlags::of(raw).guest_mode && guest::enabled(self.control) {
            return self.guest_irte(target, raw, ignore_reserved);
        }
        let parsed = Irte::parse(raw, self.irte_format(), ignore_reserved);
        let Irte {
            destination,
            destination_mode,
            vector,
            int_type,
            request_eoi,
        } = parsed.map_err(|error| self.illegal_irte(target, raw, error))?;
        let interrupt = Interrupt::new()
            .with_destination(destination)
            .with_destination_mode(destination_mode)
            .with_vector(vector)
            .with_int_type(int_type)
            .with_request_eoi(request_eoi)
            .with_index(target.index);
        Ok(IrteVerdict::Remap(interrupt))
    }

    fn guest_irte(
        &self,
        target: &IrteTarget,
        raw: RawIrte,
        ignore_reserved: bool,
    ) -> Result<IrteVerdict, Refusal> {
        GuestIrte::parse(raw, self.control.xt_en(), ignore_reserved)
            .map(|guest| IrteVerdict::Post(Posted::by(&guest, target.index)))
            .map_err(|error| self.illegal_irte(target, raw, error))
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
