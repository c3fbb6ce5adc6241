//! The same for memory requests: device table entries, page tables of two levels, the IOTLB.

use proptest::prelude::*;

use super::watched::Watched;
use super::*;
use crate::iommu::TableEntry;
use crate::iommu::spec::command::Command;
use crate::iommu::translate::{
    Access, Addressing, MemoryRequest, ObservedTranslation, TranslationOutcome, TranslationResponse,
    TranslationToken,
};

mod model;

use model::{Model, Walk};

const DEVICES: usize = 2;
const PAGES: usize = 2;
const LEAVES: [u64; 2] = [0x61_0000, 0x62_0000];
const ROOTS: [u64; 2] = [0x63_0000, 0x64_0000];

/// What a DTE may say: domain and root. Two devices may have a domain in common and not the tables.
const DTES: [Option<(u16, usize)>; 4] = [None, Some((1, 0)), Some((1, 1)), Some((2, 1))];

/// IoCtl, which means nothing here, makes a byte that all of them differ in.
fn dte(number: usize) -> [u64; 2] {
    let io_ctl = (number as u64) << 35;
    match DTES[number] {
        None => [3 | 3 << 61, 9 | io_ctl],
        Some((domain, root)) => [3 | 3 << 61 | 2 << 9 | ROOTS[root], u64::from(domain) | io_ctl],
    }
}

/// A page: nothing, two frames, and the first of them read-only. All differ in the highest byte.
fn page(number: u8) -> u64 {
    match number {
        0 => 0,
        1 => 3 << 61 | 0x70_0001,
        2 => 7 << 60 | 0x71_0001,
        _ => 1 << 61 | 0x70_0001,
    }
}

fn directory(leaf: Option<usize>) -> u64 {
    leaf.map_or(0, |leaf| 3 << 61 | 1 << 9 | LEAVES[leaf] | 1)
}

/// Frame, write permission, FC.
fn means(number: u8) -> (u8, bool, bool) {
    match number {
        1 => (0, true, false),
        2 => (1, true, true),
        _ => (0, false, false),
    }
}

/// Whether a cached page does what memory allows, or less.
fn is_current(cached: u8, now: Option<u8>) -> bool {
    now.is_some_and(|now| {
        let ((frame, write, coherent), now) = (means(cached), means(now));
        (frame, coherent) == (now.0, now.2) && (now.1 || !write)
    })
}

#[derive(Debug, Clone)]
enum Op {
    Open(usize),
    Close(usize),
    Dte {
        device: usize,
        number: usize,
        call: usize,
    },
    Directory {
        root: usize,
        leaf: Option<usize>,
        call: usize,
    },
    Page {
        leaf: usize,
        page: usize,
        number: u8,
        call: usize,
    },
    Queue(Invalidate),
    Step,
    Request {
        device: usize,
        page: usize,
        write: bool,
    },
    Complete(usize),
}

#[derive(Debug, Clone, Copy)]
enum Invalidate {
    Dte(usize),
    Page(u16, usize),
    Domain(u16),
    All,
}

fn op() -> impl Strategy<Value = Op> {
    let domain = 1..3u16;
    let invalidate = prop_oneof![
        4 => (0..DEVICES).prop_map(Invalidate::Dte),
        4 => (domain.clone(), 0..PAGES).prop_map(|(domain, page)| Invalidate::Page(domain, page)),
        2 => domain.prop_map(Invalidate::Domain),
        1 => Just(Invalidate::All),
    ];
    let dte = (0..DEVICES, 0..DTES.len(), 0..2usize);
    let directory = (
        0..ROOTS.len(),
        prop::option::weighted(0.8, 0..LEAVES.len()),
        0..2usize,
    );
    let page = (0..LEAVES.len(), 0..PAGES, 0..4u8, 0..2usize);
    prop_oneof![
        2 => (0..2usize).prop_map(Op::Open),
        2 => (0..2usize).prop_map(Op::Close),
        2 => dte.prop_map(|(device, number, call)| Op::Dte { device, number, call }),
        2 => directory.prop_map(|(root, leaf, call)| Op::Directory { root, leaf, call }),
        4 => page.prop_map(|(leaf, page, number, call)| Op::Page { leaf, page, number, call }),
        4 => invalidate.prop_map(Op::Queue),
        6 => Just(Op::Step),
        12 => (0..DEVICES, 0..PAGES, any::<bool>())
            .prop_map(|(device, page, write)| Op::Request { device, page, write }),
        24 => (0..DEVICES).prop_map(Op::Complete),
    ]
}

struct Asked<'a> {
    request: MemoryRequest,
    observed: ObservedTranslation,
    samples: Vec<(u64, Sample)>,
    token: Option<TranslationToken<'a>>,
}

struct Run<'a> {
    watched: Watched<'a>,
    model: Model,
    waiting: [Option<Asked<'a>>; DEVICES],
    queued: Vec<Invalidate>,
}

impl<'a> Run<'a> {
    fn new(iommu: &'a Iommu, memory: &'a Arc<GuestMemoryMmap>) -> Self {
        let mut run = Self {
            watched: Watched::new(iommu, memory, false),
            model: Model::default(),
            waiting: Default::default(),
            queued: vec![],
        };
        for device in 0..DEVICES {
            run.store_dte(device, 0, 0);
        }
        run
    }

