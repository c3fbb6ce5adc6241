//! Rules of a flush that one operation does not show.

use super::*;
use crate::iommu::spec::registers::offset;
use crate::trace::Kind;

const TARGET: Target = Target {
    apic_id: 1,
    vector: 0x31,
};

/// What activating an entry of a function with all 256 aliases of its bus queues, while nothing is consumed: IRT
/// invalidations, waits, tail writes, and lines of the log.
fn activated_without_consumer(profile: Profile) -> (usize, usize, usize, Vec<String>) {
    let aliases: Vec<u8> = (0..=0xff).collect();
    Setup::new(profile, &aliases).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let (entry, _) = allocate(&cpu, &driver, NTB, TARGET).await.expect("room");
        boot::control(&cpu, |c| c.with_cmd_buf_en(false)).await;
        // The driver's copy of the head is up to date, so that the room is known.
        driver.enable_command_buffer(&cpu).await;
        boot::control(&cpu, |c| c.with_cmd_buf_en(false)).await;
        cpu.machine().trace().take();
        driver
            .activate(&cpu, entry, TARGET)
            .await
            .expect("its result is dropped");
        let (mut invalidations, mut waits, mut tails, mut log) = (0, 0, 0, Vec::new());
        for event in cpu.machine().trace().take() {
            match event.kind {
                Kind::Queued(Command::InvalidateInterruptTable(_)) => invalidations += 1,
                Kind::Queued(Command::CompletionWait { .. }) => waits += 1,
                Kind::RegisterWritten {
                    offset: offset::CMD_BUF_TAIL,
                    ..
                } => tails += 1,
                Kind::KernelLog(line) => log.push(line),
                _ => {}
            }
        }
        (invalidations, waits, tails, log)
    })
}

#[test]
fn a_full_ring_ends_the_walk_and_skips_the_wait() {
    let log = [
        "AMD-Vi: Completion-Wait loop timed out",
        "AMD-Vi: Command buffer timeout",
    ];
    let log = log.map(str::to_owned).to_vec();
    // 257 and their wait, then as many as fit into the 509 that a ring takes.
    let expected = (257 + 251, 1, 509, log.clone());
    assert_eq!(activated_without_consumer(Profile::LINUX_7_2), expected);
    let expected = (257 + 251, 1, 2, log);
    assert_eq!(activated_without_consumer(Profile::ONE_TAIL_WRITE), expected);
}

fn flush(setup: Setup) -> String {
    setup.run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, NTB).await.expect("probe");
        let (entry, _) = allocate(&cpu, &driver, NTB, TARGET).await.expect("room");
        commands_of(&cpu, driver.set_affinity(&cpu, entry, TARGET))
            .await
            .1
    })
}

#[test]
fn everything_is_invalidated_above_so_many_ids_where_there_is_a_command_for_it() {
    let profile = |text: &str| text.parse::<Profile>().expect("known");
    let aliases = [0x40, 0x41];
    for (name, expected) in [
        ("per-alias-then-all:2", "ALL W"),
        ("per-alias-then-all:3", "R200 R240 R241 W"),
    ] {
        assert_eq!(flush(Setup::new(profile(name), &aliases)), expected);
    }
    let mut setup = Setup::new(profile("per-alias-then-all:2"), &aliases);
    let efr = Efr::new().with_ga_sup(true);
    setup.ivrs.ivhd = Ivhd::Type11(efr, Efr2::new());
    setup.ivrs.last_bdf = RequesterId(0x2ff);
    assert_eq!(flush(setup), "R200 R240 R241 W");
}

#[test]
fn irtcachedis_is_as_the_version_takes_it() {
    for (profile, expected) in [
        (Profile::LINUX_5_10, "R200 W"),
        (Profile::LINUX_6_1, "R200 W"),
        (Profile::LINUX_6_6, ""),
        (Profile::LINUX_6_12, ""),
        (Profile::LINUX_7_2, ""),
    ] {
        let mut setup = Setup::new(profile, &[]);
        setup.options.irtcachedis = true;
        assert_eq!(flush(setup), expected, "{profile}");
    }
}
