//! What table entries say of a memory request, without memory or caches.

use super::super::config::{OutOfRangeDevice, Policies, RepeatedPageFaults};
use super::super::spec::Pasid;
use super::super::spec::dte::{
    DteError, HostTranslation, MemoryDte, MemoryDteRules, PageTables, RawDte, Suppress,
};
use super::super::spec::event::{Event, EventFlags, HardwareError, InvalidRequest};
use super::super::spec::msi::is_message_address;
use super::super::spec::page_table::{PAGE_SHIFT, Page, PageAttributes, Permissions, PteError};
use super::super::spec::registers::{ExclusionBase, ExclusionLimit};
use super::known_domains::DteDomain;
use super::page_walk::{PageWalk, WalkError, WalkStep};
use super::request::{Access, AddressType, MemoryRequest, Translation, TranslationError, TranslationOutcome};

/// A refusal, and the event that it is reported by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Refusal {
    pub(in super::super) reason: TranslationError,
    pub(in super::super) event: Option<Event>,
    /// The event is not reported if the device's last page fault was under the same DTE (SE).
    pub(in super::super) suppress_repeats: bool,
}

/// What a DTE says of a request that it does not refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum DteVerdict {
    /// The end of the request.
    Answer(TranslationOutcome),
    /// The page tables decide.
    Translate(Domain),
}

/// Page tables, and what the DTE says beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Domain {
    pub(in super::super) id: u16,
    pub(super) tables: PageTables,
    suppress: Suppress,
}

impl Domain {
    /// `None` if it is none to be known.
    pub(super) fn known(&self) -> Option<DteDomain> {
        DteDomain::of(self.id, self.tables.permissions)
    }
}

/// Addresses that are not translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in super::super) struct Exclusion {
    pub(in super::super) base: ExclusionBase,
    pub(in super::super) limit: ExclusionLimit,
}

impl Exclusion {
    fn holds(&self, address: u64, dte: &MemoryDte) -> bool {
        self.base.enable()
            && (self.base.allow() || dte.exclusion)
            && (self.base.first()..=self.limit.last()).contains(&address)
    }
}

/// One request under one setting of the IOMMU.
#[derive(Clone, Copy)]
pub(in super::super) struct MemoryJudge<'a> {
    pub(in super::super) policies: &'a Policies,
    pub(in super::super) rules: &'a MemoryDteRules,
    pub(in super::super) exclusion: Exclusion,
    pub(in super::super) request: &'a MemoryRequest,
}

