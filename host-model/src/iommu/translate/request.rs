//! Memory requests and what the IOMMU makes of them.

use std::fmt;

use sim_bridge::RequesterId;

use super::super::spec::Pasid;
use super::super::spec::dte::DteError;
use super::super::spec::event::Event;
use super::super::spec::page_table::{PageAttributes, Permissions};
use super::lookup::TranslationToken;
use super::page_walk::WalkError;

/// A memory request that is not an interrupt message. It crosses no 4 KiB boundary, as no PCIe request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MemoryRequest {
    // Without an offset a hit compares it in one step.
    /// What the address means.
    pub addressing: Addressing,
    /// From the TLP.
    pub requester: RequesterId,
    /// What it does.
    pub access: Access,
    /// Of the first byte.
    pub address: u64,
}

/// What a memory request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Access {
    /// Memory Read.
    Read = Permissions::new().with_read(true).into_bits(),
    /// Memory Write.
    Write = Permissions::new().with_write(true).into_bits(),
    /// FetchAdd, Swap and CAS.
    Atomic = Permissions::ALL.into_bits(),
}

impl Access {
    /// The permissions that it must have.
    #[inline]
    pub const fn needs(self) -> Permissions {
        Permissions::from_bits(self as u8)
    }
}

/// Address type (AT) of a memory request (PCIe 10.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressType {
    /// 0.
    Untranslated,
    /// 1: asks for the translation, by ATS.
    TranslationRequest,
    /// 2: the address is what a translation request was answered with.
    Translated,
}

/// What the address of a memory request means.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Addressing(
    /// Both in one word, which most requests have as 0: the type in bits 1:0, one more than the PASID above.
    u32,
);

impl Addressing {
    /// Untranslated, and no PASID.
    pub const UNTRANSLATED: Self = Self::new(AddressType::Untranslated, None);

    /// AT of the TLP, and the PASID of its prefix.
    pub const fn new(kind: AddressType, pasid: Option<Pasid>) -> Self {
        let pasid = match pasid {
            Some(pasid) => pasid.get() + 1,
            None => 0,
        };
        Self(pasid << 2 | kind as u32)
    }

    /// AT of the TLP.
    pub const fn kind(self) -> AddressType {
        match self.0 & 3 {
            0 => AddressType::Untranslated,
            1 => AddressType::TranslationRequest,
            _ => AddressType::Translated,
        }
    }

    /// From the TLP's PASID prefix.
    pub const fn pasid(self) -> Option<Pasid> {
        match (self.0 >> 2).checked_sub(1) {
            Some(pasid) => Pasid::new(pasid),
            None => None,
        }
    }
}

impl fmt::Debug for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addressing = f.debug_struct("Addressing");
        addressing
            .field("kind", &self.kind())
            .field("pasid", &self.pasid())
            .finish()
    }
}

/// What a memory request or a fill leads to.
#[derive(Debug)]
#[must_use]
pub enum TranslationResponse<'a> {
    /// The end of the request.
    Answer(TranslationOutcome),
    /// A table entry was read from memory: hand the token to
    /// [`Iommu::complete_translation`](super::super::Iommu::complete_translation) when the read's latency has passed.
    Fill(TranslationToken<'a>),
}

/// What becomes of a memory request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TranslationOutcome {
    /// It goes on as it came.
    Forwarded,
    /// It goes to the translated address; a translation request is answered with it.
    Translated(Translation),
    /// Nothing. A translation request is answered with R=W=0 if [`TranslationError::is_page_fault`]; otherwise, and
    /// for other requests, the IOMMU aborts.
    Refused {
        /// Why.
        reason: TranslationError,
        /// What is reported, or `None` where the event is suppressed or the specification has none. Whether it
        /// reaches the log is up to Control.EventLogEn; [`Step`](super::super::Step) tells.
        event: Option<Event>,
    },
}

/// A translated address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Translation {
    /// Physical address of the request's first byte.
    pub address: u64,
    /// Size of what is translated likewise, aligned to itself; what the device table entry and the page tables
    /// allow; U and FC.
    pub attributes: PageAttributes,
}

/// Why a memory request goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TranslationError {
    /// A write to 0xFEEx_xxxx, which is an interrupt and none of a memory request's business.
    #[error("address {0:#x} is an interrupt message's")]
    Interrupt(u64),
    /// A read or an atomic operation at 0xFEEx_xxxx, or the request for its translation.
    #[error("{access:?} at {address:#x}, where only interrupt messages go")]
    InterruptRange {
        /// Of the request.
        access: Access,
        /// Of the request.
        address: u64,
    },
    /// A translation request with Control.IommuEn 0.
    #[error("translation request to an IOMMU that is disabled")]
    Disabled,
    /// The requester ID is beyond the device table.
    #[error("the requester ID is beyond the device table")]
    DeviceOutOfRange,
    /// The DTE can't be read.
    #[error("the DTE at {0:#x} can't be read")]
    DteUnreadable(u64),
    /// The DTE is illegal.
    #[error(transparent)]
    IllegalDte(DteError),
    /// A translation request or a translated request of a device whose DTE has I, V or TV 0.
    #[error("{0:?} that the DTE does not allow")]
    NotAllowed(AddressType),
    /// DTE.TV is 0.
    #[error("DTE: TV is 0")]
    TranslationInvalid,
    /// A PASID, and DTE.GV is 0.
    #[error("PASID {0:#x} without guest translation")]
    UnexpectedPasid(Pasid),
    /// A PASID, and DTE.GV is 1: guest page tables are not modelled.
    #[error("PASID {0:#x}: guest translation is not modelled")]
    GuestTranslation(Pasid),
    /// DTE.IR or DTE.IW does not allow it.
    #[error("the DTE does not allow {0:?}")]
    DtePermissions(Access),
    /// IR or IW of a page table entry does not allow it.
    #[error("the page table entry of level {level} does not allow {access:?}")]
    Permissions {
        /// Of the entry's table.
        level: u8,
        /// Of the request.
        access: Access,
    },
    /// The page tables do not map the address.
    #[error(transparent)]
    NotMapped(WalkError),
    /// A page table entry can't be read.
    #[error("the page table entry at {0:#x} can't be read")]
    PteUnreadable(u64),
}

impl TranslationError {
    /// Whether it is of the kind that IO_PAGE_FAULT reports.
    pub const fn is_page_fault(&self) -> bool {
        matches!(
            self,
            Self::DeviceOutOfRange
                | Self::TranslationInvalid
                | Self::UnexpectedPasid(_)
                | Self::GuestTranslation(_)
                | Self::DtePermissions(_)
                | Self::Permissions { .. }
                | Self::NotMapped(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addressing_keeps_type_and_pasid() {
        let pasids = [None, Pasid::new(0), Pasid::new(1), Pasid::new(0xf_ffff)];
        for kind in [
            AddressType::Untranslated,
            AddressType::TranslationRequest,
            AddressType::Translated,
        ] {
            for pasid in pasids {
                let addressing = Addressing::new(kind, pasid);
                assert_eq!((addressing.kind(), addressing.pasid()), (kind, pasid));
                let plain = kind == AddressType::Untranslated && pasid.is_none();
                assert_eq!(addressing == Addressing::UNTRANSLATED, plain);
            }
        }
    }
}
