use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const CPUS: u32 = 3;
const IRQS: u32 = 6;

fn all() -> CpuMask {
    (0..CPUS).collect()
}

fn started(on: u32) -> (Vectors, Irq) {
    let mut vectors = Vectors::new(CPUS);
    let irq = Irq(24);
    vectors.allocate(irq, None).expect("room");
    vectors.activate(irq, &on.into()).expect("room");
    (vectors, irq)
}

#[test]
fn a_reserved_interrupt_points_at_the_shutdown_vector_of_the_first_cpu() {
    let mut vectors = Vectors::new(CPUS);
    vectors.allocate(Irq(24), None).expect("room");
    let shutdown = Target {
        apic_id: 0,
        vector: SHUTDOWN_VECTOR,
    };
    assert_eq!((vectors.target(Irq(24)), vectors.slot(Irq(24))), (shutdown, None));
}

#[test]
fn an_interrupt_keeps_its_vector_on_a_cpu_of_the_mask_even_while_a_move_is_pending() {
    let (mut vectors, irq) = started(1);
    assert_eq!(vectors.assign(irq, &2.into()), Ok(()));
    assert_eq!(vectors.assign(irq, &all()), Ok(()));
    assert_eq!(vectors.slot(irq), Some((2, 0x20)));
    assert_eq!(vectors.assign(irq, &0.into()), Err(AssignError::Busy));
}

#[test]
fn a_moved_vector_is_unused_and_a_freed_one_is_shut_down() {
    let (mut vectors, irq) = started(1);
    vectors.assign(irq, &2.into()).expect("room");
    assert_eq!(vectors.schedule_cleanup(irq), Cleanup::StartTimer(1));
    assert_eq!(vectors.at((1, 0x20)), VectorIrq::Irq(irq));
    assert_eq!(vectors.clean_up(1, |vector| vector == 0x20), [irq]);
    assert_eq!(vectors.clean_up(1, |_| false), []);
    assert_eq!(vectors.at((1, 0x20)), VectorIrq::Unused);
    vectors.deactivate(irq);
    assert_eq!(vectors.at((2, 0x20)), VectorIrq::Shutdown);
}

#[test]
fn one_timer_frees_all_old_vectors_of_a_cpu() {
    let (mut vectors, first) = started(1);
    let second = Irq(25);
    vectors.allocate(second, None).expect("room");
    vectors.activate(second, &1.into()).expect("room");
    let mut cleanups = Vec::new();
    for irq in [first, second] {
        vectors.assign(irq, &2.into()).expect("room");
        cleanups.push(vectors.schedule_cleanup(irq));
    }
    assert_eq!(cleanups, [Cleanup::StartTimer(1), Cleanup::Nothing]);
    vectors.clean_up(1, |_| false);
    assert_eq!(vectors.installed(1), []);
}

#[test]
fn an_affinity_without_a_free_vector_is_broken_when_the_interrupt_is_activated() {
    let mut vectors = Vectors::new(CPUS);
    for irq in (100..).map(Irq) {
        vectors.allocate(irq, None).expect("a reservation");
        if vectors.assign(irq, &1.into()).is_err() {
            break;
        }
    }
    vectors.allocate(Irq(24), None).expect("a reservation");
    assert_eq!(vectors.activate(Irq(24), &1.into()), Ok(()));
    assert_eq!(vectors.slot(Irq(24)), Some((2, 0x20)));
}

