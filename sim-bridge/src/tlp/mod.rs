//! Transaction layer packets, as PCIe Base spec 4.0 chapter 2 has them (section numbers below are its).
//!
//! [`encode`] and [`decode`] translate between [`Tlp`] and the bytes of the wire: header DWs with byte 0 (Fmt/Type)
//! first, then the payload, then the digest. Not carried: prefixes, I/O, AtomicOps and locked requests.
//!
//! ```
//! use sim_bridge::RequesterId;
//! use sim_bridge::tlp::{Tlp, decode, encode};
//!
//! let interrupt = Tlp::mem_write(RequesterId::new(0x41, 0, 0), 0xfee0_0000, &[0x22, 0, 0, 0])?;
//! assert_eq!(interrupt.to_string(), "MWr 41:00.0 0xfee00000 [22000000]");
//! let mut wire = Vec::new();
//! encode(&interrupt, &mut wire)?;
//! assert_eq!(decode(&wire)?, interrupt);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod decode;
mod display;
mod encode;
mod error;
mod raw;
mod rules;

pub use decode::decode;
pub use encode::encode;
pub use error::{AccessError, DecodeError, EncodeError, Malformed};
use smallvec::SmallVec;

use crate::RequesterId;

/// Payload bytes in the order of memory; small ones need no allocation.
pub type Payload = SmallVec<[u8; 32]>;

/// Longest payload, in bytes (2.2.2).
pub const MAX_PAYLOAD: usize = 4096;

/// Longest encoding: a header of 4 DW, the longest payload and a digest.
pub const MAX_ENCODED: usize = 16 + MAX_PAYLOAD + 4;

/// A transaction layer packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlp {
    /// What every header has.
    pub attributes: Attributes,
    /// What it is, with the fields of its kind.
    pub body: Body,
}

/// Header fields common to all kinds (2.2.1). The default is all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// TC, 3 bits.
    pub traffic_class: u8,
    /// Attr\[0\].
    pub no_snoop: bool,
    /// Attr\[1\].
    pub relaxed_ordering: bool,
    /// Attr\[2\].
    pub id_based_ordering: bool,
    /// EP: the payload is known to be bad.
    pub poisoned: bool,
    /// LN: lightweight notification; memory requests and completions only.
    pub lightweight_notification: bool,
    /// TH; memory requests only. The steering tag is then in the tag of a write, in the byte enables of a read.
    pub processing_hints: bool,
    /// PH, 2 bits, in the low bits of the address; zero without `processing_hints`.
    pub processing_hint: u8,
    /// AT; memory requests only.
    pub address_type: AddressType,
    /// TD and the digest (ECRC), which is carried but not computed or checked.
    pub digest: Option<u32>,
}

/// AT of a memory request (10.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AddressType {
    /// 00b, an address that the IOMMU translates.
    #[default]
    Untranslated,
    /// 01b, an ATS translation request.
    TranslationRequest,
    /// 10b, an address that was translated by ATS.
    Translated,
    /// 11b.
    Reserved,
}

/// The kind of a TLP and its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// MRd.
    MemRead(MemRead),
    /// MWr.
    MemWrite(MemWrite),
    /// CfgRd0, CfgRd1.
    ConfigRead(ConfigRead),
    /// CfgWr0, CfgWr1.
    ConfigWrite(ConfigWrite),
    /// Cpl, CplD.
    Completion(Completion),
    /// Msg, MsgD.
    Message(Message),
}

/// Memory read request (2.2.7). The header has 4 DW if the address is 4 GiB or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemRead {
    /// Who asks.
    pub requester: RequesterId,
    /// 10 bits.
    pub tag: u16,
    /// Of the first DW, so a multiple of 4.
    pub address: u64,
    /// In DWs, 1 to 1024.
    pub length: u16,
    /// Bytes of the first DW, bit 0 the lowest address.
    pub first_be: u8,
    /// Bytes of the last DW; 0 if there is one DW only.
    pub last_be: u8,
}

/// Memory write request (2.2.7), posted. The header has 4 DW if the address is 4 GiB or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemWrite {
    /// Who writes.
    pub requester: RequesterId,
    /// 10 bits.
    pub tag: u16,
    /// Of the first DW, so a multiple of 4.
    pub address: u64,
    /// Bytes of the first DW, bit 0 the lowest address.
    pub first_be: u8,
    /// Bytes of the last DW; 0 if there is one DW only.
    pub last_be: u8,
    /// 1 to 1024 whole DWs, the bytes that are not enabled included.
    pub data: Payload,
}

