//! From the bytes of the wire to a TLP.

use smallvec::SmallVec;

use super::raw::*;
use super::{
    AddressType, Attributes, Body, Completion, CompletionStatus, ConfigRead, ConfigType, ConfigWrite,
    DecodeError, MemRead, MemWrite, Message, Tlp,
};
use crate::RequesterId;

/// Reads one TLP that fills `bytes`.
///
/// Reserved bits are ignored, as the specification demands of receivers (2.2.1), and so is AT outside memory
/// requests.
///
/// # Errors
///
/// Not a TLP, cut off or too long, of a kind that is not carried, or malformed.
pub fn decode(bytes: &[u8]) -> Result<Tlp, DecodeError> {
    let truncated = |need| {
        Err(DecodeError::Truncated {
            have: bytes.len(),
            need,
        })
    };
    if bytes.len() < 4 {
        return truncated(12);
    }
    let header = RawHeader::read(bytes);
    let common = Common::from_bits(header.dword(0));
    let kind = Kind::new(bytes[0], common)?;
    let header_len = if common.fmt() & FMT_4DW != 0 { 16 } else { 12 };
    if bytes.len() < header_len {
        return truncated(header_len);
    }
    // Length is reserved where there are no data, except in reads.
    let length = if common.length() == 0 {
        1024
    } else {
        common.length()
    };
    let data_len = if common.fmt() & FMT_DATA != 0 {
        usize::from(length) * 4
    } else {
        0
    };
    let need = header_len + data_len + if common.td() { 4 } else { 0 };
    if bytes.len() != need {
        return Err(DecodeError::LengthMismatch {
            have: bytes.len(),
            need,
        });
    }
    let (data, digest) = bytes[header_len..].split_at(data_len);
    let attributes = Attributes {
        traffic_class: common.tc(),
        no_snoop: common.no_snoop(),
        relaxed_ordering: common.relaxed_ordering(),
        id_based_ordering: common.id_based_ordering(),
        poisoned: common.ep(),
        lightweight_notification: common.ln(),
        digest: digest.try_into().ok().map(u32::from_be_bytes),
        ..Attributes::default()
    };
    let tlp = match kind {
        Kind::Memory => memory(attributes, common, header, length, data)?,
        Kind::Config(config_type) => config(attributes, common, header, length, config_type, data)?,
        Kind::Completion => completion(attributes, common, header, data),
        Kind::Message => message(attributes, common, header, data),
    };
    tlp.check()?;
    Ok(tlp)
}

enum Kind {
    Memory,
    Config(ConfigType),
    Completion,
    Message,
}

impl Kind {
    fn new(fmt_type: u8, common: Common) -> Result<Self, DecodeError> {
        let fmt = common.fmt();
        let unsupported = |kind| Err(DecodeError::Unsupported { kind, fmt_type });
        if fmt == FMT_PREFIX {
            return unsupported("prefixed");
        }
        let (four_dw, data) = (fmt & FMT_4DW != 0, fmt & FMT_DATA != 0);
        match common.ty() {
            _ if fmt > FMT_PREFIX => Err(DecodeError::UnknownType(fmt_type)),
            TYPE_MEM => Ok(Self::Memory),
            TYPE_MEM_LOCKED if !data => unsupported("locked memory read"),
            TYPE_IO if !four_dw => unsupported("I/O"),
            TYPE_CFG0 if !four_dw => Ok(Self::Config(ConfigType::Type0)),
            TYPE_CFG1 if !four_dw => Ok(Self::Config(ConfigType::Type1)),
            TYPE_CPL if !four_dw => Ok(Self::Completion),
            TYPE_CPL_LOCKED if !four_dw => unsupported("locked completion"),
            TYPE_FETCH_ADD | TYPE_SWAP | TYPE_CAS if data => unsupported("AtomicOp"),
            ty if ty & 0b1_1000 == TYPE_MSG && four_dw => Ok(Self::Message),
            _ => Err(DecodeError::UnknownType(fmt_type)),
        }
    }
}

