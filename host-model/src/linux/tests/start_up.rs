use std::fmt::Write as _;

use sim_bridge::RequesterId;

use super::*;
use crate::iommu::spec::features::{Efr2, Features};
use crate::iommu::spec::registers::offset;
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

#[test]
fn the_event_log_is_off_until_phase_b() {
    let (early, late) = setup(ivhd_11()).run(|cpu, driver, _| async move {
        driver.enable(&cpu).await.expect("enable");
        let early = cpu.machine().iommu().read(offset::STATUS, 8);
        driver.take_devices(&cpu, &[]).await.expect("take_devices");
        (early, cpu.machine().iommu().read(offset::STATUS, 8))
    });
    // Bit 3 EventLogRun, bit 4 CmdBufRun.
    assert_eq!((early & 0x18, late & 0x18), (0x10, 0x18));
}
