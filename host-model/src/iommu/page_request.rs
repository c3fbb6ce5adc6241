//! Peripheral page requests: a device asks for a page that it will need (PCIe Base spec 10.4, PRI).

use sim_bridge::RequesterId;
use vm_memory::GuestMemory;

use super::Iommu;
use super::cache::{CacheEvent, CacheKind};
use super::in_flight::LookupKind;
use super::spec::Pasid;
use super::spec::dte::{DteTranslation, RawDte};
use super::spec::event::{Event, EventFlags};
use super::spec::log::{PprEntry, PprFlags};
use super::spec::registers::Control;

/// A Page Request message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// From the TLP.
    pub requester: RequesterId,
    /// Of the page: bits 63:12.
    pub address: u64,
    /// Page request group index, 9 bits.
    pub group: u16,
    /// The last request of its group, which is answered.
    pub last: bool,
    /// The device asks to read.
    pub read: bool,
    /// The device asks to write.
    pub write: bool,
    /// The PASID prefix.
    pub pasid: Option<PasidPrefix>,
}

/// PASID TLP prefix (PCIe Base spec 6.20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PasidPrefix {
    /// Of the process whose page it is.
    pub pasid: Pasid,
    /// The device asks to execute.
    pub execute: bool,
    /// For privileged code.
    pub privileged: bool,
}

/// What becomes of a page request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRequestOutcome {
    /// This is for the PPR log. Whether it reaches the log is up to Control.PPRLogEn; [`Step`](super::Step) tells.
    /// Software answers by COMPLETE_PPR_REQUEST, which is a [`Step`](super::Step) too.
    Logged(PprEntry),
    /// Nobody will answer.
    Refused {
        /// Why.
        reason: PageRequestRefusal,
        /// What is reported.
        event: Option<Event>,
    },
}

/// Why a page request is refused. Where sources are silent, the event is INVALID_PPR_REQUEST, for which there is no
/// other use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageRequestRefusal {
    /// Control.IommuEn is 0. No event.
    #[error("the IOMMU is off")]
    IommuOff,
    /// Control.PPREn is 0, as without EFR.PPRSup.
    #[error("page requests are not enabled")]
    NotEnabled,
    /// The requester ID is beyond the device table.
    #[error("the requester ID is beyond the device table")]
    DeviceOutOfRange,
    /// The DTE can't be read: DEV_TAB_HARDWARE_ERROR.
    #[error("the DTE at {0:#x} can't be read")]
    DteUnreadable(u64),
    /// DTE.V or DTE.PPR is 0.
    #[error("the DTE does not allow page requests")]
    NotAllowed,
    /// A PASID without Control.GTEn and DTE.GV.
    #[error("a PASID without guest translation")]
    NoGuestTranslation,
}

impl PageRequest {
    fn tag(&self) -> u16 {
        self.group & 0x1ff | u16::from(self.last) << 9
    }

    /// As it is logged.
    fn entry(&self) -> PprEntry {
        let flags = PprFlags::new()
            .with_read(self.read)
            .with_write(self.write)
            .with_execute(self.pasid.is_some_and(|prefix| prefix.execute))
            .with_user(self.pasid.is_some_and(|prefix| !prefix.privileged));
        PprEntry {
            device: self.requester,
            pasid: self.pasid.map(|prefix| prefix.pasid),
            tag: self.tag(),
            address: self.address & !0xfff,
            flags,
        }
    }

    fn invalid(&self) -> Event {
        let pasid = self.pasid.map(|prefix| prefix.pasid);
        Event::InvalidPprRequest {
            device: self.requester,
            address: self.address & !0xfff,
            tag: self.tag(),
            response_expected: self.last,
            flags: EventFlags::new().with_pasid_of(pasid),
        }
    }

    /// What a DTE says of it.
    fn judge(&self, control: Control, dte: &RawDte) -> Result<PprEntry, PageRequestRefusal> {
        let dte = DteTranslation::from_bits(dte[0]);
        if !dte.valid() || !dte.ppr() {
            return Err(PageRequestRefusal::NotAllowed);
        }
        if self.pasid.is_some() && !(control.gt_en() && dte.gv()) {
            return Err(PageRequestRefusal::NoGuestTranslation);
        }
        Ok(self.entry())
    }
}

impl<M: GuestMemory> Iommu<M> {
    /// A device asks for a page. The DTE that is asked comes from the cache or from memory, and is not cached by this.
    pub fn page_request(&self, request: &PageRequest) -> PageRequestOutcome {
        let _in_flight = self.in_flight.begin(request.requester, LookupKind::Memory);
        match self.judge_page_request(request) {
            Ok(entry) => {
                self.lock().registers.log_ppr(entry);
                PageRequestOutcome::Logged(entry)
            }
            Err((reason, event)) => {
                self.lock().registers.report(event);
                PageRequestOutcome::Refused { reason, event }
            }
        }
    }

    fn judge_page_request(
        &self,
        request: &PageRequest,
    ) -> Result<PprEntry, (PageRequestRefusal, Option<Event>)> {
        let (control, device) = (self.control(), request.requester);
        let invalid = |reason| (reason, Some(request.invalid()));
        if !control.iommu_en() {
            return Err((PageRequestRefusal::IommuOff, None));
        }
        if !control.ppr_en() {
            return Err(invalid(PageRequestRefusal::NotEnabled));
        }
        let dte = match self.cached_dte(device) {
            Some(dte) => dte.lookup.raw,
            None => {
                let address = self
                    .dte_address(device)
                    .ok_or_else(|| invalid(PageRequestRefusal::DeviceOutOfRange))?;
                let dte = self.read_dte(address).map_err(|error| {
                    let event = Event::DevTabHardwareError {
                        device,
                        address,
                        flags: EventFlags::new(),
                        error,
                    };
                    (PageRequestRefusal::DteUnreadable(address), Some(event))
                })?;
                self.counters.count(CacheKind::Dte, CacheEvent::Uncached);
                dte
            }
        };
        request.judge(control, &dte).map_err(invalid)
    }
}
