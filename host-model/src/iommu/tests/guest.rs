//! Guest mode (vAPIC) entries: interrupts for virtual CPUs.

use proptest::prelude::*;

use super::*;
use crate::iommu::spec::event::HardwareError;
use crate::iommu::spec::features::{Efr, Efr2, Features};
use crate::iommu::spec::irte::IrteError;

const GAM_EN: u64 = 1 << 25;
const GA_LOG_EN: u64 = 1 << 28;
const XT_EN: u64 = 1 << 50;
const IRT_CACHE_DIS: u64 = 1 << 59;
/// As Linux runs AVIC.
const AVIC: u64 = RUN | GA_EN | GAM_EN | GA_LOG_EN;

const PAGE: u64 = 0x60_0000;
const OTHER_PAGE: u64 = 0x60_1000;
const GA_LOG: u64 = 0x61_0000;

/// Linux struct irte_ga, fields_vapic: what follows `valid` and `guest_mode`.
const SUP_IOPF: u64 = 1 << 1;
const GA_LOG_INTR: u64 = 1 << 2;
const IS_RUN: u64 = 1 << 6;
const GUEST_MODE: u64 = 1 << 7;

/// A valid entry for vector 0x41 in [`PAGE`], of the virtual CPU with this tag.
const fn entry(flags: u64, destination: u64, tag: u64) -> [u64; 2] {
    [1 | GUEST_MODE | flags | destination << 8 | tag << 32, PAGE | 0x41]
}

fn config() -> Config {
    // IA, GA; XT; GAM: vAPIC.
    let features = Features::new(Efr::from_bits(0xc4 | 1 << 21), Efr2::new()).unwrap();
    Config {
        features,
        ..Config::default()
    }
}

/// 128-bit entries and guest mode, entry 3 as given, and a GA log of 512.
fn rig(irte: [u64; 2]) -> Rig {
    rig_with(config(), AVIC, irte)
}

fn rig_with(config: Config, control: u64, irte: [u64; 2]) -> Rig {
    let rig = Rig::with(config, control & !GA_LOG_EN);
    rig.iommu.write(0xe0, 8, GA_LOG | 8 << 56);
    rig.iommu.write(0x18, 8, control);
    rig.set_irte128(3, irte);
    rig
}

fn ask(rig: &Rig) -> Answer {
    rig.ask(&Rig::message(RID, 3))
}

/// Posted in [`PAGE`] with vector 0x41.
fn posted(notice: Notice) -> Outcome {
    Outcome::Posted(Posted {
        backing_page: PAGE,
        vector: 0x41,
        notice,
        index: 3,
    })
}

/// Vectors requested in a backing page (IRR 0 to 7, 0x10 bytes apart from 0x200).
fn requested(rig: &Rig, page: u64) -> Vec<u64> {
    let register = |n| {
        let address = GuestAddress(page + 0x200 + 0x10 * n);
        rig.memory.read_obj::<u32>(address).unwrap()
    };
    (0..256)
        .filter(|vector| register(vector / 32) >> (vector % 32) & 1 != 0)
        .collect()
}

/// Takes the fill of the three fields of a cached entry.
fn ask_until_guest_fields<'a>(rig: &'a Rig) -> FillToken<'a> {
    match rig.iommu.request(&Rig::message(RID, 3)) {
        Response::Fill(token) => {
            assert_eq!(token.entry(), TableEntry::GuestFields);
            assert_eq!(token.address(), TABLE + 48);
            token
        }
        Response::Answer(outcome) => panic!("no fill: {outcome:?}"),
    }
}

/// The GA log's entries, (type, device, tag) as Linux reads them.
fn ga_log(rig: &Rig) -> Vec<(u64, u64, u64)> {
    let tail = rig.iommu.read(0x2048, 4);
    (0..tail / 8)
        .map(|n| {
            let entry: u64 = rig.memory.read_obj(GuestAddress(GA_LOG + 8 * n)).unwrap();
            (entry >> 60, entry >> 32 & 0xffff, entry & 0xffff_ffff)
        })
        .collect()
}

