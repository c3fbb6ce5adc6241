//! Events (AMD IOMMU spec 2.5): 16 bytes, code in bits 63:60 of the first quadword.

mod fields;
#[cfg(all(test, not(loom)))]
mod tests;

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

pub use fields::{EventFlags, HardwareError, InvalidRequest};

/// An event as it lies in the log: two little-endian quadwords.
pub type RawEvent = [u64; 2];

/// First quadword, except of INVALID_PPR_REQUEST.
#[bitfield(u64)]
struct EventWord {
    device: u16,
    /// PASID bits 19:16, or flags of the reverse map.
    high: u8,
    __: u8,
    /// Domain, PASID bits 15:0, or guest tag.
    domain: u16,
    #[bits(9)]
    flags: u16,
    #[bits(3)]
    error_type: u8,
    #[bits(4)]
    code: u8,
}

/// First quadword of INVALID_PPR_REQUEST (Linux `PPR_PASID`, `EVENT_FLAG_PPR_RX`, `EVENT_FLAG_PPR_GN`).
#[bitfield(u64)]
struct InvalidPprWord {
    device: u16,
    /// PASID bits 15:0.
    pasid_low: u16,
    #[bits(10)]
    tag: u16,
    /// PASID bits 19:16.
    #[bits(4)]
    pasid_high: u8,
    #[bits(2)]
    __: u8,
    response_expected: bool,
    #[bits(8)]
    __: u8,
    guest: bool,
    #[bits(2)]
    __: u8,
    #[bits(4)]
    code: u8,
}

/// What the IOMMU reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A device table entry has reserved bits or values.
    IllegalDevTableEntry {
        /// Whose entry.
        device: RequesterId,
        /// Of the request.
        address: u64,
        /// GN, I, RW, RZ, TN.
        flags: EventFlags,
    },
    /// A request that no table entry allows.
    IoPageFault {
        /// Who asked.
        device: RequesterId,
        /// From the device table entry. With GN, the PASID stands in its place.
        domain: u16,
        /// Of the request.
        address: u64,
        /// All.
        flags: EventFlags,
    },
    /// The device table entry could not be read.
    DevTabHardwareError {
        /// Whose entry.
        device: RequesterId,
        /// Of the entry.
        address: u64,
        /// I, RW, TR.
        flags: EventFlags,
        /// What happened to the read.
        error: HardwareError,
    },
    /// A page table or interrupt remapping table entry could not be read.
    PageTabHardwareError {
        /// Who asked.
        device: RequesterId,
        /// From the device table entry. With GN, the PASID stands in its place.
        domain: u16,
        /// Of the entry.
        address: u64,
        /// GN, I, RW, TR.
        flags: EventFlags,
        /// What happened to the read.
        error: HardwareError,
    },
    /// Command processing stopped at an illegal command.
    IllegalCommandError {
        /// Of the command.
        address: u64,
    },
    /// Command processing stopped at memory that could not be accessed.
    CommandHardwareError {
        /// Of the access.
        address: u64,
        /// What happened to it.
        error: HardwareError,
    },
    /// A device did not answer an invalidation of its IOTLB within Control.InvTimeout.
    IotlbInvTimeout {
        /// Which device.
        device: RequesterId,
        /// Of the command, 16-byte aligned.
        address: u64,
    },
    /// A request that its device may not make.
    InvalidDeviceRequest {
        /// Who asked.
        device: RequesterId,
        /// Of the request.
        address: u64,
        /// TR and Type.
        request: InvalidRequest,
        /// GN.
        flags: EventFlags,
    },
    /// A page request that its device may not make.
    InvalidPprRequest {
        /// Who asked.
        device: RequesterId,
        /// Of the page.
        address: u64,
        /// Page request group index in bits 8:0, last request of the group in bit 9.
        tag: u16,
        /// RX: the device waits for a COMPLETE_PPR_REQUEST.
        response_expected: bool,
        /// GN.
        flags: EventFlags,
    },
    /// A request to memory that the reverse map does not give to its guest.
    RmpPageFault {
        /// Who asked.
        device: RequesterId,
        /// VMG tag.
        guest_tag: u16,
        /// Guest physical.
        address: u64,
        /// Of the reverse map's entry.
        rmp_flags: u8,
        /// All.
        flags: EventFlags,
    },
    /// An entry of the reverse map could not be read.
    RmpHardwareError {
        /// Who asked.
        device: RequesterId,
        /// VMG tag.
        guest_tag: u16,
        /// Of the entry, 8-byte aligned.
        address: u64,
        /// I, RW, TR.
        flags: EventFlags,
        /// What happened to the read.
        error: HardwareError,
    },
}

/// Flags of all requests whose table entry could not be read.
const HARDWARE_ERROR: EventFlags = EventFlags::new()
    .with_interrupt(true)
    .with_write(true)
    .with_translation(true);

/// Flags of a device table entry's event.
const ILLEGAL_ENTRY: EventFlags = HARDWARE_ERROR.with_guest(true).with_reserved_not_zero(true);

/// Flags of a fault.
const FAULT: EventFlags = ILLEGAL_ENTRY
    .with_no_execute(true)
    .with_user(true)
    .with_present(true)
    .with_permission(true);

impl EventWord {
    const fn of(code: u8, RequesterId(device): RequesterId) -> Self {
        Self::new().with_code(code).with_device(device)
    }

