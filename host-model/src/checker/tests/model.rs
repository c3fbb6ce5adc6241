//! Random sequences against a model that knows nothing of addresses or commands.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    /// Index and vector; 0 makes the entry invalid.
    Write(u16, u8),
    /// Position in [`RIDS`].
    Invalidate(usize),
    InvalidateAll,
    /// Position in [`RIDS`], and index.
    Request(usize, u16),
    /// Inside of one driver call.
    Call(Vec<Op>),
}

fn simple() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..2u16, 0..3u8).prop_map(|(index, vector)| Op::Write(index, vector)),
        1 => (0..3usize).prop_map(Op::Invalidate),
        1 => Just(Op::InvalidateAll),
        4 => (0..3usize, 0..2u16).prop_map(|(id, index)| Op::Request(id, index)),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let call = prop::collection::vec(simple(), 1..6).prop_map(Op::Call);
    prop::collection::vec(prop_oneof![3 => simple(), 1 => call], 1..24)
}

/// What each requester has cached: a vector, and the call that changed memory first after that.
#[derive(Default)]
struct Model {
    memory: [u8; 2],
    cached: HashMap<(usize, u16), (u8, Option<u32>)>,
    calls: u32,
    open: Option<u32>,
}

impl Model {
    fn write(&mut self, index: u16, vector: u8) {
        let call = self.open.unwrap_or_else(|| {
            self.calls += 1;
            self.calls
        });
        if self.memory[usize::from(index)] == vector {
            return;
        }
        self.memory[usize::from(index)] = vector;
        for ((_, at), (_, missed)) in &mut self.cached {
            if *at == index {
                missed.get_or_insert(call);
            }
        }
    }

    fn request(&mut self, id: usize, index: u16) -> (Freshness, Option<u8>) {
        let memory = self.memory[usize::from(index)];
        match self.cached.get(&(id, index)) {
            Some((cached, _)) if *cached == memory => (Freshness::Fresh, Some(*cached)),
            Some((cached, missed)) if missed.is_some() && *missed == self.open => {
                (Freshness::InFlight, Some(*cached))
            }
            Some((cached, _)) => (Freshness::Stale, Some(*cached)),
            // Invalid entries are not cached.
            None if memory == 0 => (Freshness::Fresh, None),
            None => {
                self.cached.insert((id, index), (memory, None));
                (Freshness::Fresh, Some(memory))
            }
        }
    }
}

/// `None` for what judges nothing.
type Judged = Vec<(Freshness, Option<u8>)>;

fn in_model(model: &mut Model, ops: &[Op], judged: &mut Judged) {
    for op in ops {
        match op {
            Op::Write(index, vector) => model.write(*index, *vector),
            Op::Invalidate(id) => model.cached.retain(|(of, _), _| of != id),
            Op::InvalidateAll => model.cached.clear(),
            Op::Request(id, index) => judged.push(model.request(*id, *index)),
            Op::Call(ops) => {
                model.calls += 1;
                model.open = Some(model.calls);
                in_model(model, ops, judged);
                model.open = None;
            }
        }
    }
}

/// 0 is an entry of zeros, otherwise valid ones that differ in the vector alone or in RemapEn.
fn entry(vector: u8) -> u32 {
    if vector == 0 { 0 } else { irte(vector) }
}

async fn simple_op(rig: &Rig, op: &Op, judged: &mut Judged) {
    match op {
        Op::Write(index, vector) => store(&rig.cpu, *index, entry(*vector)),
        Op::Invalidate(id) => rig.command(invalidate_irt(RIDS[*id])).await,
        Op::InvalidateAll => rig.command(INVALIDATE_ALL).await,
        Op::Request(id, index) => judged.push(rig.interrupt(RIDS[*id], *index).await),
        Op::Call(_) => unreachable!("calls are not nested"),
    }
}

async fn on_machine(rig: Rig, ops: Vec<Op>) -> Judged {
    let mut judged = Judged::new();
    for op in &ops {
        let inside = match op {
            Op::Call(inside) => &inside[..],
            op => std::slice::from_ref(op),
        };
        rig.cpu
            .call("call", async |cpu| {
                let rig = Rig { cpu, ..rig.clone() };
                for op in inside {
                    simple_op(&rig, op, &mut judged).await;
                }
            })
            .await;
    }
    judged
}

proptest! {
    #[test]
    fn cached_answers_are_stale_exactly_when_a_simple_model_says_so(ops in ops()) {
        let mut expected = Judged::new();
        in_model(&mut Model::default(), &ops, &mut expected);
        prop_assert_eq!(run(|rig| on_machine(rig, ops)), expected);
    }
}