#[test]
fn an_interrupt_for_a_virtual_cpu_that_runs_is_requested_with_a_doorbell() {
    let rig = rig(entry(IS_RUN | GA_LOG_INTR, 7, 0x99));
    assert_eq!(ask(&rig).outcome, posted(Notice::Doorbell(7)));
    assert_eq!(requested(&rig, PAGE), [0x41]);
    assert_eq!(rig.run(), []);
    assert_eq!(ga_log(&rig), []);
}

#[test]
fn an_interrupt_for_a_virtual_cpu_that_does_not_run_is_requested_and_logged() {
    let rig = rig(entry(GA_LOG_INTR, 7, 0x0100_0003));
    assert_eq!(ask(&rig).outcome, posted(Notice::GaLog(0x0100_0003)));
    assert_eq!(requested(&rig, PAGE), [0x41]);
    rig.run();
    assert_eq!(ga_log(&rig), [(1, 0x4100, 0x0100_0003)]);
}

#[test]
fn an_interrupt_is_requested_and_not_logged_without_ga_log_intr() {
    let rig = rig(entry(0, 7, 0x99));
    assert_eq!(ask(&rig).outcome, posted(Notice::Nobody));
    assert_eq!(requested(&rig, PAGE), [0x41]);
    assert_eq!(rig.run(), []);
    assert_eq!(ga_log(&rig), []);
}

#[test]
fn an_interrupt_is_requested_and_its_log_entry_dropped_without_ga_log_en() {
    let rig = rig_with(config(), AVIC & !GA_LOG_EN, entry(GA_LOG_INTR, 7, 0x99));
    assert_eq!(ask(&rig).outcome, posted(Notice::GaLog(0x99)));
    assert_eq!(requested(&rig, PAGE), [0x41]);
    let [Step::GaDropped { reason, .. }] = rig.run()[..] else {
        panic!("one entry is dropped")
    };
    assert_eq!(reason, DropReason::NotRunning);
    assert_eq!(ga_log(&rig), []);
}

#[test]
fn a_doorbell_goes_to_8_bits_of_destination_or_to_32_with_xt_en() {
    let mut irte = entry(IS_RUN, 0x0705, 0);
    irte[1] |= 0xab << 56;
    let notice = |control| ask(&rig_with(config(), control, irte)).outcome;
    assert_eq!(notice(AVIC), posted(Notice::Doorbell(0x05)));
    assert_eq!(notice(AVIC | XT_EN), posted(Notice::Doorbell(0xab00_0705)));
}

#[test]
fn requests_of_several_messages_gather_in_the_page() {
    let rig = rig(entry(0, 0, 0));
    for (index, vector) in [(4, 0x42), (5, 0xff), (6, 0x41)] {
        rig.set_irte128(index, [1 | GUEST_MODE, PAGE | vector]);
        let _ = rig.ask(&Rig::message(RID, index as u32));
    }
    assert_eq!(requested(&rig, PAGE), [0x41, 0x42, 0xff]);
}

#[test]
fn is_run_destination_and_tag_are_read_on_every_use() {
    let rig = rig(entry(IS_RUN, 7, 1));
    assert_eq!(irte_from(&ask(&rig)), LookupFrom::Fill);
    // No invalidation: Linux amd_iommu_update_ga.
    rig.set_irte128(3, entry(IS_RUN, 8, 1));
    assert_eq!(ask(&rig).outcome, posted(Notice::Doorbell(8)));
    rig.set_irte128(3, entry(0, 8, 1));
    assert_eq!(ask(&rig).outcome, posted(Notice::Nobody));
    assert_eq!(irte_from(&ask(&rig)), LookupFrom::Hit);
}

#[test]
fn the_tag_is_that_of_memory_and_ga_log_intr_that_of_the_cache() {
    let rig = rig(entry(GA_LOG_INTR, 7, 1));
    let _ = ask(&rig);
    rig.set_irte128(3, entry(0, 7, 2));
    assert_eq!(ask(&rig).outcome, posted(Notice::GaLog(2)));
}

