//! Rules that hold for values and for bytes alike.

use super::{Attributes, Body, Malformed, Tlp};

impl Tlp {
    /// Checks the rules that one field alone can't break.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        let attributes = &self.attributes;
        match &self.body {
            Body::MemRead(r) => {
                let dwords = usize::from(r.length);
                page(r.address, dwords)?;
                // With processing hints the byte enables of a read are the steering tag (2.2.7.1).
                if attributes.processing_hints {
                    return Ok(());
                }
                byte_enables(r.address, dwords, r.first_be, r.last_be)
            }
            Body::MemWrite(w) => {
                let dwords = w.data.len() / 4;
                page(w.address, dwords)?;
                byte_enables(w.address, dwords, w.first_be, w.last_be)
            }
            Body::ConfigRead(_) | Body::ConfigWrite(_) => config(attributes),
            Body::Completion(c) => {
                if c.data.is_empty() {
                    return Ok(());
                }
                if c.status != super::CompletionStatus::Successful {
                    return Err(Malformed::DataWithoutSuccess);
                }
                let dwords = c.data.len() / 4;
                let needed = (usize::from(c.lower_address & 3) + usize::from(c.byte_count)).div_ceil(4);
                if dwords > needed {
                    let (byte_count, lower_address) = (c.byte_count, c.lower_address);
                    return Err(Malformed::ByteCount {
                        dwords,
                        byte_count,
                        lower_address,
                    });
                }
                Ok(())
            }
            Body::Message(_) => Ok(()),
        }
    }
}

fn page(address: u64, dwords: usize) -> Result<(), Malformed> {
    if (address & 0xfff) as usize + dwords * 4 > 4096 {
        return Err(Malformed::CrossesPage { address, dwords });
    }
    Ok(())
}

/// 2.2.5: one DW takes any first byte enables and no last; two DWs on an 8-byte boundary take any but none; otherwise
/// the enabled bytes are contiguous across the DWs.
fn byte_enables(address: u64, dwords: usize, first: u8, last: u8) -> Result<(), Malformed> {
    let allowed = match dwords {
        1 => last == 0,
        2 if address.is_multiple_of(8) => first != 0 && last != 0,
        _ => matches!(first, 0xf | 0xe | 0xc | 0x8) && matches!(last, 0xf | 0x7 | 0x3 | 0x1),
    };
    if !allowed {
        return Err(Malformed::ByteEnables {
            first,
            last,
            dwords,
            address,
        });
    }
    Ok(())
}

fn config(attributes: &Attributes) -> Result<(), Malformed> {
    if attributes.traffic_class != 0 {
        return Err(Malformed::ConfigTrafficClass(attributes.traffic_class));
    }
    let attr = u8::from(attributes.relaxed_ordering) << 1 | u8::from(attributes.no_snoop);
    if attr != 0 {
        return Err(Malformed::ConfigAttributes(attr));
    }
    Ok(())
}
