//! The MSI action table: one case for each row, named by what becomes of the message.

use super::*;
use crate::iommu::spec::dte::DteError;
use crate::iommu::spec::features::{Efr, Efr2, Features};
use crate::iommu::spec::irte::{DestinationMode, IntType, IrteError};

const FIXED: u32 = 0x000;
const ARBITRATED: u32 = 0x100;
const SMI: u32 = 0x200;
const NMI: u32 = 0x400;
const INIT: u32 = 0x500;
const EXT_INT: u32 = 0x700;
const LOGICAL: u64 = 1 << 2;

/// One message under one DTE and one 32-bit IRTE at index 3.
struct Case {
    config: Config,
    control: u64,
    dte: [u64; 4],
    irte: u32,
    address: u64,
    data: u32,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            config: Config::default(),
            control: RUN,
            dte: dte_remap(TABLE, 9),
            irte: irte32(5, 0x31),
            address: 0xfee0_0000,
            data: 3,
        }
    }
}

impl Case {
    fn dte2(bits: u64) -> Self {
        Self {
            dte: [3, 0x5e, bits, 0],
            ..Self::default()
        }
    }

    fn policies(mut self, change: impl FnOnce(&mut Policies)) -> Self {
        change(&mut self.config.policies);
        self
    }

    /// The outcome in short: `forwarded`, `5:31` (destination and vector) or the reason; then the event.
    fn outcome(self) -> (Result<String, BlockReason>, Vec<String>) {
        let rig = Rig::with(self.config, self.control);
        rig.set_dte(RID, self.dte);
        rig.set_irte32(3, self.irte);
        let request = InterruptRequest {
            requester: RID,
            address: self.address,
            data: self.data,
        };
        let outcome = match rig.ask(&request).outcome {
            Outcome::Forwarded { address, data } => {
                assert_eq!((address, data), (self.address, self.data), "forwarded bit-exact");
                Ok("forwarded".to_owned())
            }
            Outcome::Remapped(i) => Ok(format!("{:x}:{:02x}", i.destination, i.vector)),
            Outcome::Blocked { reason, event } => {
                let logged = rig.run();
                let expected = event.map(|event| Step::EventWritten { event, offset: 0 });
                assert_eq!(logged, expected.into_iter().collect::<Vec<_>>());
                Err(reason)
            }
        };
        (outcome, rig.event_lines())
    }
}

fn forwarded() -> (Result<String, BlockReason>, Vec<String>) {
    (Ok("forwarded".to_owned()), vec![])
}

fn remapped(to: &str) -> (Result<String, BlockReason>, Vec<String>) {
    (Ok(to.to_owned()), vec![])
}

fn silent(reason: BlockReason) -> (Result<String, BlockReason>, Vec<String>) {
    (Err(reason), vec![])
}

fn reported(reason: BlockReason, event: &str) -> (Result<String, BlockReason>, Vec<String>) {
    (Err(reason), vec![event.to_owned()])
}

/// An IO_PAGE_FAULT for index 3.
fn fault(reason: BlockReason, flags: &str) -> (Result<String, BlockReason>, Vec<String>) {
    let line = format!("IO_PAGE_FAULT device=41:00.0 domain=0x005e address=0xfffffffdf8030000 flags={flags}");
    (Err(reason), vec![line])
}

fn illegal_dte(error: DteError, flags: &str) -> (Result<String, BlockReason>, Vec<String>) {
    let line = format!("ILLEGAL_DEV_TABLE_ENTRY device=41:00.0 address=0xfffffffdf8030000 flags={flags}");
    (Err(BlockReason::IllegalDte(error)), vec![line])
}

macro_rules! cases {
    ($($name:ident: $case:expr => $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!($case.outcome(), $expected);
        })*
    };
}

