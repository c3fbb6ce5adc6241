//! Commands (AMD IOMMU spec 2.4): 16 bytes, opcode in bits 63:60 of the first quadword.

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

use super::features::Features;

/// A command as it lies in the ring: two little-endian quadwords.
pub type RawCommand = [u64; 2];

/// A legal command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Completes when everything before it has taken effect.
    CompletionWait {
        /// Write `data` (64 bits) to this physical address, 8-byte aligned.
        store: Option<u64>,
        /// Set Status.ComWaitInt.
        interrupt: bool,
        /// Complete everything before it, that which has no other ordering included.
        flush: bool,
        /// What to store.
        data: u64,
    },
    /// Forget the device table entry of one requester ID.
    InvalidateDevtabEntry(RequesterId),
    /// Forget translations of a domain.
    InvalidateIommuPages {
        /// The domain.
        domain: u16,
        /// The process address space, if `guest`.
        pasid: u32,
        /// Address bits 63:12 and, in size mode, the size in its low set bits.
        address: u64,
        /// S: `address` encodes a size.
        size: bool,
        /// PDE: directory entries too.
        directory: bool,
        /// GN: guest translations.
        guest: bool,
    },
    /// Forget every interrupt remapping table entry of one requester ID.
    InvalidateInterruptTable(RequesterId),
    /// Forget everything.
    InvalidateIommuAll,
}

/// Why a command is illegal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such opcode.
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// An opcode whose feature the IOMMU does not have.
    #[error("{0} needs a feature that is absent")]
    Unsupported(&'static str),
    /// Reserved bits are set.
    #[error("{command}: reserved bits {bits:#x} of quadword {quadword} are set")]
    ReservedBits {
        /// The command's name.
        command: &'static str,
        /// 0 or 1.
        quadword: usize,
        /// The offending bits.
        bits: u64,
    },
}

/// First quadword of a command that has a requester ID as its only operand.
#[bitfield(u64)]
struct DeviceCommand {
    device: u16,
    #[bits(44)]
    __: u64,
    #[bits(4)]
    opcode: u8,
}

/// First quadword of COMPLETION_WAIT.
#[bitfield(u64)]
struct CompletionWaitCommand {
    store: bool,
    interrupt: bool,
    flush: bool,
    /// Physical address bits 51:3.
    #[bits(49)]
    address: u64,
    #[bits(8)]
    __: u8,
    #[bits(4)]
    opcode: u8,
}

/// First quadword of INVALIDATE_IOMMU_PAGES.
#[bitfield(u64)]
struct PagesCommand {
    #[bits(20)]
    pasid: u32,
    #[bits(12)]
    __: u16,
    domain: u16,
    #[bits(12)]
    __: u16,
    #[bits(4)]
    opcode: u8,
}

/// Second quadword of INVALIDATE_IOMMU_PAGES.
#[bitfield(u64)]
struct PagesAddress {
    size: bool,
    directory: bool,
    guest: bool,
    #[bits(9)]
    __: u16,
    #[bits(52)]
    address: u64,
}

const COMPLETION_WAIT: u8 = 1;
const INVALIDATE_DEVTAB_ENTRY: u8 = 2;
const INVALIDATE_IOMMU_PAGES: u8 = 3;
const INVALIDATE_IOTLB_PAGES: u8 = 4;
const INVALIDATE_INTERRUPT_TABLE: u8 = 5;
const PREFETCH_IOMMU_PAGES: u8 = 6;
const COMPLETE_PPR_REQUEST: u8 = 7;
const INVALIDATE_IOMMU_ALL: u8 = 8;

/// Name and bits in use of an opcode.
const fn form(opcode: u8) -> Option<(&'static str, [u64; 2])> {
    const OPCODE: u64 = 0xf << 60;
    Some(match opcode {
        COMPLETION_WAIT => ("COMPLETION_WAIT", [OPCODE | 0x000f_ffff_ffff_ffff, u64::MAX]),
        INVALIDATE_DEVTAB_ENTRY => ("INVALIDATE_DEVTAB_ENTRY", [OPCODE | 0xffff, 0]),
        INVALIDATE_IOMMU_PAGES => (
            "INVALIDATE_IOMMU_PAGES",
            [OPCODE | 0x0000_ffff_000f_ffff, 0xffff_ffff_ffff_f007],
        ),
        INVALIDATE_IOTLB_PAGES => ("INVALIDATE_IOTLB_PAGES", [u64::MAX; 2]),
        INVALIDATE_INTERRUPT_TABLE => ("INVALIDATE_INTERRUPT_TABLE", [OPCODE | 0xffff, 0]),
        PREFETCH_IOMMU_PAGES => ("PREFETCH_IOMMU_PAGES", [u64::MAX; 2]),
        COMPLETE_PPR_REQUEST => ("COMPLETE_PPR_REQUEST", [u64::MAX; 2]),
        INVALIDATE_IOMMU_ALL => ("INVALIDATE_IOMMU_ALL", [OPCODE, 0]),
        _ => return None,
    })
}