/// Which configuration request: Type 0 is for the device itself, Type 1 for a bridge to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConfigType {
    /// CfgRd0, CfgWr0.
    Type0,
    /// CfgRd1, CfgWr1.
    Type1,
}

/// Configuration read request of one DW (2.2.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRead {
    /// Type 0 or 1.
    pub config_type: ConfigType,
    /// Who asks.
    pub requester: RequesterId,
    /// 10 bits.
    pub tag: u16,
    /// Whose configuration space.
    pub target: RequesterId,
    /// Byte offset, a multiple of 4 below 4096.
    pub register: u16,
    /// Bytes of the DW, bit 0 the lowest offset.
    pub first_be: u8,
}

/// Configuration write request of one DW (2.2.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigWrite {
    /// Type 0 or 1.
    pub config_type: ConfigType,
    /// Who writes.
    pub requester: RequesterId,
    /// 10 bits.
    pub tag: u16,
    /// Whose configuration space.
    pub target: RequesterId,
    /// Byte offset, a multiple of 4 below 4096.
    pub register: u16,
    /// Bytes of the DW, bit 0 the lowest offset.
    pub first_be: u8,
    /// The DW, lowest offset first.
    pub data: [u8; 4],
}

/// Completion status (2.2.9). A reserved value is taken as `UnsupportedRequest`, as 2.3.2 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompletionStatus {
    /// SC, 000b.
    Successful,
    /// UR, 001b.
    UnsupportedRequest,
    /// CRS, 010b.
    ConfigRetry,
    /// CA, 100b.
    CompleterAbort,
}

/// Completion (2.2.9), with data (CplD) or without (Cpl).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Who answers.
    pub completer: RequesterId,
    /// How it went.
    pub status: CompletionStatus,
    /// BCM, set by PCI-X completers only.
    pub bcm: bool,
    /// Bytes still to come, those of this completion included; 1 to 4096.
    pub byte_count: u16,
    /// Whose request.
    pub requester: RequesterId,
    /// Tag of the request, 10 bits.
    pub tag: u16,
    /// Low 7 bits of the address of the first enabled byte.
    pub lower_address: u8,
    /// Whole DWs; empty for Cpl. Only a successful completion has data.
    pub data: Payload,
}

/// Message request (2.2.8). The header always has 4 DW.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sends.
    pub requester: RequesterId,
    /// 10 bits.
    pub tag: u16,
    /// Routing, r\[2:0\] of the type.
    pub routing: u8,
    /// Message code.
    pub code: u8,
    /// Header bytes 8 to 15, which depend on the code.
    pub fields: [u8; 8],
    /// Whole DWs; empty for Msg.
    pub data: Payload,
}

impl From<Body> for Tlp {
    fn from(body: Body) -> Self {
        Self {
            attributes: Attributes::default(),
            body,
        }
    }
}

impl Tlp {
    /// Length of the header on the wire: 12 or 16 bytes.
    pub fn header_len(&self) -> usize {
        let four_dw = match &self.body {
            Body::MemRead(r) => r.address >> 32 != 0,
            Body::MemWrite(w) => w.address >> 32 != 0,
            Body::Message(_) => true,
            Body::ConfigRead(_) | Body::ConfigWrite(_) | Body::Completion(_) => false,
        };
        if four_dw { 16 } else { 12 }
    }

    /// The payload; empty for a TLP without data.
    pub fn data(&self) -> &[u8] {
        match &self.body {
            Body::MemWrite(w) => &w.data,
            Body::ConfigWrite(w) => &w.data,
            Body::Completion(c) => &c.data,
            Body::Message(m) => &m.data,
            Body::MemRead(_) | Body::ConfigRead(_) => &[],
        }
    }

    /// Who sent the request; for a completion, who asked.
    pub fn requester(&self) -> RequesterId {
        match &self.body {
            Body::MemRead(r) => r.requester,
            Body::MemWrite(w) => w.requester,
            Body::ConfigRead(r) => r.requester,
            Body::ConfigWrite(w) => w.requester,
            Body::Completion(c) => c.requester,
            Body::Message(m) => m.requester,
        }
    }

    /// The tag, 10 bits.
    pub fn tag(&self) -> u16 {
        match &self.body {
            Body::MemRead(r) => r.tag,
            Body::MemWrite(w) => w.tag,
            Body::ConfigRead(r) => r.tag,
            Body::ConfigWrite(w) => w.tag,
            Body::Completion(c) => c.tag,
            Body::Message(m) => m.tag,
        }
    }
}
