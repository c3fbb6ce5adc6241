//! From a TLP to the bytes of the wire.

use super::raw::*;
use super::{AddressType, Attributes, Body, CompletionStatus, ConfigType, EncodeError, MAX_PAYLOAD, Tlp};

/// Appends header, payload and digest to `out`; nothing if the TLP can't be encoded.
///
/// # Errors
///
/// A field is out of range, must be zero for this kind of TLP, or breaks a rule of the specification.
pub fn encode(tlp: &Tlp, out: &mut impl Extend<u8>) -> Result<(), EncodeError> {
    fields(tlp)?;
    tlp.check()?;
    let header = RawHeader::new(header(tlp));
    out.extend(bytemuck::bytes_of(&header)[..tlp.header_len()].iter().copied());
    out.extend(tlp.data().iter().copied());
    if let Some(digest) = tlp.attributes.digest {
        out.extend(digest.to_be_bytes());
    }
    Ok(())
}

/// The header's DWs of a TLP that has been checked.
fn header(tlp: &Tlp) -> [u32; 4] {
    let a = &tlp.attributes;
    let tag = tlp.tag();
    let (ty, length) = match &tlp.body {
        Body::MemRead(r) => (TYPE_MEM, usize::from(r.length)),
        Body::MemWrite(w) => (TYPE_MEM, w.data.len() / 4),
        Body::ConfigRead(r) => (config_type(r.config_type), 1),
        Body::ConfigWrite(w) => (config_type(w.config_type), 1),
        Body::Completion(c) => (TYPE_CPL, c.data.len() / 4),
        Body::Message(m) => (TYPE_MSG | m.routing, m.data.len() / 4),
    };
    let data = if tlp.data().is_empty() { 0 } else { FMT_DATA };
    let four_dw = if tlp.header_len() == 16 { FMT_4DW } else { 0 };
    let common = Common::new()
        .with_fmt(data | four_dw)
        .with_ty(ty)
        .with_tag_9(tag & 0x200 != 0)
        .with_tc(a.traffic_class)
        .with_tag_8(tag & 0x100 != 0)
        .with_id_based_ordering(a.id_based_ordering)
        .with_ln(a.lightweight_notification)
        .with_th(a.processing_hints)
        .with_td(a.digest.is_some())
        .with_ep(a.poisoned)
        .with_relaxed_ordering(a.relaxed_ordering)
        .with_no_snoop(a.no_snoop)
        .with_at(address_type(a.address_type))
        .with_length((length & 0x3ff) as u16);
    let request = Request::new()
        .with_requester(tlp.requester().0)
        .with_tag(tag as u8);
    let [dw1, dw2, dw3] = match &tlp.body {
        Body::MemRead(r) => {
            let request = request.with_first_be(r.first_be).with_last_be(r.last_be);
            memory(request, r.address | u64::from(a.processing_hint))
        }
        Body::MemWrite(w) => {
            let request = request.with_first_be(w.first_be).with_last_be(w.last_be);
            memory(request, w.address | u64::from(a.processing_hint))
        }
        Body::ConfigRead(r) => config(request.with_first_be(r.first_be), r.target.0, r.register),
        Body::ConfigWrite(w) => config(request.with_first_be(w.first_be), w.target.0, w.register),
        Body::Completion(c) => {
            let source = CompletionSource::new()
                .with_completer(c.completer.0)
                .with_status(status(c.status))
                .with_bcm(c.bcm)
                .with_byte_count(c.byte_count & 0xfff);
            let target = CompletionTarget::new()
                .with_requester(c.requester.0)
                .with_tag(tag as u8)
                .with_lower_address(c.lower_address);
            [source.into_bits(), target.into_bits(), 0]
        }
        Body::Message(m) => {
            let source = MessageSource::new()
                .with_requester(m.requester.0)
                .with_tag(tag as u8)
                .with_code(m.code);
            let fields = u64::from_be_bytes(m.fields);
            [source.into_bits(), (fields >> 32) as u32, fields as u32]
        }
    };
    [common.into_bits(), dw1, dw2, dw3]
}

fn memory(request: Request, address: u64) -> [u32; 3] {
    let (high, low) = ((address >> 32) as u32, address as u32);
    if high == 0 {
        [request.into_bits(), low, 0]
    } else {
        [request.into_bits(), high, low]
    }
}

fn config(request: Request, target: u16, register: u16) -> [u32; 3] {
    let target = ConfigTarget::new()
        .with_target(target)
        .with_register(register / 4);
    [request.into_bits(), target.into_bits(), 0]
}

fn config_type(config_type: ConfigType) -> u8 {
    match config_type {
        ConfigType::Type0 => TYPE_CFG0,
        ConfigType::Type1 => TYPE_CFG1,
    }
}

