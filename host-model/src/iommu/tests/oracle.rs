//! Random interleavings against an IOMMU without caches, which is memory itself.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Two aliases that share a table, and a device of its own.
const SHARED: [RequesterId; 2] = [RequesterId(0x4100), RequesterId(0x4101)];
const INDICES: u64 = 2;

#[derive(Debug, Clone)]
enum Op {
    /// Change an entry, and queue what the change needs, but for the one that is forgotten.
    WriteIrte {
        index: u64,
        forgotten: Option<usize>,
    },
    /// Point both requester IDs to a new table; of what that needs, DTE or IRT are forgotten for one of them.
    SwitchTable {
        forgotten: Option<(usize, bool)>,
    },
    /// Invalidate for no reason.
    InvalidateAll,
    Request {
        alias: usize,
        index: u64,
    },
    /// Complete one of the outstanding fills.
    Complete {
        which: usize,
    },
    Step,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..INDICES, prop::option::weighted(0.3, 0..2usize))
            .prop_map(|(index, forgotten)| Op::WriteIrte { index, forgotten }),
        1 => prop::option::weighted(0.3, (0..2usize, any::<bool>()))
            .prop_map(|forgotten| Op::SwitchTable { forgotten }),
        1 => Just(Op::InvalidateAll),
        12 => (0..2usize, 0..INDICES).prop_map(|(alias, index)| Op::Request { alias, index }),
        8 => (0..8usize).prop_map(|which| Op::Complete { which }),
        12 => Just(Op::Step),
    ]
}

/// A position in each index's history.
type Positions = [usize; INDICES as usize];

/// Each change has a number, which is the entry's destination and vector. An answer must have the number that the last
/// COMPLETION_WAIT that has stored stands for, or a later one: that of the last change before the last invalidation
/// of the requester ID before that.
struct Model<'a> {
    rig: &'a Rig,
    /// Has no caches.
    oracle: &'a Rig,
    wide: bool,
    /// Whether somebody looks on, which known hits do without.
    observed: bool,
    table: u64,
    changes: u16,
    /// Numbers that each index had, oldest first.
    history: [Vec<u16>; INDICES as usize],
    /// By alias: where it is without a DTE that was changed, and whose invalidation is forgotten.
    behind: [Option<Positions>; 2],
    /// By alias: where it is once the invalidations that are queued have taken effect.
    invalidated: [Positions; 2],
    /// The same when a COMPLETION_WAIT was queued, by its data.
    queued: BTreeMap<u64, [Positions; 2]>,
    /// By alias: the first positions that may still be answered.
    floor: [Positions; 2],
    fills: Vec<FillToken<'a>>,
}

impl<'a> Model<'a> {
    fn new(rig: &'a Rig, oracle: &'a Rig, wide: bool, observed: bool) -> Self {
        let mut model = Self {
            rig,
            oracle,
            wide,
            observed,
            table: TABLE,
            changes: 0,
            history: Default::default(),
            behind: [None; 2],
            invalidated: Default::default(),
            queued: BTreeMap::new(),
            floor: Default::default(),
            fills: vec![],
        };
        model.switch_table();
        model
    }

    /// The newest.
    fn positions(&self) -> Positions {
        self.history.each_ref().map(|history| history.len() - 1)
    }

    /// Queued.
    fn invalidate_dte(&mut self, alias: usize) {
        self.behind[alias] = None;
        self.rig.queue(invalidate_dte(SHARED[alias]));
    }

    /// Likewise.
    fn invalidate_irt(&mut self, alias: usize) {
        self.invalidated[alias] = self.behind[alias].unwrap_or(self.positions());
        self.rig.queue(invalidate_irt(SHARED[alias]));
    }

    fn write_irte(&mut self, index: u64) {
        self.changes += 1;
        let [vector, destination] = self.changes.to_le_bytes();
        let entry = self.table + index * if self.wide { 16 } else { 4 };
        if self.wide {
            let irte = [u64::from(destination) << 8 | 1, u64::from(vector)];
            self.rig.memory.write_obj(irte, GuestAddress(entry)).unwrap();
        } else {
            self.rig
                .memory
                .write_obj(irte32(destination, vector), GuestAddress(entry))
                .unwrap();
        }
        self.history[index as usize].push(self.changes);
    }

    fn switch_table(&mut self) {
        self.table += 0x2000;
        (0..INDICES).for_each(|index| self.write_irte(index));
        SHARED
            .iter()
            .for_each(|device| self.rig.set_dte(*device, dte_remap(self.table, 9)));
    }

    fn queue_wait(&mut self) {
        let sequence = self.queued.len() as u64 + 1;
        self.queued.insert(sequence, self.invalidated);
        self.rig.queue(completion_wait(sequence));
    }

