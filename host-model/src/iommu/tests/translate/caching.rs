//! The IOTLB: what is hit, what is dropped, and what a fill that is overtaken leaves behind.

use super::*;
use crate::iommu::CacheStatistics;

const TABLE_1: u64 = ROOT + 0x1000;
const PAGE: u64 = READ_WRITE | PRESENT;
const DOMAIN: u16 = 0x5e;
const OTHER: RequesterId = RequesterId(0x4101);

/// `OTHER`'s tables.
const OTHER_ROOT: u64 = ROOT + 0x8000;
const OTHER_TABLE_1: u64 = ROOT + 0x9000;

/// [`RID`] has the pages 0 to 511 at 0x10_0000 of its domain, by two tables.
fn rig() -> Rig {
    with(Config::default())
}

fn with(config: Config) -> Rig {
    let rig = Rig::with(config, RUN);
    rig.set_dte(RID, dte_tables(2, ROOT));
    rig.set_pte(ROOT, 0, pde(1, TABLE_1));
    map_all(&rig, TABLE_1, 0x10_0000);
    rig
}

fn map_all(rig: &Rig, table: u64, physical: u64) {
    for index in 0..512 {
        rig.set_pte(table, index, PAGE | (physical + index * 0x1000));
    }
}

/// [`OTHER`] has its own domain and tables, with pages at 0x4000_0000.
fn with_other_domain(domain: u64) -> Rig {
    let rig = rig();
    let [low, ..] = dte_tables(2, OTHER_ROOT);
    rig.set_dte(OTHER, [low, domain, 0, 0]);
    rig.set_pte(OTHER_ROOT, 0, pde(1, OTHER_TABLE_1));
    map_all(&rig, OTHER_TABLE_1, 0x4000_0000);
    rig
}

fn other(address: u64) -> MemoryRequest {
    MemoryRequest {
        requester: OTHER,
        ..read(address)
    }
}

/// Where it goes, if the caches know.
fn cached(rig: &Rig, request: &MemoryRequest) -> Option<u64> {
    match rig.iommu.translate(request) {
        TranslationResponse::Answer(TranslationOutcome::Translated(to)) => Some(to.address),
        TranslationResponse::Answer(outcome) => panic!("{outcome:?}"),
        TranslationResponse::Fill(_) => None,
    }
}

fn physical(outcome: TranslationOutcome) -> u64 {
    match outcome {
        TranslationOutcome::Translated(to) => to.address,
        outcome => panic!("not translated: {outcome:?}"),
    }
}

fn run(rig: &Rig, command: [u64; 2]) -> Vec<Step> {
    rig.queue(command);
    rig.run()
}

#[test]
fn a_page_that_was_used_is_hit() {
    let rig = rig();
    assert_eq!(physical(rig.translate(&read(0x1234))), 0x10_1234);
    rig.set_pte(TABLE_1, 1, 0);
    assert_eq!(cached(&rig, &read(0x1fff)), Some(0x10_1fff));
    assert_eq!(cached(&rig, &write(0x1000)), Some(0x10_1000));
    assert_eq!(cached(&rig, &read(0x2000)), None);
}

#[test]
fn a_disabled_iotlb_holds_nothing() {
    let rig = with(Config {
        iotlb: CacheShape::DISABLED,
        ..Config::default()
    });
    for _ in 0..2 {
        assert_eq!(cached(&rig, &read(0x1234)), None);
        rig.translate(&read(0x1234));
    }
}

#[test]
fn what_maps_nothing_is_not_cached() {
    let rig = rig();
    rig.set_pte(TABLE_1, 1, 0);
    let refused = rig.translate(&read(0x1000));
    assert!(matches!(refused, TranslationOutcome::Refused { .. }));
    rig.set_pte(TABLE_1, 1, PAGE | 0x7000);
    assert_eq!(physical(rig.translate(&read(0x1000))), 0x7000);
}

#[test]
fn permissions_that_are_added_need_no_invalidation() {
    let rig = rig();
    rig.set_pte(TABLE_1, 1, READ | PRESENT | 0x7000);
    rig.translate(&read(0x1000));
    rig.set_pte(TABLE_1, 1, PAGE | 0x7000);
    assert_eq!(physical(rig.translate(&write(0x1000))), 0x7000);
    assert_eq!(cached(&rig, &write(0x1000)), Some(0x7000));
}