    /// The flags that are also in `used`.
    const fn with_used(self, flags: EventFlags, used: EventFlags) -> Self {
        self.with_flags((flags.into_bits() & used.into_bits() & 0x1ff) as u16)
    }

    /// The PASID, if `flags` say that there is one; otherwise the domain.
    const fn with_pasid_or(self, domain: u16, flags: EventFlags) -> Self {
        match flags.guest() {
            true => self
                .with_domain(flags.pasid() as u16)
                .with_high((flags.pasid() >> 16) as u8),
            false => self.with_domain(domain),
        }
    }

    const fn with_error(self, error: HardwareError) -> Self {
        self.with_error_type(error.bits())
    }
}

impl Event {
    /// As the IOMMU writes it into the log.
    pub const fn encode(&self) -> RawEvent {
        const NOBODY: RequesterId = RequesterId(0);
        let (word, address) = match *self {
            Self::IllegalDevTableEntry {
                device,
                address,
                flags,
            } => {
                let word = EventWord::of(1, device).with_used(flags, ILLEGAL_ENTRY);
                (word.with_pasid_or(0, flags), address)
            }
            Self::IoPageFault {
                device,
                domain,
                address,
                flags,
            } => {
                let word = EventWord::of(2, device).with_used(flags, FAULT);
                (word.with_pasid_or(domain, flags), address)
            }
            Self::DevTabHardwareError {
                device,
                address,
                flags,
                error,
            } => {
                let word = EventWord::of(3, device).with_used(flags, HARDWARE_ERROR);
                (word.with_error(error), address)
            }
            Self::PageTabHardwareError {
                device,
                domain,
                address,
                flags,
                error,
            } => {
                let word = EventWord::of(4, device).with_used(flags, HARDWARE_ERROR.with_guest(true));
                (word.with_pasid_or(domain, flags).with_error(error), address)
            }
            Self::IllegalCommandError { address } => (EventWord::of(5, NOBODY), address),
            Self::CommandHardwareError { address, error } => {
                (EventWord::of(6, NOBODY).with_error(error), address)
            }
            Self::IotlbInvTimeout { device, address } => (EventWord::of(7, device), address & !0xf),
            Self::InvalidDeviceRequest {
                device,
                address,
                request,
                flags,
            } => {
                let (translation, request) = request.bits();
                let used = EventFlags::new().with_guest(true).with_translation(true);
                let word = EventWord::of(8, device).with_used(flags.with_translation(translation), used);
                (word.with_pasid_or(0, flags).with_error_type(request), address)
            }
            Self::InvalidPprRequest {
                device: RequesterId(device),
                address,
                tag,
                response_expected,
                flags,
            } => {
                let pasid = if flags.guest() { flags.pasid() } else { 0 };
                let word = InvalidPprWord::new()
                    .with_code(9)
                    .with_device(device)
                    .with_pasid_low(pasid as u16)
                    .with_pasid_high((pasid >> 16) as u8)
                    .with_tag(tag & 0x3ff)
                    .with_response_expected(response_expected)
                    .with_guest(flags.guest());
                (EventWord::from_bits(word.into_bits()), address)
            }
            Self::RmpPageFault {
                device,
                guest_tag,
                address,
                rmp_flags,
                flags,
            } => {
                let word = EventWord::of(0xd, device).with_used(flags, FAULT);
                (word.with_domain(guest_tag).with_high(rmp_flags), address)
            }
            Self::RmpHardwareError {
                device,
                guest_tag,
                address,
                flags,
                error,
            } => {
                let word = EventWord::of(0xe, device).with_used(flags, HARDWARE_ERROR);
                (word.with_domain(guest_tag).with_error(error), address & !7)
            }
        };
        [word.into_bits(), address]
    }

    /// Whose request or entry it is about, unless it is about a command.
    pub const fn device(&self) -> Option<RequesterId> {
        match *self {
            Self::IllegalDevTableEntry { device, .. }
            | Self::IoPageFault { device, .. }
            | Self::DevTabHardwareError { device, .. }
            | Self::PageTabHardwareError { device, .. }
            | Self::IotlbInvTimeout { device, .. }
            | Self::InvalidDeviceRequest { device, .. }
            | Self::InvalidPprRequest { device, .. }
            | Self::RmpPageFault { device, .. }
            | Self::RmpHardwareError { device, .. } => Some(device),
            Self::IllegalCommandError { .. } | Self::CommandHardwareError { .. } => None,
        }
    }

    /// The specification's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::IllegalDevTableEntry { .. } => "ILLEGAL_DEV_TABLE_ENTRY",
            Self::IoPageFault { .. } => "IO_PAGE_FAULT",
            Self::DevTabHardwareError { .. } => "DEV_TAB_HARDWARE_ERROR",
            Self::PageTabHardwareError { .. } => "PAGE_TAB_HARDWARE_ERROR",
            Self::IllegalCommandError { .. } => "ILLEGAL_COMMAND_ERROR",
            Self::CommandHardwareError { .. } => "COMMAND_HARDWARE_ERROR",
            Self::IotlbInvTimeout { .. } => "IOTLB_INV_TIMEOUT",
            Self::InvalidDeviceRequest { .. } => "INVALID_DEVICE_REQUEST",
            Self::InvalidPprRequest { .. } => "INVALID_PPR_REQUEST",
            Self::RmpPageFault { .. } => "RMP_PAGE_FAULT",
            Self::RmpHardwareError { .. } => "RMP_HARDWARE_ERROR",
        }
    }
}