    fn ring_has_room(&self) -> bool {
        let (head, tail) = (self.rig.iommu.read(0x2000, 4), self.rig.iommu.read(0x2008, 4));
        (tail.wrapping_sub(head) & 8191) < 8192 - 8 * 16
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::WriteIrte { .. } | Op::SwitchTable { .. } | Op::InvalidateAll if !self.ring_has_room() => {}
            Op::WriteIrte { index, forgotten } => {
                self.write_irte(index);
                for alias in (0..2).filter(|alias| Some(*alias) != forgotten) {
                    self.invalidate_irt(alias);
                }
                self.queue_wait();
            }
            Op::SwitchTable { forgotten } => {
                let before = self.positions();
                self.switch_table();
                for alias in 0..2 {
                    self.behind[alias].get_or_insert(before);
                    if forgotten != Some((alias, true)) {
                        self.invalidate_dte(alias);
                    }
                }
                for alias in (0..2).filter(|alias| forgotten != Some((*alias, false))) {
                    self.invalidate_irt(alias);
                }
                self.queue_wait();
            }
            Op::InvalidateAll => {
                self.behind = [None; 2];
                self.invalidated = [self.positions(); 2];
                self.rig.queue(INVALIDATE_ALL);
            }
            Op::Request { alias, index } => {
                let iommu = &self.rig.iommu;
                let request = Rig::message(SHARED[alias], index as u32);
                let response = match self.observed {
                    true => iommu.request_observed(&request, &mut Observed::default()),
                    false => iommu.request(&request),
                };
                self.respond(request, response)?;
            }
            Op::Complete { which } if !self.fills.is_empty() => {
                let token = self.fills.remove(which % self.fills.len());
                let request = *token.request();
                let response = self.rig.iommu.complete(token);
                self.respond(request, response)?;
            }
            Op::Complete { .. } => {}
            Op::Step => {
                let work = self.rig.iommu.has_work();
                let step = self.rig.iommu.step();
                prop_assert_eq!(work, step.is_some());
                if let Some(Step::CompletionStored { data, .. }) = step {
                    self.floor = self.queued[&data];
                }
            }
        }
        Ok(())
    }

    fn respond(&mut self, request: InterruptRequest, response: Response<'a>) -> Result<(), TestCaseError> {
        match response {
            Response::Fill(token) => self.fills.push(token),
            Response::Answer(outcome) => {
                let Outcome::Remapped(interrupt) = outcome else {
                    return Err(TestCaseError::fail(format!("not remapped: {outcome:?}")));
                };
                let number = u16::from_le_bytes([interrupt.vector(), interrupt.destination() as u8]);
                let index = request.data as usize;
                let alias = usize::from(request.requester == SHARED[1]);
                let floor = self.floor[alias][index];
                let allowed = &self.history[index][floor..];
                prop_assert!(
                    allowed.contains(&number),
                    "{number} is none of {allowed:?}: {request:?}"
                );
                if floor == self.positions()[index] {
                    prop_assert_eq!(outcome, self.oracle.ask(&request).outcome);
                }
            }
        }
        Ok(())
    }

    /// Makes up for what was forgotten and lets everything end, after which only the newest values may be seen.
    fn settle(mut self) -> Result<(), TestCaseError> {
        while !self.ring_has_room() && self.rig.iommu.has_work() {
            self.apply(Op::Step)?;
        }
        (0..2).for_each(|alias| self.invalidate_dte(alias));
        (0..2).for_each(|alias| self.invalidate_irt(alias));
        self.queue_wait();
        while !self.fills.is_empty() {
            self.apply(Op::Complete { which: 0 })?;
        }
        while self.rig.iommu.has_work() {
            self.apply(Op::Step)?;
        }
        prop_assert_eq!(self.floor, [self.positions(); 2]);
        for (alias, index) in (0..2).flat_map(|alias| (0..INDICES).map(move |index| (alias, index))) {
            self.apply(Op::Request { alias, index })?;
            while !self.fills.is_empty() {
                self.apply(Op::Complete { which: 0 })?;
            }
        }
        Ok(())
    }
}

pub(super) fn shapes() -> impl Strategy<Value = CacheShape> {
    let replacement = prop_oneof![
        Just(Replacement::TrueLru),
        Just(Replacement::PseudoLru),
        any::<u64>().prop_map(|seed| Replacement::Random { seed }),
    ];
    let shape = prop_oneof![
        3 => Just(CacheShape::TINY),
        2 => Just(CacheShape::default()),
        1 => Just(CacheShape::DISABLED)
    ];
    (shape, replacement).prop_map(|(shape, replacement)| shape.with_replacement(replacement))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn what_is_properly_invalidated_is_never_answered_again(
        irt_cache in shapes(),
        dte_cache in shapes(),
        generation_bits in prop::sample::select(&[1, 4, 64][..]),
        wide: bool,
        observed: bool,
        ops in prop::collection::vec(op(), 0..200),
    ) {
        let config = Config { irt_cache, dte_cache, generation_bits, ..Config::default() };
        let control = if wide { RUN | GA_EN } else { RUN };
        let rig = Rig::with(config, control);
        let oracle = Rig::on(&rig.memory, Config::default().with_caches(CacheShape::DISABLED), control);
        let mut model = Model::new(&rig, &oracle, wide, observed);
        for op in ops {
            model.apply(op)?;
        }
        model.settle()?;
    }
}
