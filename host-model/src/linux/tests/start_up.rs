use std::fmt::Write as _;

use sim_bridge::{RequesterId, SimTime};

use super::*;
use crate::iommu::spec::features::{Efr2, Features};
use crate::iommu::spec::registers::{Control, offset};
use crate::trace::Kind;

const LAST_BDF: u16 = 5;

fn setup(ivhd: Ivhd) -> Setup {
    let mut setup = Setup::new(Profile::LINUX_7_2, &[]);
    setup.ivrs.ivhd = ivhd;
    setup.ivrs.last_bdf = RequesterId(LAST_BDF);
    setup
}

/// Phases A and B without devices: register writes as (offset, bytes, value), with our addresses as 0.
fn register_writes(setup: Setup) -> Vec<(u64, usize, u64)> {
    setup.run(|cpu, driver, _| async move {
        driver.enable(&cpu).await.expect("enable");
        driver.take_devices(&cpu, &[]).await.expect("take_devices");
        let ours = [driver.device_table, driver.queue.ring(), driver.event_log];
        let events = cpu.machine().trace().take();
        let writes = events.iter().filter_map(|event| match event.kind {
            Kind::RegisterWritten { offset, size, value } => Some((offset, size, value)),
            _ => None,
        });
        writes
            .map(|(offset, size, value)| match offset {
                offset::DEV_TAB_BASE => (offset, size, value ^ ours[0]),
                offset::CMD_BUF_BASE => (offset, size, value ^ ours[1]),
                offset::EVT_LOG_BASE => (offset, size, value ^ ours[2]),
                _ => (offset, size, value),
            })
            .collect()
    })
}

fn control_values(setup: Setup) -> Vec<u64> {
    let writes = register_writes(setup);
    let control = writes.iter().filter(|(offset, ..)| *offset == 0x18);
    control
        .map(|&(_, size, value)| {
            assert_eq!(size, 8);
            value
        })
        .collect()
}

fn text(setup: Setup) -> String {
    let mut text = String::new();
    for (offset, size, value) in register_writes(setup) {
        writeln!(text, "{offset:#06x} {size} {value:#x}").expect("a string");
    }
    text
}

#[test]
fn registers_are_written_in_linuxs_order_with_a_feature_copy_in_ivhd() {
    insta::assert_snapshot!("ivhd-11", text(setup(ivhd_11())));
}

#[test]
fn registers_are_written_in_linuxs_order_without_a_feature_copy_in_ivhd() {
    insta::assert_snapshot!("ivhd-10", text(setup(Ivhd::Type10)));
}

#[test]
fn control_takes_one_bit_at_a_time_to_the_values_of_a_kernel() {
    // Twice nine bits cleared, four flags cleared, Coherent, InvTimeout, CmdBufEn cleared and set.
    let mut common = vec![0; 22];
    common.extend([0x400, 0x480, 0x480, 0x1480]);
    let with_ga = [0x2_1480, 0x2_1481, 0x2_1485, 0x2_148d];
    let without = [0x1481, 0x1485, 0x148d];
    assert_eq!(control_values(setup(ivhd_11())), [&common[..], &with_ga].concat());
    assert_eq!(
        control_values(setup(Ivhd::Type10)),
        [&common[..], &without].concat()
    );
}

#[test]
fn features_in_ivhd_set_their_control_bits() {
    let told = Efr::new()
        .with_gt_sup(true)
        .with_ga_sup(true)
        .with_xt_sup(true)
        .with_ia_sup(true);
    let mut setup = setup(Ivhd::Type11(told, Efr2::new()));
    setup.iommu.features = Features::new(told, Efr2::new()).expect("implemented");
    let mut steps = vec![0; 22];
    steps.extend([0x400, 0x480, 0x480, 0x1480, 0x1_1480, 0x3_1480]);
    let xt = 1 << 50;
    // GT is set once more in phase B.
    steps.extend([0x3_1480, 0x3_1481, 0x3_1485, 0x3_1485, 0x3_148d].map(|control| xt | control));
    assert_eq!(control_values(setup), steps);
}

/// Executed commands of phases A and B, and what each COMPLETION_WAIT stored.
fn commands(setup: Setup) -> (String, String, Vec<u64>) {
    setup.run(|cpu, driver, _| async move {
        driver.enable(&cpu).await.expect("enable");
        let early = cpu.machine().trace().take();
        driver.take_devices(&cpu, &[]).await.expect("take_devices");
        let late = cpu.machine().trace().take();
        let stored = early
            .iter()
            .chain(&late)
            .filter_map(|event| match event.executed()? {
                Command::CompletionWait { data, .. } => Some(data),
                _ => None,
            });
        (notation(&early), notation(&late), stored.collect())
    })
}

