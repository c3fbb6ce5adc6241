//! Random interleavings of software, commands and requests: the checker speaks exactly where software did not follow
//! the rules. Which answers those are is worked out here from values and commands, without addresses and bytes.

use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::*;
use crate::iommu::{CacheShape, Config, Faults, FillToken, Iommu, Replacement, Response};
use model::{Model, Walk};
use watched::{Request, Watched};

mod model;
mod translations;
mod watched;

/// A byte of their addresses differs from each other's and from what it is in a DTE without a table.
const TABLES: [u64; 2] = [0x50_0000, 0x51_0000];
const INDICES: usize = 2;

#[derive(Debug, Clone)]
enum Op {
    /// A driver call begins, one of two at a time.
    Open(usize),
    Close(usize),
    /// A number of an entry: 0 is RemapEn 0, others are vectors. By that call if it is open, or by one of its own.
    Entry {
        table: usize,
        index: usize,
        number: u8,
        call: usize,
    },
    /// The table of a requester ID; `None` forwards interrupts.
    Dte {
        device: usize,
        table: Option<usize>,
        call: usize,
    },
    Queue(Invalidate),
    Step,
    /// If the requester ID has no unanswered one: a device's messages stay in order.
    Request {
        device: usize,
        index: usize,
    },
    /// The requester ID's table read is back.
    Complete(usize),
}

#[derive(Debug, Clone, Copy)]
enum Invalidate {
    Irt(usize),
    Dte(usize),
    All,
}

fn op() -> impl Strategy<Value = Op> {
    let invalidate = prop_oneof![
        4 => (0..RIDS.len()).prop_map(Invalidate::Irt),
        4 => (0..RIDS.len()).prop_map(Invalidate::Dte),
        1 => Just(Invalidate::All),
    ];
    let entry = (0..2usize, 0..INDICES, 0..3u8, 0..2usize);
    let dte = (0..RIDS.len(), prop::option::weighted(0.8, 0..2usize), 0..2usize);
    prop_oneof![
        2 => (0..2usize).prop_map(Op::Open),
        2 => (0..2usize).prop_map(Op::Close),
        4 => entry.prop_map(|(table, index, number, call)| Op::Entry { table, index, number, call }),
        2 => dte.prop_map(|(device, table, call)| Op::Dte { device, table, call }),
        4 => invalidate.prop_map(Op::Queue),
        6 => Just(Op::Step),
        12 => (0..RIDS.len(), 0..INDICES).prop_map(|(device, index)| Op::Request { device, index }),
        16 => (0..RIDS.len()).prop_map(Op::Complete),
    ]
}