#[test]
fn devices_of_one_domain_share_translations_but_not_the_dtes_permissions() {
    let rig = rig();
    let [low, high, ..] = dte_tables(2, ROOT);
    rig.set_dte(OTHER, [low & !WRITE, high, 0, 0]);
    rig.translate(&write(0x1000));
    rig.set_pte(TABLE_1, 1, 0);
    let outcome = rig.translate(&other(0x1000));
    let TranslationOutcome::Translated(to) = outcome else {
        panic!("not translated: {outcome:?}");
    };
    let permissions = to.attributes.permissions();
    assert!(permissions.read() && !permissions.write());
    let denied = rig.translate(&MemoryRequest {
        access: Access::Write,
        ..other(0x1000)
    });
    let reason = TranslationError::DtePermissions(Access::Write);
    assert!(matches!(denied, TranslationOutcome::Refused { reason: r, .. } if r == reason));
}

#[test]
fn domains_do_not_share_translations() {
    // The last differs from 0x5e in its highest bits only.
    for domain in [0x5f, 0, 0x105e, 0xf05e] {
        let rig = with_other_domain(domain);
        rig.translate(&read(0x1000));
        assert_eq!(physical(rig.translate(&other(0x1000))), 0x4000_1000);
        for _ in 0..3 {
            assert_eq!(cached(&rig, &other(0x1000)), Some(0x4000_1000));
            assert_eq!(cached(&rig, &read(0x1000)), Some(0x10_1000));
        }
    }
}

#[test]
fn domains_that_differ_in_their_highest_bits_only_leave_each_other_in_the_iotlb() {
    let rig = rig();
    let [low, ..] = dte_tables(2, ROOT);
    let of_domain = |high: u16| MemoryRequest {
        requester: RequesterId(0x2000 + high),
        ..read(0x1000)
    };
    for high in 0..16 {
        let request = of_domain(high);
        rig.set_dte(request.requester, [low, (high << 12 | DOMAIN).into(), 0, 0]);
        rig.translate(&request);
    }
    for high in 0..16 {
        assert_eq!(cached(&rig, &of_domain(high)), Some(0x10_1000), "{high:#x}");
    }
}

#[test]
fn every_address_bit_tells_pages_apart() {
    let features = Features::new(Efr::new().with_hats(2), Efr2::new()).unwrap();
    let rig = with(Config {
        features,
        ..Config::default()
    });
    // Every entry of the levels above points to the same table, and so all addresses are mapped.
    rig.set_dte(RID, dte_tables(6, ROOT));
    for level in 1..=5 {
        for index in 0..512 {
            rig.set_pte(
                ROOT + (6 - level - 1) * 0x1000,
                index,
                pde(level, ROOT + (6 - level) * 0x1000),
            );
        }
    }
    map_all(&rig, ROOT + 5 * 0x1000, 0x10_0000);
    rig.translate(&read(0x1000));
    for bit in 12..64 {
        assert_eq!(cached(&rig, &read(0x1000 ^ 1 << bit)), None, "bit {bit}");
    }
    assert!(cached(&rig, &read(0x1000)).is_some());
}

#[test]
fn the_last_page_of_any_domain_is_not_taken_for_what_is_cached() {
    for domain in [0, 0xffe, 0xfff, 0x1fff, 0xffff] {
        let rig = with_other_domain(domain);
        rig.translate(&other(0x1000));
        let unmapped = rig.translate(&other(!0xfff));
        assert!(
            matches!(unmapped, TranslationOutcome::Refused { .. }),
            "{unmapped:?}"
        );
    }
}

/// Has translated a write to page 1 twice.
fn with_hits() -> Rig {
    let rig = rig();
    for _ in 0..2 {
        assert_eq!(physical(rig.translate(&write(0x1000))), 0x10_1000);
    }
    rig
}

