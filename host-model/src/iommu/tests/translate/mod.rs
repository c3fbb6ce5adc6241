//! Memory requests. Device table and page table entries are written as raw bits, as Linux writes them.

use super::*;
use crate::iommu::spec::Pasid;
use crate::iommu::spec::features::{Efr, Efr2, Features};
use crate::iommu::translate::{
    Access, AddressType, Addressing, MemoryRequest, TranslationError, TranslationOutcome,
    TranslationResponse, TranslationToken,
};

mod caching;
mod device_table_entry;
mod interleaving;
mod linux_tables;
mod page_tables;
mod statistics;

/// The highest table of [`RID`], and room for more tables behind it.
pub(super) const ROOT: u64 = 0x60_0000;

pub(super) const READ: u64 = 1 << 61;
pub(super) const WRITE: u64 = 1 << 62;
pub(super) const READ_WRITE: u64 = READ | WRITE;
/// PR of a page table entry.
pub(super) const PRESENT: u64 = 1;

/// V, TV, IR, IW, Mode and root; domain 0x5e.
pub(super) const fn dte_tables(mode: u64, root: u64) -> [u64; 4] {
    [3 | READ_WRITE | mode << 9 | root, 0x5e, 0, 0]
}

/// Points to a table of `level`.
pub(super) const fn pde(level: u64, table: u64) -> u64 {
    READ_WRITE | PRESENT | level << 9 | table
}

pub(super) const fn invalidate_pages(domain: u16, address: u64) -> [u64; 2] {
    [3 << 60 | (domain as u64) << 32, address]
}

/// S, and all address bits but the highest: everything, as Linux flushes a domain.
pub(super) const EVERYTHING: u64 = 0x7fff_ffff_ffff_f000 | 3;

pub(super) const fn request(access: Access, address: u64) -> MemoryRequest {
    MemoryRequest {
        requester: RID,
        address,
        access,
        addressing: Addressing::UNTRANSLATED,
    }
}

pub(super) const fn read(address: u64) -> MemoryRequest {
    request(Access::Read, address)
}

pub(super) const fn write(address: u64) -> MemoryRequest {
    request(Access::Write, address)
}

impl Rig {
    /// 64 bits of a table at `table`.
    pub(super) fn set_pte(&self, table: u64, index: u64, raw: u64) {
        self.memory
            .write_obj(raw, GuestAddress(table + index * 8))
            .unwrap();
    }

    /// Translates, and completes every fill at once.
    pub(super) fn translate(&self, request: &MemoryRequest) -> TranslationOutcome {
        self.finish_translation(self.iommu.translate(request))
    }

    pub(super) fn finish_translation<'a>(
        &'a self,
        mut response: TranslationResponse<'a>,
    ) -> TranslationOutcome {
        loop {
            response = match response {
                TranslationResponse::Answer(outcome) => return outcome,
                TranslationResponse::Fill(token) => self.iommu.complete_translation(token),
            }
        }
    }

    /// Translates until a page table entry is being read.
    pub(super) fn translate_until_pte(&self, request: &MemoryRequest) -> TranslationToken<'_> {
        let mut response = self.iommu.translate(request);
        loop {
            response = match response {
                TranslationResponse::Fill(token) if token.entry() != TableEntry::Dte => return token,
                TranslationResponse::Fill(token) => self.iommu.complete_translation(token),
                TranslationResponse::Answer(outcome) => panic!("no fill: {outcome:?}"),
            }
        }
    }
}

/// One request under one DTE, with page table entries at `(table, index)`.
pub(super) struct Case {
    pub(super) config: Config,
    pub(super) control: u64,
    pub(super) registers: Vec<(u64, u64)>,
    pub(super) dte: [u64; 4],
    pub(super) entries: Vec<(u64, u64, u64)>,
    pub(super) request: MemoryRequest,
}

