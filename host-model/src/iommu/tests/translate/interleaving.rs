//! Any order of page table changes, invalidations, requests and their reads: a request is never answered by what was
//! invalidated before it began.

use proptest::prelude::*;

use super::*;

/// Each has a domain and tables of its own. The domains differ in their highest bits only.
const DEVICES: [RequesterId; 2] = [RID, RequesterId(0x4101)];
const DOMAINS: [u16; 2] = [0x5e, 0x105e];

/// Pages 0 to 2 have 4 KiB, page 3 has 2 MiB.
const PAGES: usize = 4;

#[derive(Debug, Clone)]
enum Op {
    /// Maps a page anew, or to nothing.
    Change {
        page: usize,
        unmap: bool,
    },
    /// Maps all pages anew by other tables, and says so.
    NewTables,
    /// Any address of the page.
    InvalidatePage {
        page: usize,
        offset: u64,
    },
    /// A range with the small pages.
    InvalidateSmallPages,
    InvalidateDomain,
    InvalidateAll,
    Request {
        page: usize,
        offset: u64,
    },
    /// One read of a request that waits.
    Complete {
        which: usize,
    },
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let (page, offset) = (0..PAGES, 0..512u64);
    let place = (page.clone(), offset);
    let op = prop_oneof![
        4 => (page, prop::bool::weighted(0.2)).prop_map(|(page, unmap)| Op::Change { page, unmap }),
        1 => Just(Op::NewTables),
        3 => place.clone().prop_map(|(page, offset)| Op::InvalidatePage { page, offset }),
        1 => Just(Op::InvalidateSmallPages),
        1 => Just(Op::InvalidateDomain),
        1 => Just(Op::InvalidateAll),
        6 => place.prop_map(|(page, offset)| Op::Request { page, offset }),
        8 => any::<usize>().prop_map(|which| Op::Complete { which }),
    ];
    (0..DEVICES.len(), op)
}

/// What a page has been mapped to: numbers that never come back, and 0 for nothing.
struct History {
    mapped: Vec<u64>,
    /// What comes before was invalidated.
    floor: usize,
}

struct Waiting<'a> {
    token: TranslationToken<'a>,
    device: usize,
    page: usize,
    /// When it began.
    floor: usize,
}

struct Model<'a> {
    rig: &'a Rig,
    histories: [[History; PAGES]; 2],
    last_number: u64,
    /// Which of its two sets of tables a device uses.
    tables: [u64; 2],
    waiting: Vec<Waiting<'a>>,
}

fn address_of(page: usize, offset: u64) -> u64 {
    match page {
        3 => 0x20_0000 + (offset << 12),
        _ => (page as u64) << 12,
    }
}

impl<'a> Model<'a> {
    fn new(rig: &'a Rig) -> Self {
        let history = || History {
            mapped: vec![0],
            floor: 0,
        };
        let model = Self {
            rig,
            histories: [(); 2].map(|()| [(); PAGES].map(|()| history())),
            last_number: 0,
            tables: [0; 2],
            waiting: Vec::new(),
        };
        for device in 0..2 {
            model.use_tables(device);
        }
        model
    }

    fn root(&self, device: usize) -> u64 {
        ROOT + 0x4000 * device as u64 + 0x2000 * self.tables[device]
    }

    fn use_tables(&self, device: usize) {
        let root = self.root(device);
        self.rig.set_pte(root, 0, pde(1, root + 0x1000));
        let [low, ..] = dte_tables(2, root);
        self.rig
            .set_dte(DEVICES[device], [low, DOMAINS[device].into(), 0, 0]);
    }

    fn change(&mut self, device: usize, page: usize, unmap: bool) {
        self.last_number += 1;
        let number = if unmap { 0 } else { self.last_number };
        self.histories[device][page].mapped.push(number);
        let pte = if unmap {
            0
        } else {
            READ_WRITE | PRESENT | number << 21
        };
        let root = self.root(device);
        match page {
            3 => self.rig.set_pte(root, 1, pte),
            _ => self.rig.set_pte(root + 0x1000, page as u64, pte),
        }
    }

    fn run(&mut self, device: usize, op: &Op) {
        match *op {
            Op::Change { page, unmap } => self.change(device, page, unmap),
            Op::NewTables => {
                self.tables[device] ^= 1;
                (0..PAGES).for_each(|page| self.change(device, page, false));
                self.use_tables(device);
                self.rig.queue(invalidate_dte(DEVICES[device]));
                self.invalidate(device, EVERYTHING, 0..PAGES);
            }
            Op::InvalidatePage { page, offset } => {
                self.invalidate(device, address_of(page, offset), page..page + 1);
            }
            Op::InvalidateSmallPages => self.invalidate(device, 0x1001, 0..3),
            Op::InvalidateDomain => self.invalidate(device, EVERYTHING, 0..PAGES),
            Op::InvalidateAll => {
                self.rig.queue(INVALIDATE_ALL);
                (0..2).for_each(|device| self.invalidate(device, EVERYTHING, 0..PAGES));
            }
            Op::Request { page, offset } => {
                let request = MemoryRequest {
                    requester: DEVICES[device],
                    ..read(address_of(page, offset))
                };
                let floor = self.histories[device][page].floor;
                let response = self.rig.iommu.translate(&request);
                self.respond(device, page, floor, response);
            }
            Op::Complete { which } if !self.waiting.is_empty() => self.complete(which % self.waiting.len()),
            Op::Complete { .. } => {}
        }
    }