#[test]
fn an_iommu_that_is_disabled_forwards_what_it_has_cached() {
    let rig = with_hits();
    rig.iommu.write(0x18, 8, RUN & !IOMMU_EN);
    assert_eq!(rig.translate(&write(0x1000)), TranslationOutcome::Forwarded);
    rig.iommu.write(0x18, 8, RUN);
    assert_eq!(cached(&rig, &write(0x1000)), Some(0x10_1000));
}

#[test]
fn an_exclusion_range_goes_before_what_is_cached() {
    let rig = with_hits();
    rig.iommu.write(0x28, 8, 0x1000);
    rig.iommu.write(0x20, 8, 0x1003);
    assert_eq!(rig.translate(&write(0x1000)), TranslationOutcome::Forwarded);
    rig.iommu.write(0x20, 8, 0);
    assert_eq!(cached(&rig, &write(0x1000)), Some(0x10_1000));
}

#[test]
fn a_new_entry_of_a_device_goes_before_what_is_cached() {
    let rig = with_hits();
    let [low, high, ..] = dte_tables(2, ROOT);
    rig.set_dte(RID, [low & !WRITE, high, 0, 0]);
    run(&rig, invalidate_dte(RID));
    let reason = TranslationError::DtePermissions(Access::Write);
    let denied = rig.translate(&write(0x1000));
    assert!(matches!(denied, TranslationOutcome::Refused { reason: r, .. } if r == reason));
}

#[test]
fn an_invalidation_of_interrupts_leaves_translations() {
    let rig = with_hits();
    rig.set_pte(TABLE_1, 1, 0);
    run(&rig, invalidate_irt(RID));
    assert_eq!(cached(&rig, &write(0x1000)), Some(0x10_1000));
}

#[test]
fn devices_that_hits_could_confuse_keep_their_own_translations() {
    // They differ in their highest bits only.
    for other in [0x0100, 0x5100, 0xc100] {
        let rig = with_hits();
        let other = RequesterId(other);
        let [low, ..] = dte_tables(2, OTHER_ROOT);
        rig.set_dte(other, [low, 0x77, 0, 0]);
        rig.set_pte(OTHER_ROOT, 0, pde(1, OTHER_TABLE_1));
        map_all(&rig, OTHER_TABLE_1, 0x4000_0000);
        let request = MemoryRequest {
            requester: other,
            ..write(0x1000)
        };
        for _ in 0..3 {
            assert_eq!(physical(rig.translate(&request)), 0x4000_1000);
            assert_eq!(physical(rig.translate(&write(0x1000))), 0x10_1000);
        }
    }
}

#[test]
fn a_full_iotlb_forgets_the_least_recently_used_page() {
    let rig = with(Config {
        iotlb: CacheShape::TINY,
        ..Config::default()
    });
    for address in [0x1000, 0x2000, 0x1000, 0x3000] {
        rig.translate(&read(address));
    }
    assert!(cached(&rig, &read(0x1000)).is_some());
    assert_eq!(cached(&rig, &read(0x2000)), None);
}

#[test]
fn passed_requests_leave_nothing_in_the_iotlb() {
    let rig = rig();
    rig.set_dte(RID, [3 | READ_WRITE, 0x5e, 0, 0]);
    assert_eq!(rig.translate(&read(0x1000)), TranslationOutcome::Forwarded);
    assert_eq!(rig.iommu.statistics().iotlb, CacheStatistics::default());
}

#[test]
fn what_happens_is_counted() {
    let rig = rig();
    for address in [0x1000, 0x1000, 0x2000] {
        rig.translate(&read(address));
    }
    run(&rig, invalidate_pages(DOMAIN, EVERYTHING));
    run(&rig, INVALIDATE_ALL);
    let expected = CacheStatistics {
        hits: 1,
        misses: 2,
        fills: 2,
        invalidations: 1,
        invalidations_of_all: 1,
        ..CacheStatistics::default()
    };
    assert_eq!(rig.iommu.statistics().iotlb, expected);
    let dte = rig.iommu.statistics().dte_cache;
    assert_eq!((dte.hits, dte.misses), (2, 1));
}

/// Which of the pages 0 to 31 are still cached after the command.
fn left(command: [u64; 2]) -> Vec<u64> {
    let rig = rig();
    let pages = || 0..32u64;
    pages().for_each(|page| _ = rig.translate(&read(page << 12)));
    run(&rig, command);
    pages()
        .filter(|page| cached(&rig, &read(page << 12)).is_some())
        .collect()
}