const EACH: &str = "D0 D1 D2 D3 D4 D5 W R0 R1 R2 R3 R4 R5 W P0 P1 P2 P3 P4 P5 W";

#[test]
fn one_command_flushes_where_ivhd_tells_of_it() {
    let expected = ("ALL W".to_owned(), "ALL W".to_owned(), vec![1, 2]);
    assert_eq!(commands(setup(ivhd_11())), expected);
}

#[test]
fn ids_are_flushed_one_by_one_until_the_register_is_read() {
    let expected = (EACH.to_owned(), "ALL W".to_owned(), vec![1, 2, 3, 4]);
    assert_eq!(commands(setup(Ivhd::Type10)), expected);
}

#[test]
fn ids_are_flushed_one_by_one_where_the_iommu_has_no_command_for_all() {
    let mut setup = setup(Ivhd::Type10);
    setup.iommu.features = Features::new(Efr::new(), Efr2::new()).expect("implemented");
    let expected = (EACH.to_owned(), EACH.to_owned(), (1..=6).collect());
    assert_eq!(commands(setup), expected);
}

#[test]
fn remapping_tables_are_not_flushed_at_start_where_the_irt_cache_is_off() {
    let mut setup = setup(Ivhd::Type10);
    setup.options.irtcachedis = true;
    let (early, ..) = commands(setup);
    assert_eq!(early, "D0 D1 D2 D3 D4 D5 W P0 P1 P2 P3 P4 P5 W");
}

#[test]
fn domains_are_flushed_whole() {
    let pages = setup(Ivhd::Type10).run(|cpu, driver, _| async move {
        driver.enable(&cpu).await.expect("enable");
        let events = cpu.machine().trace().take();
        let mut executed = events.iter().filter_map(Event::executed);
        executed.find(|command| matches!(command, Command::InvalidateIommuPages { .. }))
    });
    // Address 0x7ffffffffffff000 with S and PDE in its low bits.
    let raw = pages.expect("one").encode();
    assert_eq!(raw, [0x3000_0000_0000_0000, 0x7fff_ffff_ffff_f003]);
}

#[test]
fn unlisted_ids_keep_an_empty_dte_and_listed_ones_get_iv_then_v_and_tv() {
    let (early, late) = setup(ivhd_11()).run(|cpu, driver, _| async move {
        // 6 entries are rounded up to a page of 128.
        let dtes = |cpu: &Cpu| {
            (0..128)
                .map(|id| driver.dte(cpu, RequesterId(id)))
                .collect::<Vec<_>>()
        };
        driver.enable(&cpu).await.expect("enable");
        let early = dtes(&cpu);
        driver.take_devices(&cpu, &[]).await.expect("take_devices");
        (early, dtes(&cpu))
    });
    let listed = usize::from(LAST_BDF) + 1;
    assert!(early[..listed].iter().all(|dte| *dte == [0, 0, 1, 0]));
    assert!(late[..listed].iter().all(|dte| *dte == [3, 0, 1, 0]));
    assert!(
        early[listed..]
            .iter()
            .chain(&late[listed..])
            .all(|dte| *dte == [0; 4])
    );
}

/// Status bits after phase A and after phase B: 3 EventLogRun, 4 CmdBufRun.
fn running_logs(profile: Profile) -> (u64, u64) {
    let setup = Setup {
        profile,
        ..setup(ivhd_11())
    };
    setup.run(|cpu, driver, _| async move {
        let status = || cpu.machine().iommu().read(offset::STATUS, 8) & 0x18;
        driver.enable(&cpu).await.expect("enable");
        let early = status();
        driver.take_devices(&cpu, &[]).await.expect("take_devices");
        (early, status())
    })
}

#[test]
fn the_event_log_waits_for_phase_b_since_2026() {
    for profile in Profile::ALL {
        let waits = ["6.12.117", "7.2.13"].contains(&profile.release);
        let early = if waits { 0x10 } else { 0x18 };
        assert_eq!(running_logs(profile), (early, 0x18), "{profile}");
    }
}

