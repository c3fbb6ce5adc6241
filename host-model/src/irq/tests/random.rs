//! Whatever is done, each interrupt arrives at its own handler.

use proptest::prelude::*;

use super::*;

const VECTORS: u16 = 2;

#[derive(Debug, Clone, Copy)]
enum Op {
    Move(usize, u32),
    Unplug(u32),
    Plug(u32),
    Raise(usize, bool),
    Rerequest(usize, u32),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let irq = 0..usize::from(VECTORS);
    prop_oneof![
        4 => (irq.clone(), 0..4_u32).prop_map(|(irq, cpu)| Op::Move(irq, cpu)),
        1 => (1..4_u32).prop_map(Op::Unplug),
        1 => (1..4_u32).prop_map(Op::Plug),
        4 => (irq.clone(), any::<bool>()).prop_map(|(irq, alias)| Op::Raise(irq, alias)),
        1 => (irq, 0..4_u32).prop_map(|(irq, cpu)| Op::Rerequest(irq, cpu)),
        2 => (1..5_000_u64).prop_map(Op::Wait),
    ]
}

async fn apply(rig: &Rig, irqs: &[Irq], op: Op) {
    let (core, cpu) = (&rig.core, &rig.cpu);
    match op {
        Op::Move(n, to) => match core.set_affinity(cpu, irqs[n], to).await {
            Ok(()) => {}
            Err(IrqError::NoOnlineCpu(mask)) => assert_eq!(mask, to.into()),
            Err(error) => panic!("{error}"),
        },
        Op::Unplug(id) => {
            let result = core.cpu_down(cpu, id).await;
            let already = HotplugError::Already {
                cpu: id,
                online: false,
            };
            assert!(result == Ok(()) || result == Err(already));
        }
        Op::Plug(id) => {
            let result = core.cpu_up(cpu, id).await;
            let already = HotplugError::Already {
                cpu: id,
                online: true,
            };
            assert!(result == Ok(()) || result == Err(already));
        }
        // Not waited for: it may be under way in all that follows.
        Op::Raise(n, alias) => {
            let id = if alias { RequesterId(0x240) } else { NTB };
            rig.device.interrupt_at(cpu.machine().now(), id, n as u32);
        }
        Op::Rerequest(n, on) => {
            // What is under way when an interrupt is freed has nowhere to go.
            cpu.udelay(100).await;
            core.free_irq(cpu, irqs[n]).await.expect("free_irq");
            rig.request_on(irqs[n], on).await.expect("request");
        }
        Op::Wait(us) => cpu.udelay(us).await,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn with_a_coherent_driver_every_interrupt_reaches_its_own_handler(
        ops in proptest::collection::vec(op(), 1..20),
        seed in any::<u64>(),
    ) {
        let mut setup = setup(Profile::LINUX_7_2, &[0x40]);
        setup.seed = seed;
        let (raised, delivered, owned) = setup.run(|cpu, driver, device| async move {
            let (rig, irqs) = Rig::bound(cpu, driver, device, VECTORS).await;
            for op in &ops {
                apply(&rig, &irqs, *op).await;
            }
            // All moves have ended.
            rig.cpu.delay(JIFFY + JIFFY).await;
            let mut raised = ops.iter().filter(|op| matches!(op, Op::Raise(..))).count();
            let before = rig.handled.get();
            for data in 0..VECTORS {
                rig.interrupt(NTB, data.into()).await;
                raised += 1;
            }
            // Those moves that had to wait have ended too.
            rig.cpu.delay(JIFFY + JIFFY).await;
            // Each of the last two had a handler of its own.
            assert_eq!(rig.handled.get() - before, u32::from(VECTORS));
            let endings = rig.events().into_iter().filter_map(|event| match event.kind {
                Kind::Ended { ending, .. } => Some(ending),
                _ => None,
            });
            let delivered = endings.filter(|ending| matches!(ending, Ending::Delivered { .. })).count();
            let state = rig.cpu.machine().irqs();
            let owned: usize = (0..4).map(|cpu| state.vectors.installed(cpu).len()).sum();
            (raised, delivered, owned)
        });
        prop_assert_eq!(raised, delivered);
        prop_assert_eq!(owned, usize::from(VECTORS));
    }
}