struct Run<'a> {
    watched: Watched<'a>,
    model: Model,
    waiting: [Option<(Request, FillToken<'a>)>; RIDS.len()],
    queued: Vec<Invalidate>,
    all_fit: bool,
    disabled: bool,
}

impl<'a> Run<'a> {
    fn new(iommu: &'a Iommu, memory: &'a Arc<GuestMemoryMmap>, wide: bool) -> Self {
        let mut run = Self {
            watched: Watched::new(iommu, memory, wide),
            model: Model::default(),
            waiting: Default::default(),
            queued: vec![],
            all_fit: iommu.config().irt_cache == CacheShape::default(),
            disabled: iommu.config().irt_cache == CacheShape::DISABLED,
        };
        // As the watched ones are from the start.
        for dte in &mut run.model.dtes {
            dte.value = Some(0);
        }
        run
    }

    fn call(&mut self, call: usize) -> usize {
        match self.model.open[call] {
            Some(call) => call,
            None => self.model.new_call(),
        }
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        self.model.now += 1;
        let now = self.model.now;
        match op {
            Op::Open(call) => {
                self.watched.open(call);
                if self.model.open[call].is_none() {
                    self.model.open[call] = Some(self.model.new_call());
                }
            }
            Op::Close(call) => {
                self.watched.close(call);
                self.model.open[call] = None;
            }
            Op::Entry {
                table,
                index,
                number,
                call,
            } => {
                self.watched.write_entry(table, index, number, call);
                let call = self.call(call);
                self.model.entries[table][index].set(number, now, call);
            }
            Op::Dte { device, table, call } => {
                self.watched.write_dte(device, table, call);
                let call = self.call(call);
                self.model.dtes[device].set(table, now, call);
            }
            Op::Queue(invalidate) => {
                self.queued.push(invalidate);
                self.watched.queue(match invalidate {
                    Invalidate::Irt(device) => [invalidate_irt(RIDS[device]), 0],
                    Invalidate::Dte(device) => [invalidate_dte(RIDS[device]), 0],
                    Invalidate::All => [INVALIDATE_ALL, 0],
                });
            }
            Op::Step => {
                if let Some(Step::CommandExecuted { .. }) = self.watched.step() {
                    let invalidate = self.queued.remove(0);
                    self.model.invalidated(invalidate);
                }
            }
            Op::Request { device, index } if self.waiting[device].is_none() => {
                self.model.walks[device] = Some(Walk {
                    index,
                    ..Walk::default()
                });
                let (request, response) = self.watched.begin(device, index);
                self.respond(device, request, response)?;
            }
            Op::Complete(device) => {
                if let Some((mut request, token)) = self.waiting[device].take() {
                    let response = self.watched.complete(&mut request, token);
                    self.respond(device, request, response)?;
                }
            }
            Op::Request { .. } => {}
        }
        Ok(())
    }

    fn respond(
        &mut self,
        device: usize,
        request: Request,
        response: Response<'a>,
    ) -> Result<(), TestCaseError> {
        if let Some(dte) = request.observed.dte {
            self.model.used_dte(device, dte.from, self.disabled);
        }
        match response {
            Response::Fill(token) => {
                self.model.read(device, token.entry(), self.all_fit);
                self.waiting[device] = Some((request, token));
            }
            Response::Answer(outcome) => {
                if let Some(irte) = request.observed.irte {
                    self.model.used_entry(device, irte.from, self.disabled);
                }
                self.check_outcome(device, &outcome)?;
                let expected = self.model.judge(device, &request.observed);
                prop_assert_eq!(self.watched.judge(&request, outcome), expected);
            }
        }
        Ok(())
    }

    /// It is what the walk's entries say.
    fn check_outcome(&self, device: usize, outcome: &Outcome) -> Result<(), TestCaseError> {
        let walk = self.model.walks[device].as_ref().expect("it is on its way");
        match (walk.dte.and_then(|dte| dte.value), walk.entry) {
            (None, _) => {
                let forwarded = matches!(outcome, Outcome::Forwarded { .. });
                prop_assert!(forwarded, "{:?}", outcome);
            }
            (Some(_), None) => prop_assert!(false, "no entry"),
            (Some(_), Some(entry)) => {
                let number = entry.number.value;
                let expected = (number != 0).then(|| number + 0x30);
                prop_assert_eq!(place(outcome).map(|place| place.vector), expected);
            }
        }
        Ok(())
    }

    /// A finding for each requester ID and index that was stale, and for what an invalidation was missing for.
    fn check_findings(&self) -> Result<(), TestCaseError> {
        let findings = self.watched.checker.findings();
        let stale = findings
            .iter()
            .filter(|finding| finding.kind == FindingKind::Stale);
        let found = stale.map(|finding| {
            let Subject::Entry { requester, index } = finding.subject else {
                panic!("of no entry: {finding:?}");
            };
            let missing = ids(&finding.missing) == [requester];
            assert!(missing || finding.missing.is_empty(), "{finding:?}");
            ((requester, index), missing)
        });
        prop_assert_eq!(&self.model.stale, &found.collect());
        Ok(())
    }
}

fn shapes() -> impl Strategy<Value = CacheShape> {
    let replacement = prop_oneof![
        Just(Replacement::TrueLru),
        Just(Replacement::PseudoLru),
        any::<u64>().prop_map(|seed| Replacement::Random { seed }),
    ];
    prop_oneof![
        3 => replacement.prop_map(|replacement| CacheShape::TINY.with_replacement(replacement)),
        3 => Just(CacheShape::default()),
        1 => Just(CacheShape::DISABLED),
    ]
}

fn memory() -> Arc<GuestMemoryMmap> {
    Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x80_0000)]).expect("memory"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn the_checker_speaks_exactly_where_software_broke_the_rules(
        shape in shapes(),
        generation_bits in prop::sample::select(&[1, 4, 64][..]),
        wide: bool,
        ops in prop::collection::vec(op(), 0..250),
    ) {
        let config = Config { generation_bits, ..Config::default() }.with_caches(shape);
        let memory = memory();
        let iommu = Iommu::new(config, Arc::clone(&memory));
        let mut run = Run::new(&iommu, &memory, wide);
        for op in ops {
            run.apply(op)?;
        }
        run.check_findings()?;
    }
}