#[test]
fn vector_and_backing_page_are_cached_until_invalidated() {
    let rig = rig(entry(IS_RUN, 7, 0));
    let _ = ask(&rig);
    rig.set_irte128(3, [entry(IS_RUN, 7, 0)[0], OTHER_PAGE | 0x77]);
    assert_eq!(ask(&rig).outcome, posted(Notice::Doorbell(7)));
    assert_eq!(requested(&rig, OTHER_PAGE), [0; 0]);
    rig.queue(invalidate_irt(RID));
    rig.run();
    let _ = ask(&rig);
    assert_eq!(requested(&rig, OTHER_PAGE), [0x77]);
}

#[test]
fn an_entry_that_is_cached_is_used_though_memory_says_otherwise() {
    let irte = entry(IS_RUN, 7, 0);
    // RemapEn 0, and GuestMode 0: bit 6 is DM then, and IsRun to whoever has the rest cached.
    for changed in [[irte[0] & !1, irte[1]], [irte[0] & !GUEST_MODE, 0x31]] {
        let rig = rig(irte);
        let _ = ask(&rig);
        rig.set_irte128(3, changed);
        assert_eq!(ask(&rig).outcome, posted(Notice::Doorbell(7)));
    }
}

#[test]
fn an_uncached_use_takes_one_read_of_the_entry() {
    let rig = rig_with(config(), AVIC | IRT_CACHE_DIS, entry(IS_RUN, 7, 0));
    for _ in 0..2 {
        let token = rig.ask_until_irte_fill(&Rig::message(RID, 3));
        let Response::Answer(outcome) = rig.iommu.complete(token) else {
            panic!("a second read")
        };
        assert_eq!(outcome, posted(Notice::Doorbell(7)));
    }
}

#[test]
fn the_fields_are_as_of_when_the_read_began_and_the_request_as_of_its_end() {
    let rig = rig(entry(IS_RUN, 7, 0));
    let _ = ask(&rig);
    rig.memory.write_obj(0_u32, GuestAddress(PAGE + 0x220)).unwrap();
    let token = ask_until_guest_fields(&rig);
    rig.set_irte128(3, entry(IS_RUN, 8, 0));
    assert_eq!(requested(&rig, PAGE), [0; 0]);
    assert_eq!(rig.complete(token).outcome, posted(Notice::Doorbell(7)));
    assert_eq!(requested(&rig, PAGE), [0x41]);
}

#[test]
fn an_abandoned_read_requests_nothing() {
    let rig = rig(entry(IS_RUN, 7, 0));
    drop(rig.ask_until_irte_fill(&Rig::message(RID, 3)));
    let _ = rig.ask_until_irte_fill(&Rig::message(RID, 3));
    assert_eq!(requested(&rig, PAGE), [0; 0]);
}

#[test]
fn completion_wait_stores_after_older_interrupts_are_requested() {
    let rig = rig(entry(IS_RUN, 7, 0));
    let _ = ask(&rig);
    let token = ask_until_guest_fields(&rig);
    rig.queue_all(&[invalidate_irt(RID), completion_wait(1)]);
    rig.run();
    assert_eq!(rig.semaphore(), 0);
    let _ = rig.complete(token);
    rig.run();
    assert_eq!(rig.semaphore(), 1);
}

#[test]
fn an_invalidated_entry_still_serves_the_use_that_began_before() {
    let rig = rig(entry(IS_RUN, 7, 0));
    let _ = ask(&rig);
    let token = ask_until_guest_fields(&rig);
    rig.set_irte128(3, [entry(IS_RUN, 8, 0)[0], OTHER_PAGE | 0x77]);
    rig.queue(invalidate_irt(RID));
    rig.run();
    assert_eq!(rig.complete(token).outcome, posted(Notice::Doorbell(7)));
    assert_eq!(irte_from(&ask(&rig)), LookupFrom::Fill);
}

