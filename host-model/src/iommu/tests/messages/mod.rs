//! Interrupt messages: each case is named by what becomes of the message.

use super::*;
use crate::iommu::spec::dte::DteError;
use crate::iommu::spec::features::{Efr, Efr2, Features};
use crate::iommu::spec::irte::{DestinationMode, IntType, IrteError};

const ARBITRATED: u32 = 0x100;
const SMI: u32 = 0x200;
const NMI: u32 = 0x400;
const INIT: u32 = 0x500;
const EXT_INT: u32 = 0x700;
/// Of the address.
const LOGICAL: u64 = 1 << 2;
/// Of Control.
const XT_EN: u64 = 1 << 50;

/// One message under one DTE, and one IRTE at the message's index.
struct Case {
    config: Config,
    control: u64,
    dte: [u64; 4],
    /// 32 bits, or 128 with GAEn.
    irte: u128,
    address: u64,
    data: u32,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            config: Config::default(),
            control: RUN,
            dte: dte_remap(TABLE, 9),
            irte: irte32(5, 0x31).into(),
            address: 0xfee0_0000,
            data: 3,
        }
    }
}

/// What becomes of a message, and the events.
type Short = (Result<String, BlockReason>, Vec<String>);

impl Case {
    fn dte2(bits: u64) -> Self {
        Self {
            dte: [3, 0x5e, bits, 0],
            ..Self::default()
        }
    }

    /// 128-bit entries.
    fn ga(irte: u128) -> Self {
        Self {
            control: RUN | GA_EN,
            irte,
            ..Self::default()
        }
    }

    /// Tables of up to 2048 entries, this one of `1 << length`.
    fn wide(length: u64) -> Self {
        let features = Features::new(Efr::from_bits(0xc0), Efr2::from_bits(1 << 8)).unwrap();
        Self {
            config: Config {
                features,
                ..Config::default()
            },
            control: RUN | 1 << 43,
            dte: dte_remap(TABLE, length),
            address: 0xfee0_0000 | LOGICAL,
            ..Self::default()
        }
    }

    fn policies(mut self, change: impl FnOnce(&mut Policies)) -> Self {
        change(&mut self.config.policies);
        self
    }

    /// Sends the message.
    fn ask(self) -> (Rig, Answer) {
        let rig = Rig::with(self.config, self.control);
        rig.set_dte(RID, self.dte);
        let index = u64::from(self.data & 0x7ff);
        if self.control & GA_EN == 0 {
            rig.set_irte32(index, self.irte as u32);
        } else {
            rig.set_irte128(index, [self.irte as u64, (self.irte >> 64) as u64]);
        }
        let request = InterruptRequest {
            requester: RID,
            address: self.address,
            data: self.data,
        };
        let answer = rig.ask(&request);
        (rig, answer)
    }

    /// The outcome in short: `forwarded`, `5:31` (destination and vector) or the reason; then the event. The caches
    /// must give the same afterwards.
    fn outcome(self) -> Short {
        let (rig, Answer { request, outcome, .. }) = self.ask();
        let short = match outcome {
            Outcome::Forwarded { address, data } => {
                assert_eq!(
                    (address, data),
                    (request.address, request.data),
                    "forwarded bit-exact"
                );
                Ok("forwarded".to_owned())
            }
            Outcome::Remapped(i) => Ok(format!("{:x}:{:02x}", i.destination(), i.vector())),
            Outcome::Posted(to) => Ok(format!("posted to {:x}", to.backing_page)),
            Outcome::Blocked { reason, event } => {
                let logged = rig.run();
                let expected = event.map(|event| Step::EventWritten { event, offset: 0 });
                assert_eq!(logged, expected.into_iter().collect::<Vec<_>>());
                Err(reason)
            }
        };
        let events = rig.event_lines();
        for _ in 0..2 {
            assert_eq!(rig.outcome(&request), outcome, "by the caches");
        }
        (short, events)
    }
}

fn forwarded() -> Short {
    (Ok("forwarded".to_owned()), vec![])
}

fn remapped(to: &str) -> Short {
    (Ok(to.to_owned()), vec![])
}

fn silent(reason: BlockReason) -> Short {
    (Err(reason), vec![])
}

fn reported(reason: BlockReason, event: &str) -> Short {
    (Err(reason), vec![event.to_owned()])
}

/// An IO_PAGE_FAULT for index 3.
fn fault(reason: BlockReason, flags: &str) -> Short {
    let line = format!("IO_PAGE_FAULT device=41:00.0 domain=0x005e address=0xfffffffdf8030000 flags={flags}");
    (Err(reason), vec![line])
}

fn illegal_dte(error: DteError, flags: &str) -> Short {
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

fn with(mut dte: [u64; 4], bits: u64) -> [u64; 4] {
    dte[2] |= bits;
    dte
}

mod action_table;
mod device_table;
mod entries;
