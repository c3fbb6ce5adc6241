//! Commands (AMD IOMMU spec 2.4): 16 bytes, opcode in bits 63:60 of the first quadword.

mod layout;
mod page_range;
#[cfg(test)]
mod tests;

use bitfield_struct::bitfield;
use sim_bridge::RequesterId;

use super::features::Features;
use layout::{
    DeviceWord, Form, IotlbWord, PageFlags, PagesWord, PprCompletion, ProcessWord, WaitWord, opcode,
};
pub use page_range::PageRange;

/// A command as it lies in the ring: two little-endian quadwords.
pub type RawCommand = [u64; 2];

/// A legal command. A PASID (20 bits) means something if `guest` (GN) is set.
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
        /// The process address space.
        pasid: u32,
        /// Which translations.
        range: PageRange,
        /// PDE: directory entries too.
        directory: bool,
        /// GN: guest translations.
        guest: bool,
    },
    /// Have a device forget translations. Legal with IotlbSup.
    InvalidateIotlbPages {
        /// Which device.
        device: RequesterId,
        /// The process address space.
        pasid: u32,
        /// Which translations.
        range: PageRange,
        /// QueueID: whose limit `max_pending` is; Linux gives the requester ID.
        queue: u16,
        /// MaxPend: so many invalidations may be under way.
        max_pending: u8,
        /// GN: guest translations.
        guest: bool,
    },
    /// Forget every interrupt remapping table entry of one requester ID.
    InvalidateInterruptTable(RequesterId),
    /// A hint: translations that a device will need. Legal with PreFSup.
    PrefetchIommuPages {
        /// Which device.
        device: RequesterId,
        /// The process address space.
        pasid: u32,
        /// The first translation and its size.
        range: PageRange,
        /// PFCount: so many of that size, minus one.
        count: u8,
        /// Inval: forget those that there are.
        invalidate: bool,
        /// GN: guest translations.
        guest: bool,
    },
    /// Answer a device's page request. Legal with PPRSup.
    CompletePprRequest {
        /// Which device.
        device: RequesterId,
        /// The process address space.
        pasid: u32,
        /// Which request, and what becomes of it.
        tag: CompletionTag,
        /// GN: the answer carries the PASID.
        guest: bool,
    },
    /// Forget everything. Legal with IASup.
    InvalidateIommuAll,
}

/// Completion tag of COMPLETE_PPR_REQUEST, as in a PRG Response message (PCIe Base spec 10.4.2.2).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct CompletionTag {
    /// Page request group index.
    #[bits(9)]
    pub group: u16,
    #[bits(3)]
    __: u8,
    /// Response code: 0 success, 1 invalid request, 15 failure.
    #[bits(4)]
    pub response: u8,
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

impl Form {
    /// Refuses reserved bits.
    #[inline(always)]
    fn check(&'static self, raw: RawCommand) -> Result<(), CommandError> {
        let reserved = self.reserved();
        match raw[0] & reserved[0] | raw[1] & reserved[1] {
            0 => Ok(()),
            _ => Err(self.reserved_bits(raw)),
        }
    }

    #[cold]
    fn reserved_bits(&self, raw: RawCommand) -> CommandError {
        let quadword = usize::from(raw[0] & self.reserved()[0] == 0);
        CommandError::ReservedBits {
            command: self.name,
            quadword,
            bits: raw[quadword] & self.reserved()[quadword],
        }
    }

    /// Refuses a command whose feature is absent, then reserved bits.
    #[inline(always)]
    fn check_with(&'static self, raw: RawCommand, supported: bool) -> Result<(), CommandError> {
        match supported {
            true => self.check(raw),
            false => Err(CommandError::Unsupported(self.name)),
        }
    }
}