cases! {
    // The message and the IOMMU.
    iommu_disabled_forwards: Case { control: 0, ..Case::default() } => forwarded();
    an_address_that_is_no_interrupts_is_refused:
        Case { address: 0xfef0_0000, ..Case::default() } => silent(BlockReason::NotAnInterrupt(0xfef0_0000));
    an_address_above_4_gib_is_refused:
        Case { address: 0x1_fee0_0000, ..Case::default() } => silent(BlockReason::NotAnInterrupt(0x1_fee0_0000));

    // The DTE.
    iv_0_forwards: Case { dte: [3, 0, 2 << 60, u64::MAX], ..Case::default() } => forwarded();
    iv_0_forwards_reserved_delivery_modes: Case { dte: [0; 4], data: 0x303, ..Case::default() } => forwarded();
    v_0_leaves_interrupts_to_iv:
        Case { dte: [0, 0, dte_remap(TABLE, 9)[2], 0], ..Case::default() } => remapped("5:31");
    v_0_forwards_by_policy: {
        let case = Case { dte: [0, 0, dte_remap(TABLE, 9)[2], 0], ..Case::default() };
        case.policies(|p| p.dte_valid = DteValid::VGoverns)
    } => forwarded();
    int_ctl_0_aborts_without_event: Case::dte2(1) => silent(BlockReason::IntCtlAborted);
    int_ctl_1_forwards: Case::dte2(1 | 1 << 60) => forwarded();
    int_ctl_2_remaps: Case::default() => remapped("5:31");
    int_ctl_2_remaps_arbitrated: Case { data: ARBITRATED | 3, dte: dte_remap(TABLE, 9), ..Case::default() }
        => fault_at_0x103();
    int_ctl_3_is_illegal: Case::dte2(1 | 3 << 60) => illegal_dte(DteError::ReservedIntCtl, "0x0088");
    a_table_longer_than_2048_is_illegal:
        Case { dte: dte_remap(TABLE, 12), ..Case::default() } => illegal_dte(DteError::IntTabLen(12), "0x0008");
    reserved_bits_of_quadword_2_are_illegal: Case::dte2(1 | 1 << 53)
        => illegal_dte(DteError::ReservedBits { quadword: 2, bits: 1 << 53 }, "0x0088");
    reserved_bits_of_quadword_3_are_illegal: Case { dte: [3, 0, 1, 1 << 53], ..Case::default() }
        => illegal_dte(DteError::ReservedBits { quadword: 3, bits: 1 << 53 }, "0x0088");
    guest_paging_mode_is_legal: Case { dte: with(dte_remap(TABLE, 9), 1 << 54), ..Case::default() }
        => remapped("5:31");
    guest_paging_mode_is_illegal_before_revision_3_11: {
        let case = Case { dte: with(dte_remap(TABLE, 9), 1 << 54), ..Case::default() };
        case.policies(|p| p.dte_revision = spec::dte::DteRevision::Rev305)
    } => illegal_dte(DteError::ReservedBits { quadword: 2, bits: 1 << 54 }, "0x0088");
    ig_does_not_suppress_illegal_dtes: Case::dte2(1 | 1 << 5 | 3 << 60)
        => illegal_dte(DteError::ReservedIntCtl, "0x0088");

    // Delivery modes.
    smi_is_forwarded: Case { data: SMI, ..Case::default() } => forwarded();
    smi_is_refused_by_policy: Case { data: SMI, ..Case::default() }.policies(|p| p.smi = Smi::Abort)
        => silent(BlockReason::NotPassed(DeliveryMode::Smi));
    nmi_is_passed: Case { data: NMI, ..Case::dte2(1 | 1 << 58) } => forwarded();
    nmi_is_not_passed: Case { data: NMI, ..Case::default() }
        => silent(BlockReason::NotPassed(DeliveryMode::Nmi));
    init_is_passed: Case { data: INIT, ..Case::dte2(1 | 1 << 56) } => forwarded();
    init_is_not_passed: Case { data: INIT, ..Case::default() }
        => silent(BlockReason::NotPassed(DeliveryMode::Init));
    ext_int_is_passed: Case { data: EXT_INT, ..Case::dte2(1 | 1 << 57) } => forwarded();
    ext_int_is_not_passed: Case { data: EXT_INT, ..Case::default() }
        => silent(BlockReason::NotPassed(DeliveryMode::ExtInt));
    a_logical_nmi_is_refused: Case { data: NMI, address: 0xfee0_0000 | LOGICAL, ..Case::dte2(1 | 1 << 58) }
        => silent(BlockReason::LogicalDestination(DeliveryMode::Nmi));
    pass_bits_hold_whatever_int_ctl_says: Case { data: NMI, ..Case::dte2(1 | 1 << 58 | 3 << 60) } => forwarded();
    delivery_mode_3_is_refused: Case { data: 0x300, ..Case::default() }
        => silent(BlockReason::ReservedDeliveryMode(3));
    delivery_mode_6_is_refused: Case { data: 0x600, ..Case::default() }
        => silent(BlockReason::ReservedDeliveryMode(6));

    // The index.
    an_index_beyond_the_table_faults: Case { dte: dte_remap(TABLE, 1), ..Case::default() }
        => fault(BlockReason::IndexOutOfRange { index: 3, entries: 2 }, "0x0008");
    the_last_index_of_the_table_remaps: Case { dte: dte_remap(TABLE, 2), ..Case::default() } => remapped("5:31");
    ig_suppresses_the_fault_of_an_index_beyond_the_table:
        Case { dte: with(dte_remap(TABLE, 1), 1 << 5), ..Case::default() }
        => silent(BlockReason::IndexOutOfRange { index: 3, entries: 2 });

    // The IRTE.
    remap_en_0_faults: Case { irte: 0xffff_fffc, ..Case::default() }
        => fault(BlockReason::Irte(IrteError::RemapEnClear), "0x0008");
    sup_iopf_suppresses_the_fault: Case { irte: 0xffff_fffe, ..Case::default() }
        => silent(BlockReason::Irte(IrteError::RemapEnClear));
    ig_suppresses_the_fault: Case { dte: with(dte_remap(TABLE, 9), 1 << 5), irte: 0, ..Case::default() }
        => silent(BlockReason::Irte(IrteError::RemapEnClear));
    a_reserved_int_type_faults_with_pr_and_rz: Case { irte: irte32(5, 0x31) | 4 << 2, ..Case::default() }
        => fault(BlockReason::Irte(IrteError::ReservedIntType(4)), "0x0098");
    sup_iopf_suppresses_the_fault_of_a_reserved_int_type:
        Case { irte: irte32(5, 0x31) | 4 << 2 | 2, ..Case::default() }
        => silent(BlockReason::Irte(IrteError::ReservedIntType(4)));
    guest_mode_faults_with_pr_and_rz: Case { irte: irte32(5, 0x31) | 1 << 7, ..Case::default() }
        => fault(BlockReason::Irte(IrteError::GuestMode), "0x0098");
    reserved_bits_of_an_irte_fault: Case { irte: irte32(5, 0x31) | 1 << 24, ..Case::default() }
        => fault(BlockReason::Irte(IrteError::ReservedBits(1 << 24)), "0x0098");
    reserved_bits_of_an_irte_are_ignored_by_policy: {
        let case = Case { irte: irte32(5, 0x31) | 1 << 24, ..Case::default() };
        case.policies(|p| p.irte_reserved_bits = IrteReservedBits::Ignore)
    } => remapped("5:31");

    // Memory that does not answer.
    an_irte_outside_of_memory_is_a_hardware_error: Case { dte: dte_remap(1 << 40, 9), ..Case::default() }
        => reported(
            BlockReason::IrteUnreadable((1 << 40) + 12),
            "PAGE_TAB_HARDWARE_ERROR device=41:00.0 domain=0x005e address=0x1000000000c flags=0x0208",
        );
    an_irte_outside_of_memory_is_silent_by_policy:
        Case { dte: dte_remap(1 << 40, 9), ..Case::default() }
            .policies(|p| p.irte_read_failure = IrteReadFailure::NoEvent)
        => silent(BlockReason::IrteUnreadable((1 << 40) + 12));

    // The address in events.
    events_carry_the_messages_address_by_policy: {
        let case = Case { irte: 0, address: 0xfee0_5000, ..Case::default() };
        case.policies(|p| p.event_address = EventAddress::Message)
    } => reported(
        BlockReason::Irte(IrteError::RemapEnClear),
        "IO_PAGE_FAULT device=41:00.0 domain=0x005e address=0xfee05000 flags=0x0008",
    );
}