impl Default for Case {
    /// Reads from the second page of 2 MiB that a directory entry and a page table map.
    fn default() -> Self {
        Self {
            config: Config::default(),
            control: RUN,
            registers: vec![],
            dte: dte_tables(2, ROOT),
            entries: vec![
                (ROOT, 0, pde(1, ROOT + 0x1000)),
                (ROOT + 0x1000, 1, READ_WRITE | PRESENT | 0x12_3000),
            ],
            request: read(0x1abc),
        }
    }
}

/// What became of it in short, and the events.
pub(super) type Short = (Result<String, TranslationError>, Vec<String>);

impl Case {
    /// A DTE that needs no page table.
    pub(super) fn dte(low: u64, high: u64) -> Self {
        Self {
            dte: [low, high, 0, 0],
            entries: vec![],
            ..Self::default()
        }
    }

    pub(super) fn access(self, access: Access) -> Self {
        let request = MemoryRequest {
            access,
            ..self.request
        };
        Self { request, ..self }
    }

    pub(super) fn at(self, address: u64) -> Self {
        let request = MemoryRequest {
            address,
            ..self.request
        };
        Self { request, ..self }
    }

    pub(super) fn kind(self, kind: AddressType) -> Self {
        let addressing = Addressing::new(kind, self.request.addressing.pasid());
        let request = MemoryRequest {
            addressing,
            ..self.request
        };
        Self { request, ..self }
    }

    pub(super) fn pasid(self, pasid: u32) -> Self {
        let request = MemoryRequest {
            addressing: Addressing::new(self.request.addressing.kind(), Pasid::new(pasid)),
            ..self.request
        };
        Self { request, ..self }
    }

    pub(super) fn features(mut self, efr: Efr) -> Self {
        self.config.features = Features::new(efr, Efr2::new()).unwrap();
        self
    }

    pub(super) fn outcome(self) -> Short {
        let rig = Rig::with(self.config, self.control);
        for (offset, value) in self.registers {
            rig.iommu.write(offset, 8, value);
        }
        rig.set_dte(RID, self.dte);
        for (table, index, raw) in self.entries {
            rig.set_pte(table, index, raw);
        }
        let outcome = match rig.translate(&self.request) {
            TranslationOutcome::Forwarded => Ok("forwarded".to_owned()),
            TranslationOutcome::Translated(to) => {
                let (flags, shift) = (to.attributes, to.attributes.shift());
                let flags = [
                    (flags.permissions().read(), "r"),
                    (flags.permissions().write(), "w"),
                    (flags.untranslated_only(), "u"),
                    (flags.force_coherent(), "c"),
                ];
                let flags: String = flags
                    .iter()
                    .filter(|(set, _)| *set)
                    .map(|(_, flag)| *flag)
                    .collect();
                Ok(format!("{:#x} 2^{shift} {flags}", to.address))
            }
            TranslationOutcome::Refused { reason, event } => {
                let logged = rig.run();
                let expected = event.map(|event| Step::EventWritten { event, offset: 0 });
                assert_eq!(logged, expected.into_iter().collect::<Vec<_>>());
                Err(reason)
            }
        };
        (outcome, rig.event_lines())
    }
}

pub(super) fn forwarded() -> Short {
    (Ok("forwarded".to_owned()), vec![])
}

/// Address, page size and permissions.
pub(super) fn translated(to: &str) -> Short {
    (Ok(to.to_owned()), vec![])
}

pub(super) fn silent(reason: TranslationError) -> Short {
    (Err(reason), vec![])
}

pub(super) fn reported(reason: TranslationError, event: &str) -> Short {
    (Err(reason), vec![event.to_owned()])
}

/// An IO_PAGE_FAULT of domain 0x5e.
pub(super) fn fault(reason: TranslationError, address: u64, flags: &str) -> Short {
    let line = format!("IO_PAGE_FAULT device=41:00.0 domain=0x005e address={address:#x} flags={flags}");
    (Err(reason), vec![line])
}

macro_rules! cases {
    ($($name:ident: $case:expr => $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!($case.outcome(), $expected);
        })*
    };
}
use cases;
