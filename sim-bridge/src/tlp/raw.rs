//! Header layouts: DWs as the wire has them, most significant bit first (PCIe Base spec 4.0 2.2.1 and 2.2.7 to 2.2.9).

use bitfield_struct::bitfield;
use bytemuck::{Pod, Zeroable};

/// Up to 4 header DWs in wire order.
#[repr(transparent)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct RawHeader(pub [[u8; 4]; 4]);

impl RawHeader {
    pub fn new(dwords: [u32; 4]) -> Self {
        Self(dwords.map(u32::to_be_bytes))
    }

    /// The header at the start of `bytes`; what is not there is zero.
    pub fn read(bytes: &[u8]) -> Self {
        let mut header = Self::zeroed();
        let n = bytes.len().min(16);
        bytemuck::bytes_of_mut(&mut header)[..n].copy_from_slice(&bytes[..n]);
        header
    }

    pub fn dword(&self, n: usize) -> u32 {
        u32::from_be_bytes(self.0[n])
    }
}

/// Bit 0 of Fmt: 4 DW header. Bit 1: with data. 4: prefix.
pub(super) const FMT_4DW: u8 = 1;
pub(super) const FMT_DATA: u8 = 2;
pub(super) const FMT_PREFIX: u8 = 4;

pub(super) const TYPE_MEM: u8 = 0b0_0000;
pub(super) const TYPE_MEM_LOCKED: u8 = 0b0_0001;
pub(super) const TYPE_IO: u8 = 0b0_0010;
pub(super) const TYPE_CFG0: u8 = 0b0_0100;
pub(super) const TYPE_CFG1: u8 = 0b0_0101;
pub(super) const TYPE_CPL: u8 = 0b0_1010;
pub(super) const TYPE_CPL_LOCKED: u8 = 0b0_1011;
pub(super) const TYPE_FETCH_ADD: u8 = 0b0_1100;
pub(super) const TYPE_SWAP: u8 = 0b0_1101;
pub(super) const TYPE_CAS: u8 = 0b0_1110;
/// Low three bits: routing.
pub(super) const TYPE_MSG: u8 = 0b1_0000;

/// DW 0 of every header.
#[bitfield(u32)]
pub(super) struct Common {
    /// 0 means 1024.
    #[bits(10)]
    pub length: u16,
    #[bits(2)]
    pub at: u8,
    pub no_snoop: bool,
    pub relaxed_ordering: bool,
    pub ep: bool,
    pub td: bool,
    pub th: bool,
    pub ln: bool,
    pub id_based_ordering: bool,
    pub tag_8: bool,
    #[bits(3)]
    pub tc: u8,
    pub tag_9: bool,
    #[bits(5)]
    pub ty: u8,
    #[bits(3)]
    pub fmt: u8,
}

/// DW 1 of memory and configuration requests.
#[bitfield(u32)]
pub(super) struct Request {
    #[bits(4)]
    pub first_be: u8,
    #[bits(4)]
    pub last_be: u8,
    pub tag: u8,
    pub requester: u16,
}

/// DW 2 of configuration requests.
#[bitfield(u32)]
pub(super) struct ConfigTarget {
    #[bits(2)]
    __: u8,
    /// Extended Register Number and Register Number: the offset in DWs.
    #[bits(10)]
    pub register: u16,
    #[bits(4)]
    __: u8,
    pub target: u16,
}

/// DW 1 of completions.
#[bitfield(u32)]
pub(super) struct CompletionSource {
    /// 0 means 4096.
    #[bits(12)]
    pub byte_count: u16,
    pub bcm: bool,
    #[bits(3)]
    pub status: u8,
    pub completer: u16,
}

/// DW 2 of completions.
#[bitfield(u32)]
pub(super) struct CompletionTarget {
    #[bits(7)]
    pub lower_address: u8,
    __: bool,
    pub tag: u8,
    pub requester: u16,
}

/// DW 1 of messages.
#[bitfield(u32)]
pub(super) struct MessageSource {
    pub code: u8,
    pub tag: u8,
    pub requester: u16,
}
