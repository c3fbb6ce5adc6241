//! Layouts against what Linux and FreeBSD write, reserved masks against VirtualBox's and FreeBSD's.

use proptest::prelude::*;

use super::*;
use crate::iommu::spec::features::{Efr, Efr2};

/// An IOMMU that has every command.
fn all_features() -> Features {
    let efr = Efr::new()
        .with_pref_sup(true)
        .with_ppr_sup(true)
        .with_ia_sup(true);
    Features::new(efr, Efr2::new()).unwrap().with_iotlb_sup(true)
}

fn parse(raw: RawCommand) -> Result<Command, CommandError> {
    Command::parse(raw, &all_features())
}

/// Quadwords built by hand from Linux's `struct iommu_cmd`, opcode = dw1[31:28]; PREFETCH from FreeBSD's
/// `struct amdiommu_cmd_prefetch_iommu_pages`.
#[test]
fn commands_of_linux_are_understood() {
    let device = RequesterId(0x4101);
    let golden = [
        (
            [0x1000_0001_0000_2001, 7],
            Command::CompletionWait {
                store: Some(0x1_0000_2000),
                interrupt: false,
                flush: false,
                data: 7,
            },
        ),
        (
            [0x2000_0000_0000_4100, 0],
            Command::InvalidateDevtabEntry(RequesterId(0x4100)),
        ),
        (
            [0x3000_005e_0000_0000, 0x7fff_ffff_ffff_f003],
            Command::InvalidateIommuPages {
                domain: 0x5e,
                pasid: 0,
                range: PageRange::ALL,
                directory: true,
                guest: false,
            },
        ),
        (
            [0x3000_005e_0001_2345, 0x1234_5005],
            Command::InvalidateIommuPages {
                domain: 0x5e,
                pasid: 0x1_2345,
                range: PageRange::new(0x1234_4000, 14),
                directory: false,
                guest: true,
            },
        ),
        (
            // devid, PASID 15:8 and qdep; devid and PASID 7:0.
            [0x4034_4101_2012_4101, 0x1234_5004],
            Command::InvalidateIotlbPages {
                device,
                pasid: 0x1234,
                range: PageRange::new(0x1234_5000, 12),
                queue: 0x4101,
                max_pending: 0x20,
                guest: true,
            },
        ),
        (
            [0x5000_0000_0000_41ff, 0],
            Command::InvalidateInterruptTable(RequesterId(0x41ff)),
        ),
        (
            [0x6001_2345_0300_4101, 0x1234_5014],
            Command::PrefetchIommuPages {
                device,
                pasid: 0x1_2345,
                range: PageRange::new(0x1234_5000, 12),
                count: 3,
                invalidate: true,
                guest: true,
            },
        ),
        (
            // tag & 0x1ff | status << 12.
            [0x7000_1234_0000_4101, 0x0000_f123_0000_0004],
            Command::CompletePprRequest {
                device,
                pasid: 0x1234,
                tag: CompletionTag::new().with_group(0x123).with_response(0xf),
                guest: true,
            },
        ),
        ([0x8000_0000_0000_0000, 0], Command::InvalidateIommuAll),
    ];
    for (raw, command) in golden {
        assert_eq!(parse(raw), Ok(command));
        assert_eq!(command.encode(), raw);
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in [0, 9, 10, 11, 12, 13, 14, 15] {
        assert_eq!(
            parse([u64::from(opcode) << 60, u64::MAX]),
            Err(CommandError::ReservedOpcode(opcode))
        );
    }
}

#[test]
fn every_reserved_bit_is_refused_by_name() {
    let reserved = [
        (1, "COMPLETION_WAIT", [0x0ff0_0000_0000_0000, 0]),
        (2, "INVALIDATE_DEVTAB_ENTRY", [0x0fff_ffff_ffff_0000, u64::MAX]),
        (3, "INVALIDATE_IOMMU_PAGES", [0x0fff_0000_fff0_0000, 0xff8]),
        (4, "INVALIDATE_IOTLB_PAGES", [0, 0xffa]),
        (5, "INVALIDATE_INTERRUPT_TABLE", [0x0fff_ffff_ffff_0000, u64::MAX]),
        (6, "PREFETCH_IOMMU_PAGES", [0x0ff0_0000_00ff_0000, 0xfea]),
        (
            7,
            "COMPLETE_PPR_REQUEST",
            [0x0ff0_0000_ffff_0000, 0xffff_0000_ffff_fffb],
        ),
        (8, "INVALIDATE_IOMMU_ALL", [0x0fff_ffff_ffff_ffff, u64::MAX]),
    ];
    for (opcode, command, masks) in reserved {
        for bit in (0..128).filter(|bit| !(60..64).contains(bit)) {
            let (quadword, bits) = (bit / 64, 1u64 << (bit % 64));
            let mut raw = [opcode << 60, 0];
            raw[quadword] |= bits;
            let expected = CommandError::ReservedBits {
                command,
                quadword,
                bits,
            };
            assert_eq!(
                parse(raw).err(),
                (masks[quadword] & bits != 0).then_some(expected),
                "{raw:x?}"
            );
        }
    }
}

#[test]
fn commands_of_absent_features_are_refused() {
    let none = Features::new(Efr::new().with_ga_sup(true), Efr2::new()).unwrap();
    let absent = [
        (4, "INVALIDATE_IOTLB_PAGES"),
        (6, "PREFETCH_IOMMU_PAGES"),
        (7, "COMPLETE_PPR_REQUEST"),
        (8, "INVALIDATE_IOMMU_ALL"),
    ];
    for (opcode, name) in absent {
        assert_eq!(parse([opcode << 60, 0]).map(|command| command.name()), Ok(name));
        // Whatever else is wrong with them.
        for high in [0, u64::MAX] {
            assert_eq!(
                Command::parse([opcode << 60, high], &none),
                Err(CommandError::Unsupported(name))
            );
        }
    }
    for opcode in [1, 2, 3, 5] {
        assert!(Command::parse([opcode << 60, 0], &none).is_ok());
    }
}

proptest! {
    #[test]
    fn the_short_way_to_an_interrupt_table_invalidation_is_the_long_one(low: u64, high: u64, opcode in 4u64..7) {
        let legal = [opcode << 60 | low & 0xffff, 0];
        let other_bit = [legal[0] ^ 1 << (high % 64), 0];
        for raw in [legal, other_bit, [legal[0], high], [low, high]] {
            let long = match parse(raw) {
                Ok(Command::InvalidateInterruptTable(device)) => Some(device),
                _ => None,
            };
            prop_assert_eq!(Command::as_interrupt_table_invalidation(raw), long);
        }
    }

    #[test]
    fn what_parses_encodes_to_the_same_bits(opcode in 1u64..9, low: u64, high: u64, clear: bool) {
        let mut raw = [opcode << 60 | low & !(0xf << 60), high];
        if clear && let Err(CommandError::ReservedBits { .. }) = parse(raw) {
            // What was random is legal once each quadword's reserved bits are gone.
            while let Err(CommandError::ReservedBits { quadword, bits, .. }) = parse(raw) {
                raw[quadword] &= !bits;
            }
        }
        if let Ok(command) = parse(raw) {
            let encoded = command.encode();
            // The address of a COMPLETION_WAIT that stores nothing means nothing.
            if !matches!(command, Command::CompletionWait { store: None, .. }) {
                prop_assert_eq!(encoded, raw);
            }
            prop_assert_eq!(parse(encoded), Ok(command));
        } else {
            prop_assert!(!clear);
        }
    }
}