/// What an IOMMU with these faults does in a scenario is judged so, and these invalidations are missing.
fn judged(faults: Faults, scenario: impl Fn(&mut Watched) -> Freshness) -> (Freshness, Vec<RequesterId>) {
    let config = Config {
        faults,
        ..Config::default()
    };
    let memory = memory();
    let iommu = Iommu::new(config, Arc::clone(&memory));
    let mut watched = Watched::new(&iommu, &memory, false);
    watched.write_entry(0, 0, 1, 0);
    let freshness = scenario(&mut watched);
    let findings = watched.checker.findings();
    let missing = findings.iter().flat_map(|finding| ids(&finding.missing));
    (freshness, missing.collect())
}

/// Changes the entry and says so, in one call.
fn change(watched: &mut Watched, command: u64) {
    watched.open(0);
    watched.write_entry(0, 0, 2, 0);
    watched.queue([command, 0]);
    while watched.step().is_some() {}
    watched.close(0);
}

#[test]
fn a_fill_that_races_its_invalidation_is_found_stale_with_none_missing() {
    for command in [invalidate_irt(RID), INVALIDATE_ALL] {
        let scenario = |watched: &mut Watched| {
            let (mut request, mut response) = watched.begin(0, 0);
            if let Response::Fill(dte) = response {
                response = watched.complete(&mut request, dte);
            }
            change(watched, command);
            watched.finish(request, response);
            watched.ask(0, 0)
        };
        assert_eq!(judged(Faults::default(), scenario), (Freshness::Fresh, vec![]));
        let faults = Faults {
            fill_races_invalidation: true,
            ..Faults::default()
        };
        assert_eq!(judged(faults, scenario), (Freshness::Stale, vec![]));
    }
}

#[test]
fn an_invalidation_of_all_that_keeps_entries_is_found_stale_with_none_missing() {
    let scenario = |watched: &mut Watched| {
        watched.ask(0, 0);
        change(watched, INVALIDATE_ALL);
        watched.ask(0, 0)
    };
    assert_eq!(judged(Faults::default(), scenario), (Freshness::Fresh, vec![]));
    let faults = Faults {
        invalidate_all_keeps_irt: true,
        ..Faults::default()
    };
    assert_eq!(judged(faults, scenario), (Freshness::Stale, vec![]));
}

#[test]
fn an_invalidation_after_its_wait_is_found_stale() {
    let scenario = |watched: &mut Watched| {
        watched.ask(0, 0);
        watched.open(0);
        watched.write_entry(0, 0, 2, 0);
        watched.queue([invalidate_irt(RID), 0]);
        watched.queue([1 << 60 | 1 << 3 | 1, 1]);
        while !matches!(watched.step(), None | Some(Step::CompletionStored { .. })) {}
        watched.close(0);
        watched.ask(0, 0)
    };
    assert_eq!(judged(Faults::default(), scenario).0, Freshness::Fresh);
    let faults = Faults {
        wait_before_invalidate: true,
        ..Faults::default()
    };
    assert_eq!(judged(faults, scenario).0, Freshness::Stale);
}

/// The change of the DTE comes before the entry is read, and still it is what the entry misses.
#[test]
fn an_entry_of_the_table_before_is_in_flight_until_the_call_that_changed_the_dte_returns() {
    let scenario = |returns: bool| {
        move |watched: &mut Watched| {
            watched.write_entry(1, 0, 2, 0);
            let (request, response) = watched.begin(0, 0);
            watched.open(0);
            watched.write_dte(0, Some(1), 0);
            watched.finish(request, response);
            watched.queue([invalidate_dte(RID), 0]);
            while watched.step().is_some() {}
            if returns {
                watched.close(0);
            }
            watched.ask(0, 0)
        }
    };
    let none = Faults::default;
    assert_eq!(judged(none(), scenario(false)), (Freshness::InFlight, vec![]));
    assert_eq!(judged(none(), scenario(true)), (Freshness::Stale, vec![RID]));
}