    fn store(&mut self, address: u64, words: &[u64], call: usize) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.watched.store(address, &bytes, call);
    }

    fn store_dte(&mut self, device: usize, number: usize, call: usize) {
        self.store(DEVICE_TABLE + 32 * u64::from(RIDS[device].0), &dte(number), call);
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        self.model.now += 1;
        let now = self.model.now;
        match *op {
            Op::Open(call) => {
                self.watched.open(call);
                self.model.open[call] = Some(self.model.call(call));
            }
            Op::Close(call) => {
                self.watched.close(call);
                self.model.open[call] = None;
            }
            Op::Dte { device, number, call } => {
                self.store_dte(device, number, call);
                let call = self.model.call(call);
                self.model.dtes[device].set(number, now, call);
            }
            Op::Directory { root, leaf, call } => {
                self.store(ROOTS[root], &[directory(leaf)], call);
                let call = self.model.call(call);
                self.model.directories[root].set(leaf, now, call);
            }
            Op::Page {
                leaf,
                page: at,
                number,
                call,
            } => {
                self.store(LEAVES[leaf] + 8 * at as u64, &[page(number)], call);
                let call = self.model.call(call);
                self.model.pages[leaf][at].set(number, now, call);
            }
            Op::Queue(invalidate) => {
                self.queued.push(invalidate);
                self.watched.queue(match invalidate {
                    Invalidate::Dte(device) => [invalidate_dte(RIDS[device]), 0],
                    Invalidate::Page(domain, page) => {
                        [3 << 60 | u64::from(domain) << 32, 0x1000 * page as u64]
                    }
                    Invalidate::Domain(domain) => [3 << 60 | u64::from(domain) << 32, 0x7fff_ffff_ffff_f001],
                    Invalidate::All => [INVALIDATE_ALL, 0],
                });
            }
            Op::Step => {
                if let Some(Step::CommandExecuted { .. }) = self.watched.step() {
                    let invalidate = self.queued.remove(0);
                    self.model.invalidated(invalidate);
                }
            }
            Op::Request { device, page, write } if self.waiting[device].is_none() => {
                self.model.walks[device] = Some(Walk {
                    page,
                    ..Walk::default()
                });
                let request = MemoryRequest {
                    requester: RIDS[device],
                    address: 0x1000 * page as u64 + 0x10,
                    access: if write { Access::Write } else { Access::Read },
                    addressing: Addressing::UNTRANSLATED,
                };
                let mut asked = Asked {
                    request,
                    observed: ObservedTranslation::default(),
                    samples: vec![],
                    token: None,
                };
                let sample = self.watched.checker.sample(SimTime::ZERO);
                let response = self
                    .watched
                    .iommu
                    .translate_observed(&request, &mut asked.observed);
                self.respond(device, asked, sample, response)?;
            }
            Op::Complete(device) => {
                if let Some(mut asked) = self.waiting[device].take()
                    && let Some(token) = asked.token.take()
                {
                    let sample = self.watched.checker.sample(SimTime::ZERO);
                    let response = self
                        .watched
                        .iommu
                        .complete_translation_observed(token, &mut asked.observed);
                    self.respond(device, asked, sample, response)?;
                }
            }
            Op::Request { .. } => {}
        }
        Ok(())
    }

    fn respond(
        &mut self,
        device: usize,
        mut asked: Asked<'a>,
        sample: Sample,
        response: TranslationResponse<'a>,
    ) -> Result<(), TestCaseError> {
        // The DTE is seen once, before the first page table entry is read.
        if let Some(dte) = asked.observed.dte
            && asked.observed.ptes.is_empty()
        {
            self.model.used_dte(device, dte.from);
        }
        match response {
            TranslationResponse::Fill(token) => {
                asked.samples.push((token.address(), sample));
                if token.entry() != TableEntry::Dte {
                    self.watched.checker.reads_pte(token.address());
                }
                self.model.read(device, token.entry());
                asked.token = Some(token);
                self.waiting[device] = Some(asked);
            }
            TranslationResponse::Answer(outcome) => {
                let Asked {
                    request,
                    observed,
                    samples,
                    ..
                } = &asked;
                let judged = self.watched.checker.judge_translation(
                    request,
                    &outcome,
                    observed,
                    samples,
                    SimTime::ZERO,
                );
                if let TranslationOutcome::Translated(_) = outcome {
                    prop_assert!(observed.page.is_some());
                }
                prop_assert_eq!(judged, self.model.judge(device, observed));
            }
        }
        Ok(())
    }

    fn check_findings(&self) -> Result<(), TestCaseError> {
        let findings = self.watched.checker.findings();
        prop_assert!(findings.iter().all(|finding| finding.kind == FindingKind::Stale));
        let found = findings.iter().map(|finding| {
            let is_right = finding
                .missing
                .iter()
                .all(|command| match (command, finding.subject) {
                    (Command::InvalidateDevtabEntry(id), Subject::Device(device)) => *id == device,
                    (Command::InvalidateIommuPages { range, .. }, Subject::Page { address, .. }) => {
                        range.start() == address && range.log2() == 12
                    }
                    _ => false,
                });
            assert!(is_right && finding.missing.len() <= 1, "{finding:?}");
            (finding.subject, finding.missing.len() == 1)
        });
        prop_assert_eq!(&self.model.stale, &found.collect());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn the_checker_speaks_of_translations_exactly_where_software_broke_the_rules(
        shape in shapes(),
        ops in prop::collection::vec(op(), 0..300),
    ) {
        let config = Config::default().with_caches(shape);
        let memory = memory();
        let iommu = Iommu::new(config, Arc::clone(&memory));
        let mut run = Run::new(&iommu, &memory);
        for op in &ops {
            run.apply(op)?;
        }
        run.check_findings()?;
    }
}