/// Data bit 8 is index bit 8: an arbitrated message asks for entry 0x103, which is empty.
fn fault_at_0x103() -> (Result<String, BlockReason>, Vec<String>) {
    fault(BlockReason::Irte(IrteError::RemapEnClear), "0x0008")
}

fn with(mut dte: [u64; 4], bits: u64) -> [u64; 4] {
    dte[2] |= bits;
    dte
}

#[test]
fn every_field_of_the_entry_reaches_the_interrupt() {
    let rig = Rig::new();
    // IntType 1, RqEoi, DM.
    rig.set_irte32(0x1ff, irte32(0x0f, 0x42) | 1 << 2 | 1 << 5 | 1 << 6);
    let interrupt = Interrupt {
        destination: 0x0f,
        destination_mode: DestinationMode::Logical,
        vector: 0x42,
        int_type: IntType::Arbitrated,
        request_eoi: true,
        index: 0x1ff,
    };
    assert_eq!(
        rig.ask(&Rig::message(RID, FIXED | 0x1ff)).outcome,
        Outcome::Remapped(interrupt)
    );
}

#[test]
fn the_answer_says_what_was_used_and_where_it_lies() {
    let rig = Rig::new();
    rig.set_irte32(3, irte32(5, 0x31));
    let answer = rig.ask(&Rig::message(RID, 3));
    let dte = Lookup {
        from: LookupFrom::Fill,
        address: DEVICE_TABLE + 0x4100 * 32,
        raw: dte_remap(TABLE, 9),
    };
    let irte = Lookup {
        from: LookupFrom::Fill,
        address: TABLE + 12,
        raw: 0x31_0501,
    };
    assert_eq!((answer.dte, answer.irte), (Some(dte), Some(irte)));
    let again = rig.ask(&Rig::message(RID, 3));
    assert_eq!(
        again.dte,
        Some(Lookup {
            from: LookupFrom::Hit,
            ..dte
        })
    );
    assert_eq!(
        again.irte,
        Some(Lookup {
            from: LookupFrom::Hit,
            ..irte
        })
    );
}