impl Command {
    /// Whose interrupt remapping table entries a command invalidates, if it is a legal INVALIDATE_INTERRUPT_TABLE: the
    /// commonest command by far.
    #[inline(always)]
    pub fn as_interrupt_table_invalidation(raw: RawCommand) -> Option<RequesterId> {
        const COMMAND: u64 = DeviceWord::new()
            .with_opcode(opcode::INVALIDATE_INTERRUPT_TABLE)
            .into_bits();
        let device = raw[0] as u16;
        (raw == [COMMAND | device as u64, 0]).then_some(RequesterId(device))
    }

    /// Refuses reserved opcodes, commands of absent features and reserved bits.
    pub fn parse(raw: RawCommand, features: &Features) -> Result<Self, CommandError> {
        const fn device(raw: RawCommand) -> RequesterId {
            RequesterId(DeviceWord::from_bits(raw[0]).device())
        }
        let efr = features.efr();
        match DeviceWord::from_bits(raw[0]).opcode() {
            opcode::COMPLETION_WAIT => {
                layout::COMPLETION_WAIT.check(raw)?;
                let wait = WaitWord::from_bits(raw[0]);
                Ok(Self::CompletionWait {
                    store: wait.store().then_some(wait.address() << 3),
                    interrupt: wait.interrupt(),
                    flush: wait.flush(),
                    data: raw[1],
                })
            }
            opcode::INVALIDATE_DEVTAB_ENTRY => {
                layout::INVALIDATE_DEVTAB_ENTRY.check(raw)?;
                Ok(Self::InvalidateDevtabEntry(device(raw)))
            }
            opcode::INVALIDATE_IOMMU_PAGES => {
                layout::INVALIDATE_IOMMU_PAGES.check(raw)?;
                let (pages, flags) = (PagesWord::from_bits(raw[0]), PageFlags::from_bits(raw[1]));
                Ok(Self::InvalidateIommuPages {
                    domain: pages.domain(),
                    pasid: pages.pasid(),
                    range: PageRange::of_operand(raw[1]),
                    directory: flags.directory(),
                    guest: flags.guest(),
                })
            }
            opcode::INVALIDATE_INTERRUPT_TABLE => {
                layout::INVALIDATE_INTERRUPT_TABLE.check(raw)?;
                Ok(Self::InvalidateInterruptTable(device(raw)))
            }
            opcode::INVALIDATE_IOTLB_PAGES => {
                layout::INVALIDATE_IOTLB_PAGES.check_with(raw, features.iotlb_sup())?;
                let word = IotlbWord::from_bits(raw[0]);
                Ok(Self::InvalidateIotlbPages {
                    device: device(raw),
                    pasid: word.pasid(),
                    range: PageRange::of_operand(raw[1]),
                    queue: word.queue(),
                    max_pending: word.max_pending(),
                    guest: PageFlags::from_bits(raw[1]).guest(),
                })
            }
            opcode::PREFETCH_IOMMU_PAGES => {
                layout::PREFETCH_IOMMU_PAGES.check_with(raw, efr.pref_sup())?;
                let (word, flags) = (ProcessWord::from_bits(raw[0]), PageFlags::from_bits(raw[1]));
                Ok(Self::PrefetchIommuPages {
                    device: device(raw),
                    pasid: word.pasid(),
                    range: PageRange::of_operand(raw[1]),
                    count: word.count(),
                    invalidate: flags.invalidate(),
                    guest: flags.guest(),
                })
            }
            opcode::COMPLETE_PPR_REQUEST => {
                layout::COMPLETE_PPR_REQUEST.check_with(raw, efr.ppr_sup())?;
                let completion = PprCompletion::from_bits(raw[1]);
                Ok(Self::CompletePprRequest {
                    device: device(raw),
                    pasid: ProcessWord::from_bits(raw[0]).pasid(),
                    tag: CompletionTag::from_bits(completion.tag()),
                    guest: completion.guest(),
                })
            }
            opcode::INVALIDATE_IOMMU_ALL => {
                layout::INVALIDATE_IOMMU_ALL.check_with(raw, efr.ia_sup())?;
                Ok(Self::InvalidateIommuAll)
            }
            opcode => Err(CommandError::ReservedOpcode(opcode)),
        }
    }