impl Command {
    /// Refuses reserved opcodes, reserved bits and commands of absent features.
    pub fn parse(raw: RawCommand, features: &Features) -> Result<Self, CommandError> {
        let opcode = DeviceCommand::from_bits(raw[0]).opcode();
        let (command, used) = form(opcode).ok_or(CommandError::ReservedOpcode(opcode))?;
        for quadword in 0..2 {
            let bits = raw[quadword] & !used[quadword];
            if bits != 0 {
                return Err(CommandError::ReservedBits {
                    command,
                    quadword,
                    bits,
                });
            }
        }
        let device = RequesterId(DeviceCommand::from_bits(raw[0]).device());
        Ok(match opcode {
            COMPLETION_WAIT => {
                let wait = CompletionWaitCommand::from_bits(raw[0]);
                Self::CompletionWait {
                    store: wait.store().then_some(wait.address() << 3),
                    interrupt: wait.interrupt(),
                    flush: wait.flush(),
                    data: raw[1],
                }
            }
            INVALIDATE_DEVTAB_ENTRY => Self::InvalidateDevtabEntry(device),
            INVALIDATE_INTERRUPT_TABLE => Self::InvalidateInterruptTable(device),
            INVALIDATE_IOMMU_PAGES => {
                let (pages, address) = (PagesCommand::from_bits(raw[0]), PagesAddress::from_bits(raw[1]));
                Self::InvalidateIommuPages {
                    domain: pages.domain(),
                    pasid: pages.pasid(),
                    address: address.address() << 12,
                    size: address.size(),
                    directory: address.directory(),
                    guest: address.guest(),
                }
            }
            INVALIDATE_IOMMU_ALL if features.efr().ia_sup() => Self::InvalidateIommuAll,
            _ => return Err(CommandError::Unsupported(command)),
        })
    }

    /// As software writes it into the ring.
    pub const fn encode(&self) -> RawCommand {
        const fn device(opcode: u8, RequesterId(device): RequesterId) -> RawCommand {
            [
                DeviceCommand::new()
                    .with_opcode(opcode)
                    .with_device(device)
                    .into_bits(),
                0,
            ]
        }
        match *self {
            Self::CompletionWait {
                store,
                interrupt,
                flush,
                data,
            } => {
                let address = match store {
                    Some(address) => address >> 3,
                    None => 0,
                };
                let wait = CompletionWaitCommand::new()
                    .with_opcode(COMPLETION_WAIT)
                    .with_store(store.is_some())
                    .with_interrupt(interrupt)
                    .with_flush(flush)
                    .with_address(address & ((1 << 49) - 1));
                [wait.into_bits(), data]
            }
            Self::InvalidateDevtabEntry(rid) => device(INVALIDATE_DEVTAB_ENTRY, rid),
            Self::InvalidateInterruptTable(rid) => device(INVALIDATE_INTERRUPT_TABLE, rid),
            Self::InvalidateIommuPages {
                domain,
                pasid,
                address,
                size,
                directory,
                guest,
            } => {
                let pages = PagesCommand::new()
                    .with_opcode(INVALIDATE_IOMMU_PAGES)
                    .with_domain(domain)
                    .with_pasid(pasid & 0xf_ffff);
                let address = PagesAddress::new()
                    .with_address(address >> 12)
                    .with_size(size)
                    .with_directory(directory)
                    .with_guest(guest);
                [pages.into_bits(), address.into_bits()]
            }
            Self::InvalidateIommuAll => device(INVALIDATE_IOMMU_ALL, RequesterId(0)),
        }
    }