impl MemoryJudge<'_> {
    /// What needs no table: an IOMMU that is disabled, and addresses that only interrupt messages may have.
    #[inline]
    pub(in super::super) fn before_tables(
        &self,
        iommu_en: bool,
    ) -> Result<Option<TranslationOutcome>, Refusal> {
        let MemoryRequest {
            address,
            access,
            addressing,
            ..
        } = *self.request;
        let kind = addressing.kind();
        if !iommu_en {
            return match kind {
                AddressType::TranslationRequest => Err(silent(TranslationError::Disabled)),
                _ => Ok(Some(TranslationOutcome::Forwarded)),
            };
        }
        if !is_message_address(address) || kind == AddressType::Translated {
            return Ok(None);
        }
        let invalid = match (kind, access) {
            (AddressType::TranslationRequest, _) => InvalidRequest::TranslationOfSpecialRange,
            (_, Access::Write) => return Err(silent(TranslationError::Interrupt(address))),
            _ => InvalidRequest::InterruptRangeRead,
        };
        Err(self.invalid(TranslationError::InterruptRange { access, address }, invalid))
    }

    #[inline]
    pub(in super::super) fn dte(&self, raw: &RawDte) -> Result<DteVerdict, Refusal> {
        let parsed = MemoryDte::parse(raw, self.rules).map_err(|error| self.illegal_dte(error))?;
        let untranslated = self.request.addressing.kind() == AddressType::Untranslated;
        let Some(dte) = parsed else {
            return if untranslated {
                Ok(DteVerdict::Answer(TranslationOutcome::Forwarded))
            } else {
                Err(self.not_allowed())
            };
        };
        if !untranslated && !dte.iotlb {
            return Err(self.not_allowed());
        }
        if self.request.addressing.kind() == AddressType::Translated {
            return Ok(DteVerdict::Answer(TranslationOutcome::Forwarded));
        }
        if let Some(pasid) = self.request.addressing.pasid() {
            return Err(self.pasid(&dte, pasid));
        }
        if self.exclusion.holds(self.request.address, &dte) {
            return Ok(self.identity(Permissions::ALL));
        }
        match dte.host.map_err(|error| self.illegal_dte(error))? {
            HostTranslation::Invalid if untranslated => {
                let reason = TranslationError::TranslationInvalid;
                Err(self.page_fault(reason, dte.domain, dte.suppress, EventFlags::new()))
            }
            HostTranslation::Invalid => Err(self.not_allowed()),
            HostTranslation::Untranslated(permissions) => {
                self.allowed_by_dte(permissions, &dte)?;
                Ok(self.identity(permissions))
            }
            HostTranslation::Table(tables) => {
                self.allowed_by_dte(tables.permissions, &dte)?;
                Ok(DteVerdict::Translate(Domain {
                    id: dte.domain,
                    tables,
                    suppress: dte.suppress,
                }))
            }
        }
    }

    /// Begins the walk.
    pub(in super::super) fn walk(&self, domain: &Domain) -> Result<PageWalk, Refusal> {
        PageWalk::start(self.request.address, domain.tables.root, domain.tables.level)
            .map_err(|error| self.not_mapped(domain, error))
    }

    /// The entry that the walk needs has been read.
    pub(in super::super) fn entry(
        &self,
        domain: &Domain,
        walk: PageWalk,
        raw: u64,
    ) -> Result<WalkStep, Refusal> {
        let step = walk.next(raw).map_err(|error| self.not_mapped(domain, error))?;
        let permissions = match &step {
            WalkStep::Entry(walk) => walk.permissions(),
            WalkStep::Page(page) => page.attributes.permissions(),
        };
        if self.allows(permissions) {
            return Ok(step);
        }
        let access = self.request.access;
        let level = walk.level();
        Err(self.denied(
            TranslationError::Permissions { level, access },
            domain.id,
            domain.suppress,
        ))
    }

    /// What a page makes of the request's address.
    pub(in super::super) fn translation(&self, domain: &Domain, page: &Page) -> Translation {
        Translation {
            address: page.physical(self.request.address),
            attributes: page.attributes.and(domain.tables.permissions),
        }
    }

    /// `None` if a cached page does not allow the request: the tables may by now.
    pub(in super::super) fn hit(&self, domain: &Domain, page: &Page) -> Option<Translation> {
        let translation = self.translation(domain, page);
        self.allows(translation.attributes.permissions())
            .then_some(translation)
    }

    /// A requester ID beyond the device table.
    pub(in super::super) fn out_of_range_device(&self) -> Refusal {
        let reason = TranslationError::DeviceOutOfRange;
        match self.policies.out_of_range_device {
            OutOfRangeDevice::IllegalDevTableEntry => self.illegal_dev_table_entry(reason, false),
            OutOfRangeDevice::IoPageFault | OutOfRangeDevice::Unchecked => {
                self.page_fault(reason, 0, Suppress::None, EventFlags::new())
            }
        }
    }

    pub(in super::super) fn unreadable_dte(&self, address: u64, error: HardwareError) -> Refusal {
        let event = Event::DevTabHardwareError {
            device: self.request.requester,
            address,
            flags: self.flags(),
            error,
        };
        reported(TranslationError::DteUnreadable(address), event)
    }

    pub(in super::super) fn unreadable_entry(
        &self,
        domain: &Domain,
        walk: &PageWalk,
        error: HardwareError,
    ) -> Refusal {
        let address = walk.entry_address();
        let event = Event::PageTabHardwareError {
            device: self.request.requester,
            domain: domain.id,
            address,
            flags: self.flags(),
            error,
        };
        reported(TranslationError::PteUnreadable(address), event)
    }

    /// A translation request is told what is allowed; other requests must be.
    #[inline]
    fn allows(&self, permissions: Permissions) -> bool {
        self.request.addressing.kind() == AddressType::TranslationRequest
            || permissions.allow(self.request.access.needs())
    }

    fn allowed_by_dte(&self, permissions: Permissions, dte: &MemoryDte) -> Result<(), Refusal> {
        if self.allows(permissions) {
            return Ok(());
        }
        let reason = TranslationError::DtePermissions(self.request.access);
        Err(self.denied(reason, dte.domain, dte.suppress))
    }

    fn identity(&self, permissions: Permissions) -> DteVerdict {
        DteVerdict::Answer(match self.request.addressing.kind() {
            AddressType::TranslationRequest => TranslationOutcome::Translated(Translation {
                address: self.request.address,
                attributes: PageAttributes::new()
                    .with_shift(PAGE_SHIFT)
                    .with_permissions(permissions),
            }),
            AddressType::Untranslated | AddressType::Translated => TranslationOutcome::Forwarded,
        })
    }

    fn not_mapped(&self, domain: &Domain, error: WalkError) -> Refusal {
        let entry = match error {
            WalkError::Entry { error, .. } => Some(error),
            WalkError::SkippedBits { .. } => None,
        };
        let flags = EventFlags::new()
            .with_present(entry != Some(PteError::NotPresent))
            .with_reserved_not_zero(matches!(entry, Some(PteError::ReservedBits(_))));
        self.page_fault(
            TranslationError::NotMapped(error),
            domain.id,
            domain.suppress,
            flags,
        )
    }

    fn denied(&self, reason: TranslationError, domain: u16, suppress: Suppress) -> Refusal {
        let flags = EventFlags::new().with_present(true).with_permission(true);
        self.page_fault(reason, domain, suppress, flags)
    }

    fn pasid(&self, dte: &MemoryDte, pasid: Pasid) -> Refusal {
        let reason = if dte.guest {
            TranslationError::GuestTranslation(pasid)
        } else {
            TranslationError::UnexpectedPasid(pasid)
        };
        self.page_fault(reason, dte.domain, dte.suppress, EventFlags::new())
    }

    /// A translation request has no event for a page fault (spec 2.1.3.2).
    fn page_fault(
        &self,
        reason: TranslationError,
        domain: u16,
        suppress: Suppress,
        flags: EventFlags,
    ) -> Refusal {
        let event = Event::IoPageFault {
            device: self.request.requester,
            domain,
            address: self.request.address,
            flags: flags
                .with_write(self.is_write())
                .with_pasid_of(self.request.addressing.pasid()),
        };
        let is_reported =
            self.request.addressing.kind() != AddressType::TranslationRequest && suppress != Suppress::All;
        Refusal {
            reason,
            event: is_reported.then_some(event),
            suppress_repeats: suppress == Suppress::Repeats
                && self.policies.repeated_page_faults == RepeatedPageFaults::UntilInvalidated,
        }
    }

    fn illegal_dte(&self, error: DteError) -> Refusal {
        self.illegal_dev_table_entry(TranslationError::IllegalDte(error), error.reserved_not_zero())
    }

    fn illegal_dev_table_entry(&self, reason: TranslationError, reserved_not_zero: bool) -> Refusal {
        let event = Event::IllegalDevTableEntry {
            device: self.request.requester,
            address: self.request.address,
            flags: self.flags().with_reserved_not_zero(reserved_not_zero),
        };
        reported(reason, event)
    }

    fn not_allowed(&self) -> Refusal {
        let kind = self.request.addressing.kind();
        let invalid = match kind {
            AddressType::TranslationRequest => InvalidRequest::TranslationRefused,
            _ => InvalidRequest::Pretranslated,
        };
        self.invalid(TranslationError::NotAllowed(kind), invalid)
    }

    fn invalid(&self, reason: TranslationError, invalid: InvalidRequest) -> Refusal {
        let event = Event::InvalidDeviceRequest {
            device: self.request.requester,
            address: self.request.address,
            request: invalid,
            flags: EventFlags::new().with_pasid_of(self.request.addressing.pasid()),
        };
        reported(reason, event)
    }

    /// Those that are of the request, whatever became of it.
    fn flags(&self) -> EventFlags {
        EventFlags::new()
            .with_write(self.is_write())
            .with_translation(self.request.addressing.kind() == AddressType::TranslationRequest)
            .with_pasid_of(self.request.addressing.pasid())
    }

    /// RW, which says nothing of a translation request.
    fn is_write(&self) -> bool {
        self.request.addressing.kind() != AddressType::TranslationRequest
            && self.request.access.needs().write()
    }
}

fn silent(reason: TranslationError) -> Refusal {
    Refusal {
        reason,
        event: None,
        suppress_repeats: false,
    }
}

fn reported(reason: TranslationError, event: Event) -> Refusal {
    Refusal {
        event: Some(event),
        ..silent(reason)
    }
}