fn address_type(address_type: AddressType) -> u8 {
    match address_type {
        AddressType::Untranslated => 0b00,
        AddressType::TranslationRequest => 0b01,
        AddressType::Translated => 0b10,
        AddressType::Reserved => 0b11,
    }
}

fn status(status: CompletionStatus) -> u8 {
    match status {
        CompletionStatus::Successful => 0b000,
        CompletionStatus::UnsupportedRequest => 0b001,
        CompletionStatus::ConfigRetry => 0b010,
        CompletionStatus::CompleterAbort => 0b100,
    }
}

/// Refuses what does not fit its field or has no place in this kind of TLP.
fn fields(tlp: &Tlp) -> Result<(), EncodeError> {
    let a = &tlp.attributes;
    max("traffic_class", a.traffic_class, 7, "at most 7")?;
    max("tag", tlp.tag(), 0x3ff, "at most 0x3ff")?;
    match &tlp.body {
        Body::MemRead(r) => {
            memory_attributes(a)?;
            aligned("address", r.address)?;
            require((1..=1024).contains(&r.length), "length", r.length, "1 to 1024")?;
            max("first_be", r.first_be, 0xf, "at most 0xf")?;
            max("last_be", r.last_be, 0xf, "at most 0xf")
        }
        Body::MemWrite(w) => {
            memory_attributes(a)?;
            aligned("address", w.address)?;
            max("first_be", w.first_be, 0xf, "at most 0xf")?;
            max("last_be", w.last_be, 0xf, "at most 0xf")?;
            if w.data.is_empty() {
                return Err(EncodeError::PayloadLength(0));
            }
            payload(&w.data)
        }
        Body::ConfigRead(r) => config_fields(a, r.register, r.first_be),
        Body::ConfigWrite(w) => config_fields(a, w.register, w.first_be),
        Body::Completion(c) => {
            no_memory_attributes(a)?;
            require(
                (1..=4096).contains(&c.byte_count),
                "byte_count",
                c.byte_count,
                "1 to 4096",
            )?;
            max("lower_address", c.lower_address, 0x7f, "at most 0x7f")?;
            payload(&c.data)
        }
        Body::Message(m) => {
            no_memory_attributes(a)?;
            no_notification(a)?;
            max("routing", m.routing, 7, "at most 7")?;
            payload(&m.data)
        }
    }
}

fn config_fields(a: &Attributes, register: u16, first_be: u8) -> Result<(), EncodeError> {
    no_memory_attributes(a)?;
    no_notification(a)?;
    let must_be = "0 for a configuration request";
    require(
        !a.id_based_ordering,
        "id_based_ordering",
        a.id_based_ordering,
        must_be,
    )?;
    max("register", register, 0xffc, "a multiple of 4 below 4096")?;
    require(
        register.is_multiple_of(4),
        "register",
        register,
        "a multiple of 4 below 4096",
    )?;
    max("first_be", first_be, 0xf, "at most 0xf")
}

fn memory_attributes(a: &Attributes) -> Result<(), EncodeError> {
    let (most, must_be) = if a.processing_hints {
        (3, "at most 3")
    } else {
        (0, "0 without processing_hints")
    };
    max("processing_hint", a.processing_hint, most, must_be)
}

fn no_memory_attributes(a: &Attributes) -> Result<(), EncodeError> {
    let must_be = "0 except in memory requests";
    require(
        !a.processing_hints,
        "processing_hints",
        a.processing_hints,
        must_be,
    )?;
    max("processing_hint", a.processing_hint, 0, must_be)?;
    max("address_type", address_type(a.address_type), 0, must_be)
}

fn no_notification(a: &Attributes) -> Result<(), EncodeError> {
    let must_be = "0 except in memory requests and completions";
    require(
        !a.lightweight_notification,
        "lightweight_notification",
        a.lightweight_notification,
        must_be,
    )
}

fn payload(data: &[u8]) -> Result<(), EncodeError> {
    if data.len() > MAX_PAYLOAD || !data.len().is_multiple_of(4) {
        return Err(EncodeError::PayloadLength(data.len()));
    }
    Ok(())
}

fn aligned(field: &'static str, value: u64) -> Result<(), EncodeError> {
    require(value.is_multiple_of(4), field, value, "a multiple of 4")
}

fn max(
    field: &'static str,
    value: impl Into<u64>,
    most: u64,
    must_be: &'static str,
) -> Result<(), EncodeError> {
    let value = value.into();
    require(value <= most, field, value, must_be)
}

fn require(
    holds: bool,
    field: &'static str,
    value: impl Into<u64>,
    must_be: &'static str,
) -> Result<(), EncodeError> {
    if !holds {
        return Err(EncodeError::Field {
            field,
            value: value.into(),
            must_be,
        });
    }
    Ok(())
}