#[test]
fn entries_of_128_bits_are_used_with_ga_en() {
    let rig = Rig::with(Config::default(), RUN | GA_EN);
    rig.set_irte128(3, [0x0705 << 8 | 1, 0x31 | 0xab << 56]);
    let answer = rig.ask(&Rig::message(RID, 3));
    assert_eq!(target(&answer), (0x05, 0x31));
    assert_eq!(answer.irte.unwrap().address, TABLE + 48);
}

#[test]
fn destinations_have_32_bits_with_xt_en() {
    let features = Features::new(Efr::from_bits(0xc4), Efr2::new()).unwrap();
    let rig = Rig::with(
        Config {
            features,
            ..Config::default()
        },
        RUN | GA_EN | 1 << 50,
    );
    rig.set_irte128(3, [0x0705 << 8 | 1, 0x31 | 0xab << 56]);
    assert_eq!(target(&rig.ask(&Rig::message(RID, 3))), (0xab00_0705, 0x31));
}

#[test]
fn tables_of_2048_take_the_delivery_mode_for_the_index() {
    let features = Features::new(Efr::from_bits(0xc0), Efr2::from_bits(1 << 8)).unwrap();
    let rig = Rig::with(
        Config {
            features,
            ..Config::default()
        },
        RUN | 1 << 43,
    );
    rig.set_dte(RID, dte_remap(TABLE, 11));
    rig.set_irte32(0x7ff, irte32(5, 0x31));
    let request = InterruptRequest {
        requester: RID,
        address: 0xfee0_0004,
        data: 0x7ff,
    };
    assert_eq!(target(&rig.ask(&request)), (5, 0x31));
    // Without DM the message is an ExtInt.
    let outcome = rig.ask(&Rig::message(RID, 0x7ff)).outcome;
    let reason = BlockReason::NotPassed(DeliveryMode::ExtInt);
    assert_eq!(outcome, Outcome::Blocked { reason, event: None });
}