#[test]
fn guest_translation_waits_for_phase_b_in_old_versions() {
    let told = Efr::new().with_gt_sup(true).with_ia_sup(true).with_ga_sup(true);
    for (profile, gt_in_phase_a) in [
        (Profile::LINUX_5_4, false),
        (Profile::LINUX_5_10, false),
        (Profile::LINUX_6_1, false),
        (Profile::LINUX_6_6, false),
        (Profile::LINUX_6_12, true),
        (Profile::LINUX_7_2, true),
    ] {
        let mut setup = Setup {
            profile,
            ..setup(Ivhd::Type11(told, Efr2::new()))
        };
        setup.iommu.features = Features::new(told, Efr2::new()).expect("implemented");
        let gt = setup.run(|cpu, driver, _| async move {
            let gt = || Control::from_bits(cpu.machine().iommu().read(offset::CONTROL, 8)).gt_en();
            driver.enable(&cpu).await.expect("enable");
            let early = gt();
            driver.take_devices(&cpu, &[]).await.expect("take_devices");
            (early, gt())
        });
        assert_eq!(gt, (gt_in_phase_a, true), "{profile}");
    }
}

#[test]
fn loops_over_all_devices_end_at_0xffff_in_old_versions() {
    // A tail write each takes 100 ns.
    let of_all = SimTime::from_ns(3 * 0x1_0000 * 100);
    for (profile, all) in [
        (Profile::LINUX_5_4, true),
        (Profile::LINUX_5_10, true),
        (Profile::LINUX_6_1, false),
        (Profile::LINUX_7_2, false),
    ] {
        let setup = Setup {
            profile,
            trace: false,
            ..setup(Ivhd::Type10)
        };
        let spent = setup.run(|cpu, driver, _| async move {
            driver.enable(&cpu).await.expect("enable");
            cpu.machine().now()
        });
        assert_eq!(spent > of_all, all, "{profile}: {spent}");
    }
}

#[test]
fn tables_of_2048_are_enabled_where_firmware_tells_of_them() {
    let efr = Efr::new().with_ia_sup(true).with_ga_sup(true);
    let efr2 = Efr2::new().with_num_int_remap_sup(1);
    for (profile, ivhd, mode, address) in [
        (Profile::LINUX_7_2, Ivhd::Type11(efr, efr2), 1, 0xfee0_0004),
        (Profile::LINUX_6_12, Ivhd::Type11(efr, efr2), 0, 0xfee0_0000),
        // The registers tell of them too late for the control bits, and in time for the tables.
        (Profile::LINUX_7_2, Ivhd::Type10, 0, 0xfee0_0004),
    ] {
        let mut setup = Setup {
            profile,
            ..setup(ivhd)
        };
        setup.ivrs.last_bdf = RequesterId(0x3ff);
        setup.iommu.features = Features::new(efr, efr2).expect("implemented");
        let seen = setup.run(|cpu, driver, _| async move {
            start(&cpu, &driver).await;
            driver.probe(&cpu, NTB).await.expect("probe");
            let target = Target {
                apic_id: 1,
                vector: 0x31,
            };
            let (_, message) = allocate(&cpu, &driver, NTB, target).await.expect("room");
            let control = Control::from_bits(cpu.machine().iommu().read(offset::CONTROL, 8));
            (control.num_int_remap_mode(), message.address)
        });
        assert_eq!(seen, (mode, address), "{profile}");
    }
}

#[test]
fn the_ga_log_runs_before_guest_mode_is_enabled() {
    let told = Efr::new().with_ia_sup(true).with_ga_sup(true).with_gam_sup(1);
    let mut setup = setup(Ivhd::Type11(told, Efr2::new()));
    setup.iommu.features = Features::new(told, Efr2::new()).expect("implemented");
    let values = control_values(setup);
    let last = &values[values.len() - 4..];
    // EvtInt, GAInt, GALog, GAM.
    let steps = [0x148d, 0x2000_148d, 0x3000_148d, 0x3200_148d];
    assert_eq!(last, steps.map(|control| control | 0x2_0000));
}

#[test]
fn irtcachedis_sets_a_control_bit_where_it_is_known() {
    for (profile, asked, set) in [
        (Profile::LINUX_5_10, true, false),
        (Profile::LINUX_6_1, true, true),
        (Profile::LINUX_7_2, true, true),
        (Profile::LINUX_7_2, false, false),
        (Profile::IRTCACHEDIS, false, true),
    ] {
        let mut setup = Setup {
            profile,
            ..setup(ivhd_11())
        };
        setup.options.irtcachedis = asked;
        let values = control_values(setup);
        assert_eq!(values.iter().any(|value| value >> 59 & 1 != 0), set, "{profile}");
    }
}
