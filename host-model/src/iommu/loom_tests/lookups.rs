//! One thread looks up by the IOMMU's own ways, another is software and the command processor.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};

use sim_bridge::RequesterId;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::super::spec::dte::RawDte;
use super::super::spec::irte::RawIrte;
use super::super::sync::AtomicU64;
use super::super::translate::{Access, Addressing, MemoryRequest, TranslationOutcome};
use super::super::*;
use super::{both, model};

const DEVICE_TABLE: u64 = 0x1000;
const COMMANDS: u64 = 0x2000;
const TABLE: u64 = 0x3000;
const SEMAPHORE: u64 = 0x800;
const MEMORY: usize = 0x8000;
const PAGE_TABLE: u64 = 0x5000;
/// IR and IW.
const READ_WRITE: u64 = 3 << 61;
const DOMAIN: u64 = 1;
const INVALIDATE_DTE: [u64; 2] = [2 << 60, 0];
const INVALIDATE_PAGES: [u64; 2] = [3 << 60 | DOMAIN << 32, 0x7fff_ffff_ffff_f003];
const INVALIDATE_IRT: [u64; 2] = [5 << 60, 0];
const INVALIDATE_ALL: [u64; 2] = [8 << 60, 0];

/// Requester ID 0, whose interrupt 0 and page 0 are under test. The interrupt's vector, or the number of the physical
/// page, counts the changes.
struct Rig {
    iommu: Iommu,
    memory: Arc<GuestMemoryMmap>,
    /// Changes that software was told of, in the order of the model's real time: no unanswered lookup uses an older.
    told: std::sync::atomic::AtomicU64,
    /// The same as a device knows it that has been told by software.
    known: AtomicU64,
}

/// Compares what an unanswered lookup uses with what software has been told.
struct Unanswered<'a>(&'a Rig);

impl Observer for Unanswered<'_> {
    fn dte(&mut self, _: Lookup<RawDte>) {}

    fn irte(&mut self, lookup: Lookup<RawIrte>) {
        // A hit may be answered from a moment before the call returns.
        if lookup.from != LookupFrom::Hit {
            let (number, told) = ((lookup.raw >> 16) as u64 & 0xff, self.0.told.load(SeqCst));
            assert!(
                number >= told,
                "told of {told} while a lookup of {number} is unanswered"
            );
        }
    }
}

impl Rig {
    fn new(config: Config, memory: &Arc<GuestMemoryMmap>) -> Arc<Self> {
        let one = CacheShape::new(1, 1).unwrap();
        let rig = Self {
            iommu: Iommu::new(config.with_caches(one), Arc::clone(memory)),
            memory: Arc::clone(memory),
            told: 0.into(),
            known: AtomicU64::new(0),
        };
        for (offset, value) in [
            (0x00, DEVICE_TABLE),
            (0x08, COMMANDS | 8 << 56),
            (0x18, 1 | 1 << 12),
        ] {
            rig.iommu.write(offset, 8, value);
        }
        rig.set_entry(TABLE, 0);
        rig.set_page(PAGE_TABLE, 0);
        rig.set_dte(TABLE, PAGE_TABLE);
        Arc::new(rig)
    }

    /// IV, IntCtl 2, two entries. V, TV, one level of page tables.
    fn set_dte(&self, table: u64, page_table: u64) {
        let translation = READ_WRITE | page_table | 1 << 9 | 3;
        let dte = [translation, DOMAIN, 2 << 60 | table | 1 << 1 | 1, 0];
        self.memory.write_obj(dte, GuestAddress(DEVICE_TABLE)).unwrap();
    }

    fn set_page(&self, page_table: u64, number: u64) {
        let entry = READ_WRITE | number << 12 | 1;
        self.memory.write_obj(entry, GuestAddress(page_table)).unwrap();
    }

    fn set_entry(&self, address: u64, number: u64) {
        self.memory
            .write_obj((number as u32) << 16 | 1, GuestAddress(address))
            .unwrap();
    }

    fn observed(&self, request: &InterruptRequest) -> Outcome {
        let observer = &mut Unanswered(self);
        let mut response = self.iommu.request_observed(request, observer);
        loop {
            response = match response {
                Response::Answer(outcome) => return outcome,
                Response::Fill(token) => self.iommu.complete_observed(token, observer),
            }
        }
    }

