use std::collections::BTreeSet;

use super::*;
use crate::checker::Freshness;
use crate::iommu::IrtCacheDis;
use crate::trace::Kind;
use sim_bridge::SimTime;

const BEFORE: Target = Target {
    apic_id: 1,
    vector: 0x31,
};
const AFTER: Target = Target {
    apic_id: 2,
    vector: 0x41,
};

#[test]
fn a_flush_that_fails_is_logged_and_the_call_succeeds() {
    let (results, lines) = Setup::new(Profile::LINUX_7_2, &[0x40]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let (entry, _) = allocate(&cpu, &driver, NTB, BEFORE).await.expect("allocate");
        boot::control(&cpu, |c| c.with_cmd_buf_en(false)).await;
        cpu.machine().trace().take();
        let results = [
            driver.activate(&cpu, entry, BEFORE).await,
            driver.set_affinity(&cpu, entry, AFTER).await,
        ];
        let lines = cpu.machine().trace().take().into_iter();
        let lines = lines.filter(|event| {
            matches!(&event.kind, Kind::KernelLog(line) if line == "AMD-Vi: Completion-Wait loop timed out")
        });
        (results, lines.count())
    });
    assert_eq!(results, [Ok(()), Ok(())]);
    // Activation flushes twice.
    assert_eq!(lines, 3);
}

#[test]
fn start_up_and_probe_go_on_without_completions() {
    let results = Setup::new(Profile::LINUX_7_2, &[0x40]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        boot::control(&cpu, |c| c.with_cmd_buf_en(false)).await;
        let probed = driver.probe(&cpu, NTB).await;
        (probed, allocate(&cpu, &driver, NTB, BEFORE).await.map(|_| ()))
    });
    assert_eq!(results, (Ok(()), Ok(())));
}

/// An interrupt under an alias, a move, and another: what the move sent and how the second compares with memory.
fn moved(irtcachedis: bool, hardware: IrtCacheDis) -> (String, Option<Freshness>) {
    let mut setup = Setup::new(Profile::LINUX_6_12, &[0x40]);
    setup.options.irtcachedis = irtcachedis;
    setup.iommu.policies.irt_cache_dis = hardware;
    setup.run(|cpu, driver, device| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let (entry, message) = allocate(&cpu, &driver, NTB, BEFORE).await.expect("allocate");
        driver.activate(&cpu, entry, BEFORE).await.expect("activate");
        let machine = cpu.machine();
        let interrupt = async |count| {
            device.interrupt_at(machine.now(), RequesterId(0x240), message.data);
            assert!(machine.wait_for_endings(count, SimTime::from_us(100)).await);
        };
        interrupt(1).await;
        let call = cpu.call("set_affinity", async |cpu| {
            driver.set_affinity(&cpu, entry, AFTER).await
        });
        let ((), commands) = commands_of(&cpu, call).await;
        interrupt(2).await;
        let freshness = machine.trace().take().iter().find_map(|event| match event.kind {
            Kind::Answered { freshness, .. } => freshness,
            _ => None,
        });
        (commands, freshness)
    })
}

#[test]
fn a_disabled_irt_cache_needs_no_flush_and_is_coherent() {
    assert_eq!(
        moved(true, IrtCacheDis::Sticky),
        (String::new(), Some(Freshness::Fresh))
    );
}

#[test]
fn an_irt_cache_that_hardware_cannot_disable_is_flushed() {
    let expected = ("R200 W".to_owned(), Some(Freshness::Stale));
    assert_eq!(moved(true, IrtCacheDis::Ignored), expected);
    assert_eq!(moved(false, IrtCacheDis::Sticky), expected);
}

#[test]
fn flushes_of_two_cpus_are_not_interleaved() {
    const OTHER: RequesterId = RequesterId(0x208);
    let mut orders = BTreeSet::new();
    for seed in 0..50 {
        let mut setup =
            Setup::new(Profile::LINUX_7_2, &[0x40, 0x41]).add(Function::endpoint(OTHER, (0, 0), 0));
        setup.seed = seed;
        let (commands, stored) = setup.run(|cpu, driver, _| async move {
            start(&cpu, &driver).await;
            let mut entries = Vec::new();
            for id in [NTB, OTHER] {
                driver.probe(&cpu, id).await.expect("probe");
                entries.push(allocate(&cpu, &driver, id, BEFORE).await.expect("allocate").0);
            }
            cpu.machine().trace().take();
            let done = Rc::new(std::cell::Cell::new(0));
            for (n, entry) in (1..).zip(entries) {
                let (driver, cpu, done) = (driver.clone(), cpu.machine().cpu(n), done.clone());
                cpu.machine()
                    .clone()
                    .executor()
                    .spawn(format!("CPU {n}"), async move {
                        for _ in 0..3 {
                            driver
                                .set_affinity(&cpu, entry, AFTER)
                                .await
                                .expect("set_affinity");
                        }
                        done.set(done.get() + 1);
                    });
            }
            cpu.delay(SimTime::from_us(200)).await;
            assert_eq!(done.get(), 2);
            let events = cpu.machine().trace().take();
            let stored: Vec<u64> = events
                .iter()
                .filter_map(|event| match event.executed()? {
                    Command::CompletionWait { data, .. } => Some(data),
                    _ => None,
                })
                .collect();
            (notation(&events), stored)
        });
        assert!(stored.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{stored:?}");
        let flushes: Vec<&str> = commands.split_inclusive('W').map(str::trim).collect();
        let of = |flush| flushes.iter().filter(|f| **f == flush).count();
        assert_eq!(
            (of("R200 R240 R241 W"), of("R208 W"), flushes.len()),
            (3, 3, 6),
            "{seed}: {commands}"
        );
        orders.insert(commands);
    }
    assert!(orders.len() > 1, "the seed decides who is first");
}