fn all_but(dropped: impl Fn(&u64) -> bool) -> Vec<u64> {
    (0..32).filter(|page| !dropped(page)).collect()
}

#[test]
fn an_invalidation_without_s_drops_one_page() {
    assert_eq!(left(invalidate_pages(DOMAIN, 0x5000)), all_but(|page| *page == 5));
}

#[test]
fn an_invalidation_with_s_drops_its_range() {
    // The lowest clear bit is bit 12, 13 and 15: 2, 4 and 16 pages.
    for (operand, pages) in [(0x6001, 6..8), (0x5001, 4..8), (0x7001 | 0x1_0000, 16..32)] {
        let dropped = left(invalidate_pages(DOMAIN, operand));
        assert_eq!(dropped, all_but(|page| pages.contains(page)), "{operand:#x}");
    }
}

#[test]
fn linuxs_flush_of_a_domain_drops_everything_of_it() {
    assert_eq!(left(invalidate_pages(DOMAIN, EVERYTHING)), all_but(|_| true));
    assert_eq!(left(invalidate_pages(DOMAIN + 1, EVERYTHING)), all_but(|_| false));
    assert_eq!(
        left(invalidate_pages(DOMAIN | 0x1000, EVERYTHING)),
        all_but(|_| false)
    );
}

#[test]
fn pde_makes_no_difference() {
    assert_eq!(left(invalidate_pages(DOMAIN, 0x5002)), all_but(|page| *page == 5));
}

#[test]
fn an_invalidation_of_guest_translations_leaves_host_translations() {
    assert_eq!(left(invalidate_pages(DOMAIN, EVERYTHING | 4)), all_but(|_| false));
}

#[test]
fn invalidate_iommu_all_drops_everything() {
    assert_eq!(left(INVALIDATE_ALL), all_but(|_| true));
}

#[test]
fn a_dte_that_is_invalidated_leaves_its_domains_translations() {
    let rig = rig();
    rig.translate(&read(0x1000));
    rig.set_pte(TABLE_1, 1, 0);
    run(&rig, invalidate_dte(RID));
    assert_eq!(physical(rig.translate(&read(0x1000))), 0x10_1000);
}

#[test]
fn any_address_of_a_large_page_invalidates_all_of_it() {
    for operand in [0x20_0000, 0x3f_f000, 0x2f_f001, 0x3f_f001] {
        let rig = rig();
        rig.set_pte(ROOT, 1, READ_WRITE | PRESENT | 0x80_0000);
        let inside = [0x20_0000, 0x23_4000, 0x3f_f000];
        inside
            .iter()
            .for_each(|address| _ = rig.translate(&read(*address)));
        rig.translate(&read(0x1f_f000));
        assert!(cached(&rig, &read(0x23_4000)).is_some());
        run(&rig, invalidate_pages(DOMAIN, operand));
        for address in inside {
            assert_eq!(cached(&rig, &read(address)), None, "{operand:#x}");
        }
        assert_eq!(
            cached(&rig, &read(0x1f_f000)).is_some(),
            operand != 0x3f_f001,
            "{operand:#x}"
        );
    }
}

/// Whether the fill of page 1 is cached although page 2 is invalidated meanwhile, after `command`.
fn small_page_fills_are_told_apart_after(command: [u64; 2]) -> bool {
    let rig = rig();
    rig.set_pte(ROOT, 1, READ_WRITE | PRESENT | 0x80_0000);
    rig.translate(&read(0x20_0000));
    run(&rig, command);
    let token = rig.translate_until_pte(&read(0x1000));
    run(&rig, invalidate_pages(DOMAIN, 0x2000));
    rig.finish_translation(rig.iommu.complete_translation(token));
    cached(&rig, &read(0x1000)).is_some()
}

#[test]
fn large_pages_make_invalidations_wide_until_everything_is_dropped() {
    assert!(!small_page_fills_are_told_apart_after(invalidate_dte(RID)));
    assert!(small_page_fills_are_told_apart_after(INVALIDATE_ALL));
}