    /// The specification's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CompletionWait { .. } => "COMPLETION_WAIT",
            Self::InvalidateDevtabEntry(_) => "INVALIDATE_DEVTAB_ENTRY",
            Self::InvalidateIommuPages { .. } => "INVALIDATE_IOMMU_PAGES",
            Self::InvalidateInterruptTable(_) => "INVALIDATE_INTERRUPT_TABLE",
            Self::InvalidateIommuAll => "INVALIDATE_IOMMU_ALL",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::iommu::spec::features::{Efr, Efr2};

    fn parse(raw: RawCommand) -> Result<Command, CommandError> {
        Command::parse(raw, &Features::default())
    }

    /// Quadwords built by hand from Linux's `struct iommu_cmd`, opcode = dw1[31:28].
    #[test]
    fn commands_of_linux_are_understood() {
        let wait = Command::CompletionWait {
            store: Some(0x1_0000_2000),
            interrupt: false,
            flush: false,
            data: 7,
        };
        let pages = Command::InvalidateIommuPages {
            domain: 0x5e,
            pasid: 0,
            address: 0x7fff_ffff_ffff_f000,
            size: true,
            directory: true,
            guest: false,
        };
        let golden = [
            ([0x1000_0001_0000_2001, 7], wait),
            (
                [0x2000_0000_0000_4100, 0],
                Command::InvalidateDevtabEntry(RequesterId(0x4100)),
            ),
            ([0x3000_005e_0000_0000, 0x7fff_ffff_ffff_f003], pages),
            (
                [0x5000_0000_0000_41ff, 0],
                Command::InvalidateInterruptTable(RequesterId(0x41ff)),
            ),
            ([0x8000_0000_0000_0000, 0], Command::InvalidateIommuAll),
        ];
        for (raw, command) in golden {
            assert_eq!(parse(raw), Ok(command));
            assert_eq!(command.encode(), raw);
        }
    }

    #[test]
    fn reserved_opcodes_are_refused() {
        for opcode in [0, 9, 10, 11, 12, 13, 14, 15] {
            assert_eq!(
                parse([u64::from(opcode) << 60, 0]),
                Err(CommandError::ReservedOpcode(opcode))
            );
        }
    }

    #[test]
    fn every_reserved_bit_is_refused_by_name() {
        // Reserved masks of each command as the reference models check them.
        let reserved = [
            (1, "COMPLETION_WAIT", [0x0ff0_0000_0000_0000, 0]),
            (2, "INVALIDATE_DEVTAB_ENTRY", [0x0fff_ffff_ffff_0000, u64::MAX]),
            (3, "INVALIDATE_IOMMU_PAGES", [0x0fff_0000_fff0_0000, 0xff8]),
            (5, "INVALIDATE_INTERRUPT_TABLE", [0x0fff_ffff_ffff_0000, u64::MAX]),
            (8, "INVALIDATE_IOMMU_ALL", [0x0fff_ffff_ffff_ffff, u64::MAX]),
        ];
        for (opcode, command, masks) in reserved {
            for bit in 0..128 {
                let (quadword, bits) = (bit / 64, 1u64 << (bit % 64));
                if bit / 4 == 15 {
                    continue; // the opcode itself
                }
                let mut raw = [opcode << 60, 0];
                raw[quadword] |= bits;
                let expected = CommandError::ReservedBits {
                    command,
                    quadword,
                    bits,
                };
                assert_eq!(
                    parse(raw).err(),
                    (masks[quadword] & bits != 0).then_some(expected),
                    "{raw:x?}"
                );
            }
        }
    }

    #[test]
    fn commands_of_absent_features_are_refused() {
        for opcode in [4, 6, 7] {
            assert!(matches!(
                parse([opcode << 60, 0]),
                Err(CommandError::Unsupported(_))
            ));
        }
        let no_ia = Features::new(Efr::new().with_ga_sup(true), Efr2::new()).unwrap();
        let all = Command::InvalidateIommuAll;
        assert_eq!(
            Command::parse(all.encode(), &no_ia),
            Err(CommandError::Unsupported(all.name()))
        );
    }

    proptest! {
        #[test]
        fn what_parses_encodes_to_the_same_bits(opcode in 1u64..9, low: u64, high: u64) {
            let raw = [opcode << 60 | low & !(0xf << 60), high];
            if let Ok(command) = parse(raw) {
                let encoded = command.encode();
                // The address of a COMPLETION_WAIT that stores nothing means nothing.
                if !matches!(command, Command::CompletionWait { store: None, .. }) {
                    prop_assert_eq!(encoded, raw);
                }
                prop_assert_eq!(parse(encoded), Ok(command));
            }
        }
    }
}