/// A table of 128 devices, and a request from beyond it.
fn ask_beyond_the_table(policy: OutOfRangeDevice) -> (Outcome, Vec<String>) {
    let policies = Policies {
        out_of_range_device: policy,
        ..Policies::default()
    };
    let rig = Rig::with(
        Config {
            policies,
            ..Config::default()
        },
        RUN,
    );
    rig.iommu.write(0x00, 8, DEVICE_TABLE);
    rig.set_irte32(3, irte32(5, 0x31));
    rig.set_dte(RequesterId(0x80), dte_remap(TABLE, 9));
    let outcome = rig.ask(&Rig::message(RequesterId(0x80), 3)).outcome;
    rig.run();
    (outcome, rig.event_lines())
}

#[test]
fn a_requester_id_beyond_the_table_faults() {
    let (outcome, events) = ask_beyond_the_table(OutOfRangeDevice::IoPageFault);
    assert!(matches!(
        outcome,
        Outcome::Blocked {
            reason: BlockReason::DeviceOutOfRange,
            ..
        }
    ));
    let line = "IO_PAGE_FAULT device=00:10.0 domain=0x0000 address=0xfffffffdf8030000 flags=0x0008";
    assert_eq!(events, [line]);
}

#[test]
fn a_requester_id_beyond_the_table_has_an_illegal_entry_by_policy() {
    let (outcome, events) = ask_beyond_the_table(OutOfRangeDevice::IllegalDevTableEntry);
    assert!(matches!(
        outcome,
        Outcome::Blocked {
            reason: BlockReason::DeviceOutOfRange,
            ..
        }
    ));
    let line = "ILLEGAL_DEV_TABLE_ENTRY device=00:10.0 address=0xfffffffdf8030000 flags=0x0008";
    assert_eq!(events, [line]);
}

#[test]
fn a_requester_id_beyond_the_table_is_looked_up_by_policy() {
    let (outcome, events) = ask_beyond_the_table(OutOfRangeDevice::Unchecked);
    assert!(matches!(outcome, Outcome::Remapped(_)));
    assert!(events.is_empty());
}

#[test]
fn the_last_requester_id_of_the_table_is_looked_up() {
    let rig = Rig::new();
    rig.iommu.write(0x00, 8, DEVICE_TABLE);
    rig.set_dte(RequesterId(0x7f), dte_remap(TABLE, 9));
    rig.set_irte32(3, irte32(5, 0x31));
    assert_eq!(target(&rig.ask(&Rig::message(RequesterId(0x7f), 3))), (5, 0x31));
}

#[test]
fn a_device_table_outside_of_memory_is_a_hardware_error() {
    let rig = Rig::new();
    rig.iommu.write(0x00, 8, 1 << 40 | 0x1ff);
    let address = (1 << 40) + 0x4100 * 32;
    let outcome = rig.ask(&Rig::message(RID, 3)).outcome;
    assert!(
        matches!(outcome, Outcome::Blocked { reason: BlockReason::DteUnreadable(a), .. } if a == address)
    );
    rig.run();
    let line = "DEV_TAB_HARDWARE_ERROR device=41:00.0 address=0x10000082000 flags=0x0208";
    assert_eq!(rig.event_lines(), [line]);
}