fn memory(
    attributes: Attributes,
    common: Common,
    header: RawHeader,
    length: u16,
    data: &[u8],
) -> Result<Tlp, DecodeError> {
    let raw = if common.fmt() & FMT_4DW != 0 {
        let raw = u64::from(header.dword(2)) << 32 | u64::from(header.dword(3));
        if raw >> 32 == 0 {
            return Err(DecodeError::FourDwBelow4Gib(raw & !3));
        }
        raw
    } else {
        u64::from(header.dword(2))
    };
    let attributes = Attributes {
        processing_hints: common.th(),
        processing_hint: if common.th() { (raw & 3) as u8 } else { 0 },
        address_type: match common.at() {
            0b00 => AddressType::Untranslated,
            0b01 => AddressType::TranslationRequest,
            0b10 => AddressType::Translated,
            _ => AddressType::Reserved,
        },
        ..attributes
    };
    let request = Request::from_bits(header.dword(1));
    let requester = RequesterId(request.requester());
    let tag = tag(common, request.tag());
    let address = raw & !3;
    let (first_be, last_be) = (request.first_be(), request.last_be());
    let body = if common.fmt() & FMT_DATA != 0 {
        let data = SmallVec::from_slice(data);
        Body::MemWrite(MemWrite {
            requester,
            tag,
            address,
            first_be,
            last_be,
            data,
        })
    } else {
        Body::MemRead(MemRead {
            requester,
            tag,
            address,
            length,
            first_be,
            last_be,
        })
    };
    Ok(Tlp { attributes, body })
}

fn config(
    attributes: Attributes,
    common: Common,
    header: RawHeader,
    length: u16,
    config_type: ConfigType,
    data: &[u8],
) -> Result<Tlp, DecodeError> {
    let request = Request::from_bits(header.dword(1));
    if length != 1 {
        return Err(DecodeError::ConfigLength(length));
    }
    if request.last_be() != 0 {
        return Err(DecodeError::ConfigLastByteEnables(request.last_be()));
    }
    let destination = ConfigTarget::from_bits(header.dword(2));
    let requester = RequesterId(request.requester());
    let tag = tag(common, request.tag());
    let target = RequesterId(destination.target());
    let register = destination.register() * 4;
    let first_be = request.first_be();
    let body = match data.try_into() {
        Ok(data) => Body::ConfigWrite(ConfigWrite {
            config_type,
            requester,
            tag,
            target,
            register,
            first_be,
            data,
        }),
        Err(_) => Body::ConfigRead(ConfigRead {
            config_type,
            requester,
            tag,
            target,
            register,
            first_be,
        }),
    };
    let attributes = Attributes {
        id_based_ordering: false,
        lightweight_notification: false,
        ..attributes
    };
    Ok(Tlp { attributes, body })
}

fn completion(attributes: Attributes, common: Common, header: RawHeader, data: &[u8]) -> Tlp {
    let source = CompletionSource::from_bits(header.dword(1));
    let target = CompletionTarget::from_bits(header.dword(2));
    let body = Body::Completion(Completion {
        completer: RequesterId(source.completer()),
        status: match source.status() {
            0b000 => CompletionStatus::Successful,
            0b010 => CompletionStatus::ConfigRetry,
            0b100 => CompletionStatus::CompleterAbort,
            _ => CompletionStatus::UnsupportedRequest,
        },
        bcm: source.bcm(),
        byte_count: if source.byte_count() == 0 {
            4096
        } else {
            source.byte_count()
        },
        requester: RequesterId(target.requester()),
        tag: tag(common, target.tag()),
        lower_address: target.lower_address(),
        data: SmallVec::from_slice(data),
    });
    Tlp { attributes, body }
}

fn message(attributes: Attributes, common: Common, header: RawHeader, data: &[u8]) -> Tlp {
    let source = MessageSource::from_bits(header.dword(1));
    let fields = u64::from(header.dword(2)) << 32 | u64::from(header.dword(3));
    let body = Body::Message(Message {
        requester: RequesterId(source.requester()),
        tag: tag(common, source.tag()),
        routing: common.ty() & 7,
        code: source.code(),
        fields: fields.to_be_bytes(),
        data: SmallVec::from_slice(data),
    });
    Tlp {
        attributes: Attributes {
            lightweight_notification: false,
            ..attributes
        },
        body,
    }
}

fn tag(common: Common, low: u8) -> u16 {
    u16::from(common.tag_9()) << 9 | u16::from(common.tag_8()) << 8 | u16::from(low)
}