/// Reason and events of entry 3.
fn blocked(rig: &Rig) -> (BlockReason, Vec<String>) {
    let Outcome::Blocked { reason, .. } = ask(rig).outcome else {
        panic!("not blocked")
    };
    rig.run();
    (reason, rig.event_lines())
}

#[test]
fn a_guest_entry_faults_unless_128_bit_entries_and_gam_en_1_are_on() {
    for control in [RUN | GA_EN, RUN | GAM_EN] {
        let rig = rig_with(config(), control, entry(IS_RUN, 7, 0));
        rig.set_irte32(3, entry(IS_RUN, 7, 0)[0] as u32);
        let line = "IO_PAGE_FAULT device=41:00.0 domain=0x005e address=0xfffffffdf8030000 flags=0x0098";
        let fault = (BlockReason::Irte(IrteError::GuestMode), vec![line.to_owned()]);
        assert_eq!(blocked(&rig), fault, "control {control:#x}");
        assert_eq!(requested(&rig, PAGE), [0; 0]);
    }
}

#[test]
fn gam_en_does_not_stick_without_the_feature() {
    let rig = Rig::with(Config::default(), AVIC);
    assert_eq!(rig.iommu.read(0x18, 8) & GAM_EN, 0);
}

#[test]
fn remapped_entries_are_as_ever_in_guest_mode() {
    let rig = rig([5 << 8 | 1, 0x31]);
    assert_eq!(target(&ask(&rig)), (5, 0x31));
    assert_eq!(irte_from(&ask(&rig)), LookupFrom::Hit);
}

#[test]
fn reserved_bits_fault_with_pr_and_rz_or_are_ignored_by_policy() {
    let irte = entry(IS_RUN | 1 << 5, 7, 0);
    let line = "IO_PAGE_FAULT device=41:00.0 domain=0x005e address=0xfffffffdf8030000 flags=0x0098";
    let fault = BlockReason::Irte(IrteError::ReservedBits(1 << 5));
    assert_eq!(blocked(&rig(irte)), (fault, vec![line.to_owned()]));
    let mut config = config();
    config.policies.irte_reserved_bits = IrteReservedBits::Ignore;
    assert_eq!(
        ask(&rig_with(config, AVIC, irte)).outcome,
        posted(Notice::Doorbell(7))
    );
}

#[test]
fn a_guest_entry_without_remap_en_faults_unless_suppressed() {
    let mut irte = entry(0, 7, 0);
    irte[0] &= !1;
    let line = "IO_PAGE_FAULT device=41:00.0 domain=0x005e address=0xfffffffdf8030000 flags=0x0008";
    let reason = BlockReason::Irte(IrteError::RemapEnClear);
    assert_eq!(blocked(&rig(irte)), (reason, vec![line.to_owned()]));
    irte[0] |= SUP_IOPF;
    assert_eq!(blocked(&rig(irte)), (reason, vec![]));
}

#[test]
fn a_backing_page_outside_of_memory_is_a_hardware_error_or_silent_by_policy() {
    let irte = [entry(IS_RUN, 7, 0)[0], 1 << 40 | 0x41];
    let reason = BlockReason::BackingPageUnwritable((1 << 40) + 0x220);
    let line = "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address=0x10000000220 flags=0x0208";
    assert_eq!(blocked(&rig(irte)), (reason, vec![line.to_owned()]));
    let mut config = config();
    config.policies.backing_page_failure = BackingPageFailure::NoEvent;
    assert_eq!(blocked(&rig_with(config, AVIC, irte)), (reason, vec![]));
}

#[test]
fn a_backing_page_that_aborts_is_a_hardware_error_and_logs_no_interrupt() {
    for (error, kind) in [
        (HardwareError::MasterAbort, 1_u16),
        (HardwareError::TargetAbort, 2),
        (HardwareError::DataError, 3),
    ] {
        let mut config = config();
        config.faults.memory.push(MemoryFault {
            addresses: PAGE..PAGE + 0x1000,
            error,
        });
        let rig = rig_with(config, AVIC, entry(GA_LOG_INTR, 7, 1));
        let flags = 8 | kind << 9;
        let line = format!(
            "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address=0x600220 flags={flags:#06x}"
        );
        let reason = BlockReason::BackingPageUnwritable(PAGE + 0x220);
        assert_eq!(blocked(&rig), (reason, vec![line]));
        assert_eq!(requested(&rig, PAGE), [0; 0]);
        assert_eq!(ga_log(&rig), []);
    }
}

