//! Parts of events.

use bitfield_struct::bitfield;

use super::super::Pasid;

/// Flags of an event, and the PASID that GN makes valid; which of them an event has depends on its code.
///
/// The flags lie as in bits 56:48 of the first quadword, where Linux prints them.
#[bitfield(u32)]
#[derive(PartialEq, Eq, Hash)]
pub struct EventFlags {
    /// GN: a guest translation, `pasid` is valid.
    pub guest: bool,
    /// NX: no execute.
    pub no_execute: bool,
    /// US: user.
    pub user: bool,
    /// I: an interrupt request.
    pub interrupt: bool,
    /// PR: the entry was present.
    pub present: bool,
    /// RW: a write.
    pub write: bool,
    /// PE: no permission.
    pub permission: bool,
    /// RZ: reserved bits were not zero, or a reserved value.
    pub reserved_not_zero: bool,
    /// TN or TR: a translation request.
    pub translation: bool,
    #[bits(3)]
    __: u8,
    /// Process address space ID, if `guest`.
    #[bits(20)]
    pub pasid: u32,
}

impl EventFlags {
    /// With the PASID of a request that has one: GN.
    pub const fn with_pasid_of(self, pasid: Option<Pasid>) -> Self {
        match pasid {
            Some(pasid) => self.with_guest(true).with_pasid(pasid.get()),
            None => self,
        }
    }
}

/// Type of a hardware error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HardwareError {
    /// 1: nobody answered at that address.
    MasterAbort,
    /// 2: the access was refused.
    TargetAbort,
    /// 3: poisoned data.
    DataError,
}

impl HardwareError {
    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::MasterAbort => 1,
            Self::TargetAbort => 2,
            Self::DataError => 3,
        }
    }
}

/// TR and Type of INVALID_DEVICE_REQUEST (illumos `get_illegal_req`): what a device asked that it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvalidRequest {
    /// 0: a read or non-posted write in the interrupt range.
    InterruptRangeRead,
    /// 1: a translated request of a device whose DTE has I or V 0.
    Pretranslated,
    /// 2: port I/O of a device whose DTE has IoCtl 0.
    PortIo,
    /// 3: a posted write in the system management range that SysMgt does not let pass.
    SystemManagementWrite,
    /// 4: a read or non-posted write in the system management range.
    SystemManagementRead,
    /// 5: an interrupt or EOI of a device whose DTE has IntCtl 0.
    Interrupt,
    /// 6: a posted write in the reserved part of the interrupt range.
    ReservedInterruptRange,
    /// 7: a system management or port I/O request to be translated by a DTE with TV 0.
    Untranslatable,
    /// TR, 0: a translation request of a device whose DTE has I, V or TV 0.
    TranslationRefused,
    /// TR, 1: a translation request for the interrupt, port I/O or system management range.
    TranslationOfSpecialRange,
}

impl InvalidRequest {
    /// TR and Type.
    pub(super) const fn bits(self) -> (bool, u8) {
        match self {
            Self::InterruptRangeRead => (false, 0),
            Self::Pretranslated => (false, 1),
            Self::PortIo => (false, 2),
            Self::SystemManagementWrite => (false, 3),
            Self::SystemManagementRead => (false, 4),
            Self::Interrupt => (false, 5),
            Self::ReservedInterruptRange => (false, 6),
            Self::Untranslatable => (false, 7),
            Self::TranslationRefused => (true, 0),
            Self::TranslationOfSpecialRange => (true, 1),
        }
    }
}