    fn invalidate(&mut self, device: usize, operand: u64, pages: std::ops::Range<usize>) {
        self.rig.queue(invalidate_pages(DOMAINS[device], operand));
        self.rig.run();
        // So many invalidations may wait for lookups that no more is fetched.
        while self.rig.iommu.read(0x2000, 4) != self.rig.iommu.read(0x2008, 4) {
            self.complete(0);
            self.rig.run();
        }
        for history in &mut self.histories[device][pages] {
            history.floor = history.mapped.len() - 1;
        }
    }

    fn complete(&mut self, which: usize) {
        let Waiting {
            token,
            device,
            page,
            floor,
        } = self.waiting.swap_remove(which);
        let response = self.rig.iommu.complete_translation(token);
        self.respond(device, page, floor, response);
    }

    fn respond(&mut self, device: usize, page: usize, floor: usize, response: TranslationResponse<'a>) {
        let number = match response {
            TranslationResponse::Fill(token) => {
                self.waiting.push(Waiting {
                    token,
                    device,
                    page,
                    floor,
                });
                return;
            }
            TranslationResponse::Answer(TranslationOutcome::Translated(to)) => to.address >> 21,
            TranslationResponse::Answer(TranslationOutcome::Refused { .. }) => 0,
            TranslationResponse::Answer(TranslationOutcome::Forwarded) => panic!("forwarded"),
        };
        let allowed = &self.histories[device][page].mapped[floor..];
        assert!(allowed.contains(&number), "{number} is none of {allowed:?}");
    }
}

fn run(config: Config, ops: &[(usize, Op)]) {
    let rig = Rig::with(config, RUN);
    let mut model = Model::new(&rig);
    for (device, op) in ops {
        model.run(*device, op);
    }
}

proptest! {
    #[test]
    fn no_request_goes_by_what_was_invalidated_before_it(
        ops in prop::collection::vec(op(), 1..200),
        shape in prop_oneof![
            Just(CacheShape::default()),
            Just(CacheShape::TINY),
            Just(CacheShape::new(1, 3).unwrap()),
            Just(CacheShape::DISABLED),
        ],
    ) {
        run(Config::default().with_caches(shape), &ops);
    }
}

#[test]
#[should_panic(expected = "is none of")]
fn fills_that_race_invalidations_are_noticed() {
    let faults = Faults {
        fill_races_invalidation: true,
        ..Faults::default()
    };
    let config = Config {
        faults,
        ..Config::default()
    };
    let (page, complete) = (0, || Op::Complete { which: 0 });
    let request = || Op::Request { page, offset: 0 };
    let change = || Op::Change { page, unmap: false };
    // The old page is read, and in flight while it is invalidated.
    let before = [change(), request(), complete(), complete(), change()];
    let after = [Op::InvalidateDomain, complete(), request()];
    run(
        config,
        &before
            .into_iter()
            .chain(after)
            .map(|op| (0, op))
            .collect::<Vec<_>>(),
    );
}

/// Fills on two threads while a third changes a page and invalidates it.
#[test]
fn no_thread_sees_what_was_invalidated_before_its_request_began() {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;
    use std::thread;

    const CHANGES: u64 = 3_000;
    for shape in [CacheShape::default(), CacheShape::TINY] {
        let rig = &Rig::with(Config::default().with_caches(shape), RUN);
        rig.set_dte(RID, dte_tables(2, ROOT));
        rig.set_pte(ROOT, 0, pde(1, ROOT + 0x1000));
        let map = |number: u64| rig.set_pte(ROOT + 0x1000, 1, READ_WRITE | PRESENT | number << 12);
        map(0);
        let invalidated = &AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while invalidated.load(SeqCst) < CHANGES {
                        let floor = invalidated.load(SeqCst);
                        let outcome = rig.translate(&read(0x1000));
                        let TranslationOutcome::Translated(to) = outcome else {
                            panic!("not translated: {outcome:?}");
                        };
                        let number = to.address >> 12;
                        assert!(number >= floor, "{number} < {floor}");
                    }
                });
            }
            scope.spawn(|| {
                for number in 1..=CHANGES {
                    map(number);
                    rig.queue(match number % 3 {
                        0 => INVALIDATE_ALL,
                        _ => invalidate_pages(0x5e, 0x1000),
                    });
                    rig.queue(completion_wait(number));
                    while rig.semaphore() < number {
                        if rig.iommu.step().is_none() {
                            thread::yield_now();
                        }
                    }
                    invalidated.store(number, SeqCst);
                }
            });
        });
    }
}
