//! What can be wrong with a TLP.

/// No TLP can be made of what is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Requests stay within 4 KiB (2.2.7).
    #[error("{bytes} bytes at {address:#x} cross a 4 KiB boundary")]
    CrossesPage {
        /// Of the first byte.
        address: u64,
        /// How many.
        bytes: usize,
    },
    /// Posted requests and completions are not answered.
    #[error("only reads and configuration requests have a completion")]
    Posted,
    /// The data are not the DWs that the request asks for.
    #[error("a completion with {have} bytes of data, must have {need}")]
    CompletionLength {
        /// Bytes given.
        have: usize,
        /// Bytes that the request and the status call for.
        need: usize,
    },
}

/// A rule of the specification that a TLP breaks, on the wire or as a value: a Malformed TLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// 2.2.5.
    #[error(
        "byte enables first {first:04b}, last {last:04b} are not allowed for {dwords} DW at {address:#x}"
    )]
    ByteEnables {
        /// Of the first DW.
        first: u8,
        /// Of the last DW.
        last: u8,
        /// Length.
        dwords: usize,
        /// Of the first DW.
        address: u64,
    },
    /// 2.2.7.
    #[error("{dwords} DW at {address:#x} cross a 4 KiB boundary")]
    CrossesPage {
        /// Of the first DW.
        address: u64,
        /// Length.
        dwords: usize,
    },
    /// 2.2.7: a configuration request has TC 0.
    #[error("a configuration request has traffic class {0}, must be 0")]
    ConfigTrafficClass(u8),
    /// 2.2.7: a configuration request has Attr\[1:0\] 0.
    #[error("a configuration request has attributes {0:02b}, must be 0")]
    ConfigAttributes(u8),
    /// 2.2.9: only a successful completion carries data.
    #[error("a completion with data has a status other than Successful")]
    DataWithoutSuccess,
    /// 2.3.1.1: a completion's data go beyond its byte count.
    #[error(
        "a completion has {dwords} DW but a byte count of {byte_count} from lower address {lower_address:#x}"
    )]
    ByteCount {
        /// Length.
        dwords: usize,
        /// Byte Count.
        byte_count: u16,
        /// Lower Address.
        lower_address: u8,
    },
}

/// Bytes that are not a TLP, or not one that is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the header has.
    #[error("TLP header of {need} bytes is cut off after {have}")]
    Truncated {
        /// Bytes given.
        have: usize,
        /// Bytes of the header as far as it is known.
        need: usize,
    },
    /// Header, payload and digest are not what is there.
    #[error("TLP is {have} bytes long, its header says {need}")]
    LengthMismatch {
        /// Bytes given.
        have: usize,
        /// Bytes of header, payload and digest.
        need: usize,
    },
    /// A kind that exists, but is not carried.
    #[error("{kind} TLPs are not supported (Fmt/Type {fmt_type:#04x})")]
    Unsupported {
        /// Its name.
        kind: &'static str,
        /// Byte 0.
        fmt_type: u8,
    },
    /// Fmt and Type are no combination of the specification (2.2.1).
    #[error("Fmt/Type {0:#04x} is not defined")]
    UnknownType(u8),
    /// 2.2.4.1: below 4 GiB the header must have 3 DW.
    #[error("a 4 DW header has the address {0:#x}, which is below 4 GiB")]
    FourDwBelow4Gib(u64),
    /// 2.2.7: a configuration request is one DW long.
    #[error("a configuration request has a length of {0} DW, must be 1")]
    ConfigLength(u16),
    /// 2.2.7: a configuration request has last byte enables 0.
    #[error("a configuration request has last byte enables {0:04b}, must be 0")]
    ConfigLastByteEnables(u8),
    /// A rule that values have to keep too.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// A value that has no encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field does not have that value.
    #[error("TLP field {field} can't be {value:#x}: must be {must_be}")]
    Field {
        /// Its name in this crate.
        field: &'static str,
        /// As given.
        value: u64,
        /// What it can be.
        must_be: &'static str,
    },
    /// The payload is not whole DWs, or too long, or missing.
    #[error("TLP payload of {0} bytes: must be whole DWs, at most 4096 bytes, and a write has at least one")]
    PayloadLength(usize),
    /// A rule that the wire has to keep too.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}