    /// A lookup, by the way that the caches allow or by the longer one.
    fn look_up(&self, observed: bool) {
        let known = self.known.load(Acquire);
        let request = InterruptRequest {
            requester: RequesterId(0),
            address: 0xfee0_0000,
            data: 0,
        };
        let outcome = match observed {
            true => self.observed(&request),
            false => self.iommu.remap(&request),
        };
        let Outcome::Remapped(interrupt) = outcome else {
            panic!("{outcome:?}")
        };
        let number = u64::from(interrupt.vector());
        assert!(number >= known, "{number} after software was told of {known}");
    }

    /// Likewise, of the page.
    fn translate(&self) {
        let known = self.known.load(Acquire);
        let outcome = self.iommu.translate_at_once(&MemoryRequest {
            requester: RequesterId(0),
            address: 0x40,
            access: Access::Read,
            addressing: Addressing::UNTRANSLATED,
        });
        let TranslationOutcome::Translated(translation) = outcome else {
            panic!("{outcome:?}")
        };
        let number = translation.address >> 12;
        assert!(number >= known, "{number} after software was told of {known}");
    }

    /// Executes these commands and a COMPLETION_WAIT, after which software takes `number` for done.
    fn command(&self, commands: &[[u64; 2]], number: u64) {
        let wait = [1 << 60 | SEMAPHORE | 1, number];
        for command in commands.iter().copied().chain([wait]) {
            let tail = self.iommu.read(0x2008, 4);
            self.memory
                .write_obj(command, GuestAddress(COMMANDS + tail))
                .unwrap();
            self.iommu.write(0x2008, 4, tail + 16);
        }
        // None: an older lookup is unanswered. Then software waits, and that lookup is the other thread's last.
        while let Some(step) = self.iommu.step() {
            if let Step::CompletionStored { data, .. } = step {
                self.told.store(data, SeqCst);
                self.known.store(data, Release);
            }
        }
    }

    fn change_entry(&self, commands: &[[u64; 2]], number: u64) {
        self.set_entry(TABLE, number);
        self.command(commands, number);
    }
}

fn check(
    config: Config,
    preemptions: usize,
    look_up: fn(&Rig),
    change: impl Fn(&Rig) + Copy + Send + Sync + 'static,
) {
    // Nothing is cached, or both entries and what they come to.
    for warm in [false, true] {
        let config = config.clone();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let memory = Arc::new(memory);
        model(preemptions, move || {
            let rig = Rig::new(config.clone(), &memory);
            if warm {
                look_up(&rig);
            }
            both(&rig, look_up, change);
            while rig.iommu.step().is_some() {}
            assert_eq!(rig.iommu.read(0x2000, 4), rig.iommu.read(0x2008, 4));
            look_up(&rig);
        });
    }
}

fn remap(rig: &Rig) {
    rig.look_up(false);
}

fn remap_observed(rig: &Rig) {
    rig.look_up(true);
}

#[test]
fn an_invalidated_entry_is_not_used_again() {
    for command in [INVALIDATE_IRT, INVALIDATE_ALL] {
        for look_up in [remap, remap_observed] {
            check(Config::default(), 1, look_up, move |rig| {
                rig.change_entry(&[command], 1);
                rig.look_up(false);
            });
        }
    }
}

#[test]
fn an_entry_of_the_table_before_is_not_used_again() {
    for look_up in [remap, remap_observed] {
        check(Config::default(), 1, look_up, |rig| {
            rig.set_entry(TABLE + 0x1000, 1);
            rig.set_dte(TABLE + 0x1000, PAGE_TABLE);
            rig.command(&[INVALIDATE_DTE, INVALIDATE_IRT], 1);
            rig.look_up(false);
        });
    }
}

#[test]
fn no_entry_comes_back_when_its_generation_does() {
    let config = Config {
        generation_bits: 1,
        ..Config::default()
    };
    check(config, 1, remap, |rig| {
        (1..3).for_each(|number| rig.change_entry(&[INVALIDATE_IRT], number));
    });
}

#[test]
fn an_invalidated_translation_is_not_used_again() {
    for command in [INVALIDATE_PAGES, INVALIDATE_ALL] {
        check(Config::default(), 1, Rig::translate, move |rig| {
            rig.set_page(PAGE_TABLE, 1);
            rig.command(&[command], 1);
            rig.translate();
        });
    }
}

#[test]
fn a_translation_by_the_page_table_before_is_not_used_again() {
    check(Config::default(), 1, Rig::translate, |rig| {
        rig.set_page(PAGE_TABLE + 0x1000, 1);
        rig.set_dte(TABLE, PAGE_TABLE + 0x1000);
        rig.command(&[INVALIDATE_DTE, INVALIDATE_PAGES], 1);
        rig.translate();
    });
}
