//! Events (AMD IOMMU spec 2.5): 16 bytes, code in bits 63:60 of the first quadword.

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

/// An event as it lies in the log: two little-endian quadwords.
pub type RawEvent = [u64; 2];

/// First quadword.
#[bitfield(u64)]
struct EventWord {
    device: u16,
    /// PASID bits 19:16.
    #[bits(4)]
    pasid_high: u8,
    #[bits(12)]
    __: u16,
    domain: u16,
    #[bits(12)]
    flags: u16,
    #[bits(4)]
    code: u8,
}

/// Bits 59:48 of the first quadword; which of them an event has depends on its code.
#[bitfield(u16)]
#[derive(PartialEq, Eq, Hash)]
pub struct EventFlags {
    /// GN: a guest translation.
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
    /// Type, for hardware errors.
    #[bits(2)]
    pub error_type: u8,
    #[bits(5)]
    __: u8,
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
    const fn bits(self) -> u8 {
        match self {
            Self::MasterAbort => 1,
            Self::TargetAbort => 2,
            Self::DataError => 3,
        }
    }
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
        /// I, RW, RZ.
        flags: EventFlags,
    },
    /// A request that no table entry allows.
    IoPageFault {
        /// Who asked.
        device: RequesterId,
        /// From the device table entry.
        domain: u16,
        /// Of the request.
        address: u64,
        /// I, PR, RW, PE, RZ.
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
        /// From the device table entry.
        domain: u16,
        /// Of the entry.
        address: u64,
        /// I, RW, TR.
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
}

impl Event {
    /// As the IOMMU writes it into the log.
    pub const fn encode(&self) -> RawEvent {
        let none = EventFlags::new();
        let (code, RequesterId(device), domain, address, flags) = match *self {
            Self::IllegalDevTableEntry {
                device,
                address,
                flags,
            } => (1, device, 0, address, flags),
            Self::IoPageFault {
                device,
                domain,
                address,
                flags,
            } => (2, device, domain, address, flags),
            Self::DevTabHardwareError {
                device,
                address,
                flags,
                error,
            } => (3, device, 0, address, flags.with_error_type(error.bits())),
            Self::PageTabHardwareError {
                device,
                domain,
                address,
                flags,
                error,
            } => (4, device, domain, address, flags.with_error_type(error.bits())),
            Self::IllegalCommandError { address } => (5, RequesterId(0), 0, address, none),
            Self::CommandHardwareError { address, error } => {
                (6, RequesterId(0), 0, address, none.with_error_type(error.bits()))
            }
        };
        let word = EventWord::new()
            .with_code(code)
            .with_device(device)
            .with_domain(domain)
            .with_flags(flags.into_bits() & 0xfff);
        [word.into_bits(), address]
    }

    /// Whose request or entry it is about, unless it is about a command.
    pub const fn device(&self) -> Option<RequesterId> {
        match *self {
            Self::IllegalDevTableEntry { device, .. }
            | Self::IoPageFault { device, .. }
            | Self::DevTabHardwareError { device, .. }
            | Self::PageTabHardwareError { device, .. } => Some(device),
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iommu::tests::linux_event;

    const INTERRUPT: EventFlags = EventFlags::new().with_interrupt(true);

    /// Lines that Linux printed on real machines.
    #[test]
    fn golden_lines_of_silicon() {
        let fault = Event::IoPageFault {
            device: RequesterId::new(0x42, 0, 0),
            domain: 0x5e,
            address: 0xffff_fffd_f803_0000,
            flags: INTERRUPT,
        };
        let other = Event::IoPageFault {
            device: RequesterId::new(0xc8, 2, 0),
            domain: 1,
            address: 0xffff_fffd_f805_0000,
            flags: INTERRUPT,
        };
        let illegal = Event::IllegalDevTableEntry {
            device: RequesterId::new(0xc0, 0, 1),
            address: 0xffff_fffd_f814_0000,
            flags: INTERRUPT,
        };
        let golden = [
            (
                fault,
                "IO_PAGE_FAULT device=42:00.0 domain=0x005e address=0xfffffffdf8030000 flags=0x0008",
            ),
            (
                other,
                "IO_PAGE_FAULT device=c8:02.0 domain=0x0001 address=0xfffffffdf8050000 flags=0x0008",
            ),
            (
                illegal,
                "ILLEGAL_DEV_TABLE_ENTRY device=c0:00.1 address=0xfffffffdf8140000 flags=0x0008",
            ),
        ];
        for (event, line) in golden {
            assert_eq!(linux_event(event.encode()), line);
        }
        let memory = EventFlags::new()
            .with_present(true)
            .with_write(true)
            .with_permission(true);
        assert_eq!(memory.into_bits(), 0x0070);
    }

    #[test]
    fn hardware_errors_carry_their_type_in_bits_58_57() {
        let types = [
            HardwareError::MasterAbort,
            HardwareError::TargetAbort,
            HardwareError::DataError,
        ];
        for (error, error_type) in types.into_iter().zip(1..) {
            let [word, address] = Event::CommandHardwareError {
                address: 0x1000,
                error,
            }
            .encode();
            assert_eq!((word, address), (6 << 60 | error_type << 57, 0x1000));
        }
    }

    #[test]
    fn each_event_has_its_code() {
        let (device, flags, error) = (RequesterId(0x4101), INTERRUPT, HardwareError::MasterAbort);
        let events = [
            (
                Event::IllegalDevTableEntry {
                    device,
                    address: 0x40,
                    flags,
                },
                0x1008_0000_0000_4101,
            ),
            (
                Event::IoPageFault {
                    device,
                    domain: 0x5e,
                    address: 0x40,
                    flags,
                },
                0x2008_005e_0000_4101,
            ),
            (
                Event::DevTabHardwareError {
                    device,
                    address: 0x40,
                    flags,
                    error,
                },
                0x3208_0000_0000_4101,
            ),
            (
                Event::PageTabHardwareError {
                    device,
                    domain: 0x5e,
                    address: 0x40,
                    flags,
                    error,
                },
                0x4208_005e_0000_4101,
            ),
            (
                Event::IllegalCommandError { address: 0x40 },
                0x5000_0000_0000_0000,
            ),
            (
                Event::CommandHardwareError { address: 0x40, error },
                0x6200_0000_0000_0000,
            ),
        ];
        for (event, word) in events {
            assert_eq!(event.encode(), [word, 0x40], "{}", event.name());
        }
    }
}
