//! Whatever software writes, the IOMMU neither panics nor hangs.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Register {
        offset: u64,
        size: usize,
        value: u64,
    },
    Memory {
        address: u64,
        value: u64,
    },
    Request {
        request: InterruptRequest,
        complete: bool,
    },
}

const REGISTERS: [u64; 14] = [
    0x00, 0x08, 0x10, 0x18, 0x18, 0x18, 0x20, 0x30, 0x1a0, 0x2000, 0x2008, 0x2010, 0x2018, 0x2020,
];

/// Values that are likely to make something happen.
fn value() -> impl Strategy<Value = u64> {
    let base = prop_oneof![
        Just(DEVICE_TABLE),
        Just(COMMANDS),
        Just(EVENTS),
        Just(TABLE),
        Just(1 << 50)
    ];
    prop_oneof![
        any::<u64>(),
        Just(RUN),
        Just(RUN | GA_EN),
        (base, 0u64..16).prop_map(|(base, length)| base | length << 56 | length),
        (0u64..0x8_0000),
        (1u64..9, 0u64..0x1_0000).prop_map(|(opcode, operand)| opcode << 60 | operand),
        (any::<u64>()).prop_map(|bits| dte_remap(TABLE, 9)[2] ^ bits & 0x30ff_0000_0000_003f),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let offset = prop_oneof![prop::sample::select(&REGISTERS[..]), any::<u64>()];
    let size = prop_oneof![4 => Just(8usize), 2 => Just(4usize), 1 => any::<usize>()];
    let address = prop_oneof![
        (0u64..64).prop_map(|n| COMMANDS + n * 8),
        (0u64..64).prop_map(|n| TABLE + n * 8),
        (0u64..16).prop_map(|n| DEVICE_TABLE + n * 8),
    ];
    let message = prop_oneof![Just(0xfee0_0000), Just(0xfee0_0004), any::<u64>()];
    let device = prop_oneof![0u16..4, any::<u16>()].prop_map(RequesterId);
    let request = (device, message, any::<u32>()).prop_map(|(requester, address, data)| InterruptRequest {
        requester,
        address,
        data: data & 0xffff_07ff,
    });
    prop_oneof![
        (offset, size, value()).prop_map(|(offset, size, value)| Op::Register { offset, size, value }),
        (address, value()).prop_map(|(address, value)| Op::Memory { address, value }),
        (request, any::<bool>()).prop_map(|(request, complete)| Op::Request { request, complete }),
    ]
}

proptest! {
    #[test]
    fn every_register_table_and_command_is_survived(ops in prop::collection::vec(op(), 0..100)) {
        let rig = Rig::new();
        let mut held = vec![];
        for op in ops {
            match op {
                Op::Register { offset, size, value } => {
                    rig.iommu.write(offset, size, value);
                    rig.iommu.read(offset, size);
                }
                Op::Memory { address, value } => rig.memory.write_obj(value, GuestAddress(address)).unwrap(),
                Op::Request { request, complete: true } => {
                    rig.ask(&request);
                }
                Op::Request { request, complete: false } => held.push(rig.iommu.request(&request)),
            }
            // A ring has at most 32768 entries, and each command is two steps at most beside its events.
            let mut steps = 0;
            while rig.iommu.has_work() {
                prop_assert!(rig.iommu.step().is_some());
                steps += 1;
                prop_assert!(steps < 100_000, "no end of work");
            }
            prop_assert_eq!(rig.iommu.step(), None);
        }
        for response in held {
            if let Response::Fill(token) = response {
                rig.complete(token);
            }
        }
    }
}