#[test]
fn fields_that_cannot_be_read_again_are_a_hardware_error() {
    let rig = rig(entry(IS_RUN, 7, 0));
    let _ = ask(&rig);
    // The table moves out of memory; its cached entries stay.
    rig.set_dte(RID, dte_remap(1 << 40, 9));
    rig.queue(invalidate_dte(RID));
    rig.run();
    let line = "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address=0x10000000030 flags=0x0208";
    let reason = BlockReason::IrteUnreadable((1 << 40) + 48);
    assert_eq!(blocked(&rig), (reason, vec![line.to_owned()]));
}

#[derive(Debug, Clone, Copy)]
enum Action {
    /// Linux amd_iommu_update_ga: no invalidation.
    Update {
        index: u64,
        is_run: bool,
        destination: u64,
        tag: u64,
    },
    /// Anything else, invalidated.
    Rewrite { index: u64, irte: [u64; 2] },
    /// An interrupt message.
    Interrupt { index: u32 },
}

fn action() -> impl Strategy<Value = Action> {
    let index = 0_u64..4;
    let irte = (0_u64..8, 0_u64..4, 0_u64..2, 0x40_u64..0x44).prop_map(|(flags, tag, page, vector)| {
        // RemapEn, SupIOPF, GALogIntr; mostly guest entries.
        let guest = if tag == 3 { 0 } else { GUEST_MODE };
        [
            flags | guest | 7 << 8 | tag << 32,
            (PAGE + 0x1000 * page) | vector,
        ]
    });
    prop_oneof![
        (index.clone(), any::<bool>(), 0_u64..4, 0_u64..4).prop_map(|(index, is_run, destination, tag)| {
            Action::Update {
                index,
                is_run,
                destination,
                tag,
            }
        }),
        (index, irte).prop_map(|(index, irte)| Action::Rewrite { index, irte }),
        (0_u32..4).prop_map(|index| Action::Interrupt { index }),
    ]
}

/// What becomes of the interrupts.
fn outcomes(shape: CacheShape, actions: &[Action]) -> (Vec<Outcome>, Vec<Step>, Vec<Vec<u64>>) {
    let rig = rig_with(config().with_caches(shape), AVIC, entry(0, 7, 0));
    let mut outcomes = Vec::new();
    let mut logged = Vec::new();
    for action in actions {
        match *action {
            Action::Update {
                index,
                is_run,
                destination,
                tag,
            } => {
                let address = GuestAddress(TABLE + 16 * index);
                let low: u64 = rig.memory.read_obj(address).unwrap();
                if low & GUEST_MODE != 0 {
                    let kept = low & (0x87 | 7 << 3);
                    let is_run = if is_run { IS_RUN } else { 0 };
                    let updated = kept | is_run | destination << 8 | tag << 32;
                    rig.memory.write_obj(updated, address).unwrap();
                }
            }
            Action::Rewrite { index, irte } => {
                rig.set_irte128(index, irte);
                rig.queue(invalidate_irt(RID));
                rig.run();
            }
            Action::Interrupt { index } => {
                outcomes.push(rig.outcome(&Rig::message(RID, index)));
                logged.extend(rig.run());
            }
        }
    }
    let pages = [PAGE, OTHER_PAGE].map(|page| requested(&rig, page));
    (outcomes, logged, pages.into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_cached_iommu_posts_as_one_without_caches(actions in prop::collection::vec(action(), 1..60)) {
        let uncached = outcomes(CacheShape::DISABLED, &actions);
        prop_assert_eq!(&outcomes(CacheShape::TINY, &actions), &uncached);
        prop_assert_eq!(&outcomes(CacheShape::default(), &actions), &uncached);
    }
}
