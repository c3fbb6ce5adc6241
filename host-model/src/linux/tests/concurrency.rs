//! Two CPUs that change entries at the same time.

use super::*;
use crate::trace::{Kind, LockStep};
use sim_bridge::SimTime;

const BEFORE: Target = Target {
    apic_id: 1,
    vector: 0x31,
};
const AFTER: Target = Target {
    apic_id: 2,
    vector: 0x41,
};
const SEEDS: u64 = 20;

/// What two CPUs did that moved an entry each, at the same time, `moves` times.
struct Moves {
    timeouts: usize,
    /// As stored by the IOMMU.
    numbers: Vec<u64>,
    /// Somebody had to spin for `iommu->lock`.
    contended: bool,
}

fn moves(profile: Profile, seed: u64, moves: usize) -> Moves {
    let mut setup = Setup::new(profile, &[]);
    setup.seed = seed;
    let events = setup.run(move |cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let mut entries = Vec::new();
        for _ in 0..2 {
            let (entry, _) = allocate(&cpu, &driver, NTB, BEFORE).await.expect("allocate");
            driver.activate(&cpu, entry, BEFORE).await.expect("activate");
            entries.push(entry);
        }
        cpu.machine().trace().take();
        let done = Rc::new(std::cell::Cell::new(0));
        for (n, entry) in (1..).zip(entries) {
            let (driver, cpu, done) = (driver.clone(), cpu.machine().cpu(n), done.clone());
            let executor = cpu.machine().executor().clone();
            executor.spawn(format!("CPU {n}"), async move {
                for _ in 0..moves {
                    driver
                        .set_affinity(&cpu, entry, AFTER)
                        .await
                        .expect("set_affinity");
                }
                done.set(done.get() + 1);
            });
        }
        cpu.delay(SimTime::from_us(250_000)).await;
        assert_eq!(done.get(), 2);
        cpu.machine().trace().take()
    });
    let timed_out = |event: &&Event| matches!(&event.kind, Kind::KernelLog(line) if line == "AMD-Vi: Completion-Wait loop timed out");
    let number = |event: &Event| match event.executed()? {
        Command::CompletionWait { data, .. } => Some(data),
        _ => None,
    };
    Moves {
        timeouts: events.iter().filter(timed_out).count(),
        numbers: events.iter().filter_map(number).collect(),
        contended: events.iter().any(|event| {
            let iommu = Kind::Lock {
                lock: Lock::Iommu,
                step: LockStep::Contended,
            };
            event.kind == iommu
        }),
    }
}

#[test]
fn only_6_12_80_times_out_although_everything_completes() {
    for profile in Profile::ALL {
        let timeouts: usize = (0..SEEDS).map(|seed| moves(profile, seed, 1).timeouts).sum();
        let is_the_one = profile == Profile::LINUX_6_12_80;
        assert_eq!(timeouts > 0, is_the_one, "{profile}: {timeouts}");
    }
}

#[test]
fn numbers_taken_before_the_lock_are_queued_out_of_order() {
    for profile in Profile::ALL {
        let disordered = (0..SEEDS)
            .filter(|&seed| !moves(profile, seed, 2).numbers.is_sorted())
            .count();
        let before_lock = profile.completion_wait.number == WaitNumber::BeforeLock;
        assert_eq!(disordered > 0, before_lock, "{profile}: {disordered}");
    }
}

#[test]
fn between_two_sections_another_cpu_can_take_the_wait() {
    for (profile, both_wait) in [
        (Profile::LINUX_5_4, false),
        (Profile::LINUX_5_10, false),
        (Profile::LINUX_6_1, false),
        (Profile::LINUX_6_6, true),
        (Profile::LINUX_6_12, true),
    ] {
        let fewest = (0..SEEDS).map(|seed| moves(profile, seed, 1).numbers.len()).min();
        assert_eq!(fewest, Some(if both_wait { 2 } else { 1 }), "{profile}");
    }
}

#[test]
fn the_lock_is_spun_for() {
    for profile in [Profile::LINUX_5_10, Profile::LINUX_6_6, Profile::LINUX_7_2] {
        assert!((0..5).all(|seed| moves(profile, seed, 1).contended), "{profile}");
    }
}

#[test]
fn two_cpus_that_need_a_functions_first_table_get_the_same() {
    let mut winners = [0; 2];
    for seed in 0..10 {
        let mut setup = Setup::new(Profile::LINUX_7_2, &[0x40]);
        setup.seed = seed;
        let (indices, commands) = setup.run(|cpu, driver, _| async move {
            start(&cpu, &driver).await;
            driver.probe(&cpu, NTB).await.expect("probe");
            cpu.machine().trace().take();
            let indices = Rc::new(RefCell::new([0; 2]));
            for n in 0..2 {
                let (driver, cpu, indices) = (driver.clone(), cpu.machine().cpu(n + 1), indices.clone());
                let executor = cpu.machine().executor().clone();
                executor.spawn(format!("CPU {n}"), async move {
                    let (entry, _) = allocate(&cpu, &driver, NTB, BEFORE).await.expect("room");
                    indices.borrow_mut()[n as usize] = entry.index;
                });
            }
            cpu.udelay(100).await;
            (indices.take(), notation(&cpu.machine().trace().take()))
        });
        assert_eq!(commands, "D200 D240 W");
        assert_eq!(indices.iter().sum::<u16>(), 1);
        winners[usize::from(indices[0])] += 1;
    }
    assert!(winners.iter().all(|wins| *wins > 0), "{winners:?}");
}

/// COMPLETION_WAITs that have stored when a flush returns, with one in the ring that nobody waits for any more behind
/// `older` commands.
fn stored_when_a_later_flush_returns(profile: Profile, older: usize) -> usize {
    Setup::new(profile, &[]).run(move |cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let (entry, _) = allocate(&cpu, &driver, NTB, BEFORE).await.expect("room");
        boot::control(&cpu, |c| c.with_cmd_buf_en(false)).await;
        for _ in 0..older {
            let queued = driver
                .queue
                .queue(&cpu, Command::InvalidateDevtabEntry(NTB))
                .await;
            queued.expect("room");
        }
        let locked = driver.queue.lock(&cpu).await;
        let number = driver.queue.number_under_lock(&cpu, &locked);
        let wait = driver.queue.wait_command(number);
        let queued = driver.queue.queue_sync(&cpu, &locked, wait, false).await;
        queued.expect("room");
        drop(locked);
        cpu.machine().trace().take();
        boot::control(&cpu, |c| c.with_cmd_buf_en(true)).await;
        driver
            .set_affinity(&cpu, entry, AFTER)
            .await
            .expect("set_affinity");
        let events = cpu.machine().trace().take();
        let executed = events.iter().filter_map(Event::executed);
        executed
            .filter(|command| matches!(command, Command::CompletionWait { .. }))
            .count()
    })
}

#[test]
fn in_5_4_a_late_store_ends_the_wait_of_another() {
    let fewest = |profile| {
        // A pass of the poll is 20 steps of the IOMMU.
        (1..=20)
            .map(|older| stored_when_a_later_flush_returns(profile, older))
            .min()
    };
    assert_eq!(fewest(Profile::LINUX_5_4), Some(1));
    assert_eq!(fewest(Profile::LINUX_5_10), Some(2));
    assert_eq!(fewest(Profile::LINUX_6_12), Some(2));
}