    /// As software writes it into the ring.
    pub const fn encode(&self) -> RawCommand {
        const PASID: u32 = 0xf_ffff;
        let opcode = self.form().opcode;
        match *self {
            Self::CompletionWait {
                store,
                interrupt,
                flush,
                data,
            } => {
                let address = match store {
                    Some(address) => address >> 3 & ((1 << 49) - 1),
                    None => 0,
                };
                let wait = WaitWord::new()
                    .with_opcode(opcode)
                    .with_store(store.is_some())
                    .with_interrupt(interrupt)
                    .with_flush(flush)
                    .with_address(address);
                [wait.into_bits(), data]
            }
            Self::InvalidateDevtabEntry(RequesterId(device))
            | Self::InvalidateInterruptTable(RequesterId(device)) => {
                let word = DeviceWord::new().with_opcode(opcode).with_device(device);
                [word.into_bits(), 0]
            }
            Self::InvalidateIommuPages {
                domain,
                pasid,
                range,
                directory,
                guest,
            } => {
                let pages = PagesWord::new()
                    .with_opcode(opcode)
                    .with_domain(domain)
                    .with_pasid(pasid & PASID);
                let flags = PageFlags::new().with_directory(directory).with_guest(guest);
                [pages.into_bits(), range.operand() | flags.into_bits()]
            }
            Self::InvalidateIotlbPages {
                device: RequesterId(device),
                pasid,
                range,
                queue,
                max_pending,
                guest,
            } => {
                let word = IotlbWord::new()
                    .with_opcode(opcode)
                    .with_device(device)
                    .with_pasid(pasid)
                    .with_queue(queue)
                    .with_max_pending(max_pending);
                let flags = PageFlags::new().with_guest(guest);
                [word.into_bits(), range.operand() | flags.into_bits()]
            }
            Self::PrefetchIommuPages {
                device: RequesterId(device),
                pasid,
                range,
                count,
                invalidate,
                guest,
            } => {
                let word = ProcessWord::new()
                    .with_opcode(opcode)
                    .with_device(device)
                    .with_pasid(pasid & PASID)
                    .with_count(count);
                let flags = PageFlags::new().with_invalidate(invalidate).with_guest(guest);
                [word.into_bits(), range.operand() | flags.into_bits()]
            }
            Self::CompletePprRequest {
                device: RequesterId(device),
                pasid,
                tag,
                guest,
            } => {
                let word = ProcessWord::new()
                    .with_opcode(opcode)
                    .with_device(device)
                    .with_pasid(pasid & PASID);
                let completion = PprCompletion::new().with_tag(tag.into_bits()).with_guest(guest);
                [word.into_bits(), completion.into_bits()]
            }
            Self::InvalidateIommuAll => [DeviceWord::new().with_opcode(opcode).into_bits(), 0],
        }
    }

    const fn form(&self) -> &'static Form {
        match self {
            Self::CompletionWait { .. } => &layout::COMPLETION_WAIT,
            Self::InvalidateDevtabEntry(_) => &layout::INVALIDATE_DEVTAB_ENTRY,
            Self::InvalidateIommuPages { .. } => &layout::INVALIDATE_IOMMU_PAGES,
            Self::InvalidateIotlbPages { .. } => &layout::INVALIDATE_IOTLB_PAGES,
            Self::InvalidateInterruptTable(_) => &layout::INVALIDATE_INTERRUPT_TABLE,
            Self::PrefetchIommuPages { .. } => &layout::PREFETCH_IOMMU_PAGES,
            Self::CompletePprRequest { .. } => &layout::COMPLETE_PPR_REQUEST,
            Self::InvalidateIommuAll => &layout::INVALIDATE_IOMMU_ALL,
        }
    }

    /// The specification's name.
    pub const fn name(&self) -> &'static str {
        self.form().name
    }
}