#[derive(Debug, Clone)]
enum Op {
    Activate(u32, u32),
    Assign(u32, u32),
    Schedule(u32),
    Tick(u32),
    Deactivate(u32),
    Free(u32),
    Unplug(u32),
    Plug(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let (irq, cpu) = (0..IRQS, 0..CPUS);
    prop_oneof![
        3 => (irq.clone(), cpu.clone()).prop_map(|(irq, cpu)| Op::Activate(irq, cpu)),
        4 => (irq.clone(), cpu.clone()).prop_map(|(irq, cpu)| Op::Assign(irq, cpu)),
        4 => irq.clone().prop_map(Op::Schedule),
        2 => cpu.clone().prop_map(Op::Tick),
        1 => irq.clone().prop_map(Op::Deactivate),
        1 => irq.prop_map(Op::Free),
        1 => (1..CPUS).prop_map(Op::Unplug),
        1 => (1..CPUS).prop_map(Op::Plug),
    ]
}

fn apply(vectors: &mut Vectors, op: &Op) {
    match *op {
        Op::Activate(irq, cpu) if vectors.slot(Irq(irq)).is_none() => {
            if !vectors.irqs.contains_key(&Irq(irq)) {
                vectors.allocate(Irq(irq), None).expect("a reservation");
            }
            let _ = vectors.activate(Irq(irq), &cpu.into());
        }
        Op::Assign(irq, cpu) if vectors.slot(Irq(irq)).is_some() => {
            let mask = CpuMask::from(cpu).and(&vectors.online);
            let _ = vectors.assign(Irq(irq), &mask);
        }
        Op::Schedule(irq) => {
            vectors.schedule_cleanup(Irq(irq));
        }
        Op::Tick(cpu) => {
            vectors.clean_up(cpu, |_| false);
        }
        Op::Deactivate(irq) => vectors.deactivate(Irq(irq)),
        Op::Free(irq) => vectors.free(Irq(irq), &all()),
        Op::Unplug(cpu) if vectors.online.contains(cpu) => {
            vectors.leave_online_mask(cpu);
            let irqs: Vec<Irq> = vectors.irqs.keys().copied().collect();
            for irq in irqs {
                vectors.force_complete_move(irq, cpu);
                if vectors.slot(irq).is_some_and(|(on, _)| on == cpu) {
                    let online = vectors.online.clone();
                    vectors.assign(irq, &online).expect("room elsewhere");
                    vectors.schedule_cleanup(irq);
                }
            }
            for (vector, _) in vectors.installed(cpu) {
                vectors.set((cpu, vector), VectorIrq::Unused);
            }
            vectors.offline(cpu);
        }
        Op::Plug(cpu) if !vectors.online.contains(cpu) => vectors.online(cpu),
        Op::Activate(..) | Op::Assign(..) | Op::Unplug(_) | Op::Plug(_) => {}
    }
}

/// Every vector that an interrupt has is its own, allocated and installed, and nothing else is.
fn check(vectors: &Vectors) {
    let mut owned = BTreeSet::new();
    for (irq, data) in &vectors.irqs {
        for slot in data.slot.into_iter().chain(data.previous) {
            assert!(owned.insert(slot), "{slot:?} twice");
            assert!(vectors.matrix.is_allocated(slot));
            assert_eq!(vectors.at(slot), VectorIrq::Irq(*irq));
        }
    }
    for cpu in 0..CPUS {
        let timer = u32::from(cpu == 0);
        let of_cpu = owned.iter().filter(|(on, _)| *on == cpu).count();
        assert_eq!(vectors.matrix.allocated(cpu), of_cpu as u32 + timer);
        assert_eq!(vectors.installed(cpu).len(), of_cpu);
    }
    let reserved = vectors.irqs.values().filter(|data| data.has_reserved).count();
    assert_eq!(vectors.matrix.reserved(), reserved as u32);
}

proptest! {
    #[test]
    fn no_vector_is_owned_twice_and_all_that_are_freed_can_be_had_again(
        ops in proptest::collection::vec(op(), 1..80)
    ) {
        let mut vectors = Vectors::new(CPUS);
        let fresh = vectors.unplug_balance(0);
        for op in &ops {
            apply(&mut vectors, op);
            check(&vectors);
        }
        (0..IRQS).for_each(|irq| vectors.free(Irq(irq), &all()));
        (1..CPUS).for_each(|cpu| apply(&mut vectors, &Op::Plug(cpu)));
        check(&vectors);
        prop_assert_eq!(vectors.unplug_balance(0), fresh);
    }
}
