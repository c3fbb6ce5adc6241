//! Random interleavings against an IOMMU without caches, which is memory itself.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Two aliases that share a table, and a device of its own.
const SHARED: [RequesterId; 2] = [RequesterId(0x4100), RequesterId(0x4101)];
const INDICES: u64 = 2;

#[derive(Debug, Clone)]
enum Op {
    /// Change an entry, and queue what the change needs.
    WriteIrte {
        index: u64,
    },
    /// Point both requester IDs to a new table.
    SwitchTable,
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
        2 => (0..INDICES).prop_map(|index| Op::WriteIrte { index }),
        1 => Just(Op::SwitchTable),
        1 => Just(Op::InvalidateAll),
        12 => (0..2usize, 0..INDICES).prop_map(|(alias, index)| Op::Request { alias, index }),
        8 => (0..8usize).prop_map(|which| Op::Complete { which }),
        12 => Just(Op::Step),
    ]
}

/// Each change has a number, which is the entry's destination and vector. An answer must have the number that was
/// current at the last COMPLETION_WAIT that has stored, or a later one.
struct Model<'a> {
    rig: &'a Rig,
    wide: bool,
    table: u64,
    changes: u16,
    /// Numbers that each index had, oldest first.
    history: [Vec<u16>; INDICES as usize],
    /// By the data of each COMPLETION_WAIT: the length of each history when it was queued.
    queued: BTreeMap<u64, [usize; INDICES as usize]>,
    /// First position in each history that may still be answered.
    floor: [usize; INDICES as usize],
    fills: Vec<(FillToken<'a>, Observed)>,
}

impl<'a> Model<'a> {
    fn new(rig: &'a Rig, wide: bool) -> Self {
        let mut model = Self {
            rig,
            wide,
            table: TABLE,
            changes: 0,
            history: Default::default(),
            queued: BTreeMap::new(),
            floor: [0; INDICES as usize],
            fills: vec![],
        };
        model.switch_table();
        model
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
        self.queued
            .insert(sequence, self.history.each_ref().map(|h| h.len() - 1));
        self.rig.queue(completion_wait(sequence));
    }

    fn ring_has_room(&self) -> bool {
        let (head, tail) = (self.rig.iommu.read(0x2000, 4), self.rig.iommu.read(0x2008, 4));
        (tail.wrapping_sub(head) & 8191) < 8192 - 8 * 16
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::WriteIrte { .. } | Op::SwitchTable | Op::InvalidateAll if !self.ring_has_room() => {}
            Op::WriteIrte { index } => {
                self.write_irte(index);
                self.rig.queue_all(&SHARED.map(invalidate_irt));
                self.queue_wait();
            }
            Op::SwitchTable => {
                self.switch_table();
                self.rig.queue_all(&SHARED.map(invalidate_dte));
                self.rig.queue_all(&SHARED.map(invalidate_irt));
                self.queue_wait();
            }
            Op::InvalidateAll => self.rig.queue(INVALIDATE_ALL),
            Op::Request { alias, index } => {
                let (rig, mut observed) = (self.rig, Observed::default());
                let request = Rig::message(SHARED[alias], index as u32);
                let response = rig.iommu.request_observed(&request, &mut observed);
                self.respond(request, response, observed)?;
            }
            Op::Complete { which } if !self.fills.is_empty() => {
                let (token, mut observed) = self.fills.remove(which % self.fills.len());
                let request = *token.request();
                let response = self.rig.iommu.complete_observed(token, &mut observed);
                self.respond(request, response, observed)?;
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

    fn respond(
        &mut self,
        request: InterruptRequest,
        response: Response<'a>,
        observed: Observed,
    ) -> Result<(), TestCaseError> {
        match response {
            Response::Fill(token) => self.fills.push((token, observed)),
            Response::Answer(outcome) => {
                let answer = Answer::new(request, outcome, observed);
                let (destination, vector) = target(&answer);
                let number = u16::from_le_bytes([vector, destination as u8]);
                let index = answer.request.data as usize;
                let allowed = &self.history[index][self.floor[index]..];
                prop_assert!(
                    allowed.contains(&number),
                    "{number} is none of {allowed:?}: {answer:?}"
                );
            }
        }
        Ok(())
    }

    /// Lets everything end, after which only the newest values may be seen.
    fn settle(mut self) -> Result<(), TestCaseError> {
        self.queue_wait();
        while !self.fills.is_empty() {
            self.apply(Op::Complete { which: 0 })?;
        }
        while self.rig.iommu.has_work() {
            self.apply(Op::Step)?;
        }
        prop_assert_eq!(self.floor, self.history.each_ref().map(|h| h.len() - 1));
        for (alias, index) in (0..2).flat_map(|alias| (0..INDICES).map(move |index| (alias, index))) {
            self.apply(Op::Request { alias, index })?;
            while !self.fills.is_empty() {
                self.apply(Op::Complete { which: 0 })?;
            }
        }
        Ok(())
    }
}

fn shapes() -> impl Strategy<Value = CacheShape> {
    prop_oneof![
        Just(CacheShape::TINY),
        Just(CacheShape::default()),
        Just(CacheShape::DISABLED)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn what_is_properly_invalidated_is_never_answered_again(
        irt_cache in shapes(),
        dte_cache in shapes(),
        wide: bool,
        ops in prop::collection::vec(op(), 0..200),
    ) {
        let config = Config { irt_cache, dte_cache, ..Config::default() };
        let rig = Rig::with(config, if wide { RUN | GA_EN } else { RUN });
        let mut model = Model::new(&rig, wide);
        for op in ops {
            model.apply(op)?;
        }
        model.settle()?;
    }
}