/// The fill of page 1 is overtaken by a change of the page and `command`.
fn overtaken(config: Config, command: [u64; 2]) -> (u64, u64) {
    let rig = with(config);
    let token = rig.translate_until_pte(&read(0x1000));
    let TranslationResponse::Fill(token) = rig.iommu.complete_translation(token) else {
        panic!("the page was not read");
    };
    rig.set_pte(TABLE_1, 1, PAGE | 0x7000);
    run(&rig, command);
    let old = physical(rig.finish_translation(rig.iommu.complete_translation(token)));
    (old, physical(rig.translate(&read(0x1000))))
}

#[test]
fn a_fill_that_an_invalidation_overtakes_is_answered_and_not_cached() {
    for command in [
        invalidate_pages(DOMAIN, 0x1000),
        invalidate_pages(DOMAIN, EVERYTHING),
        INVALIDATE_ALL,
    ] {
        assert_eq!(overtaken(Config::default(), command), (0x10_1000, 0x7000));
    }
}

#[test]
fn the_fault_fill_races_invalidation_makes_translations_stale() {
    let faults = Faults {
        fill_races_invalidation: true,
        ..Faults::default()
    };
    let config = Config {
        faults,
        ..Config::default()
    };
    let stale = overtaken(config, invalidate_pages(DOMAIN, 0x1000));
    assert_eq!(stale, (0x10_1000, 0x10_1000));
}

#[test]
fn a_fill_by_a_dte_that_an_invalidation_overtakes_is_not_cached() {
    let rig = rig();
    let TranslationResponse::Fill(token) = rig.iommu.translate(&read(0x1000)) else {
        panic!("no fill");
    };
    assert_eq!(token.entry(), TableEntry::Dte);
    // New tables for the same domain, before the old DTE is back from memory.
    rig.set_dte(RID, dte_tables(2, OTHER_ROOT));
    rig.set_pte(OTHER_ROOT, 0, pde(1, OTHER_TABLE_1));
    map_all(&rig, OTHER_TABLE_1, 0x4000_0000);
    rig.queue_all(&[invalidate_dte(RID), invalidate_pages(DOMAIN, EVERYTHING)]);
    rig.run();
    let old = rig.finish_translation(rig.iommu.complete_translation(token));
    assert_eq!(physical(old), 0x10_1000);
    assert_eq!(physical(rig.translate(&read(0x1000))), 0x4000_1000);
}

#[test]
fn completion_wait_waits_for_older_memory_requests() {
    let rig = rig();
    let token = rig.translate_until_pte(&read(0x1000));
    rig.queue_all(&[invalidate_pages(DOMAIN, EVERYTHING), completion_wait(7)]);
    let steps = rig.run();
    assert!(matches!(
        steps[..],
        [Step::CommandExecuted { retired: false, .. }, Step::Waiting { .. }]
    ));
    assert_eq!(rig.semaphore(), 0);
    drop(token);
    rig.run();
    assert_eq!(rig.semaphore(), 7);
}

#[test]
fn completion_wait_does_not_wait_for_interrupts_after_an_invalidation_of_pages() {
    let rig = rig();
    let interrupt = rig.iommu.request(&Rig::message(RID, 3));
    assert!(matches!(interrupt, Response::Fill(_)));
    rig.queue_all(&[invalidate_pages(DOMAIN, EVERYTHING), completion_wait(7)]);
    rig.run();
    assert_eq!(rig.semaphore(), 7);
}

#[test]
fn a_prefetch_with_inval_drops_the_devices_pages() {
    let features = Features::new(Efr::new().with_pref_sup(true), Efr2::new()).unwrap();
    let rig = with(Config {
        features,
        ..Config::default()
    });
    rig.translate(&read(0x1000));
    let prefetch = [6 << 60 | u64::from(RID.0), 0x1000];
    assert!(matches!(run(&rig, prefetch)[..], [Step::CommandExecuted { .. }]));
    assert!(cached(&rig, &read(0x1000)).is_some());
    run(&rig, [prefetch[0], 0x1000 | 1 << 4]);
    assert_eq!(cached(&rig, &read(0x1000)), None);
}
