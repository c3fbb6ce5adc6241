//! Byte ranges as TLPs: alignment, padding and byte enables.

use smallvec::SmallVec;

use super::{AccessError, Attributes, Body, Completion, CompletionStatus, MemRead, MemWrite, Payload, Tlp};
use crate::RequesterId;

/// The DWs that hold a byte range.
struct Range {
    address: u64,
    length: u16,
    first_be: u8,
    last_be: u8,
    /// Bytes of the first DW before the range.
    before: usize,
}

impl Range {
    fn new(address: u64, bytes: usize) -> Result<Self, AccessError> {
        let before = (address & 3) as usize;
        if bytes > 4096 || (address & 0xfff) as usize + bytes > 4096 {
            return Err(AccessError::CrossesPage { address, bytes });
        }
        let length = (before + bytes).div_ceil(4).max(1);
        let from_first = 0xf << before & 0xf;
        let to_last = 0xf >> (length * 4 - before - bytes).min(4);
        let (first_be, last_be) = if length == 1 {
            (from_first & to_last, 0)
        } else {
            (from_first, to_last)
        };
        Ok(Self {
            address: address & !3,
            length: length as u16,
            first_be,
            last_be,
            before,
        })
    }
}

impl Tlp {
    /// Writes `bytes` at any byte address, tag 0. No bytes: a write that enables none.
    ///
    /// # Errors
    ///
    /// The bytes are not within one 4 KiB page.
    pub fn mem_write(requester: RequesterId, address: u64, bytes: &[u8]) -> Result<Self, AccessError> {
        let range = Range::new(address, bytes.len())?;
        let mut data: Payload = SmallVec::from_elem(0, usize::from(range.length) * 4);
        data[range.before..][..bytes.len()].copy_from_slice(bytes);
        let Range {
            address,
            first_be,
            last_be,
            ..
        } = range;
        Ok(Body::MemWrite(MemWrite {
            requester,
            tag: 0,
            address,
            first_be,
            last_be,
            data,
        })
        .into())
    }

    /// Reads `bytes` bytes at any byte address. None: a zero-length read, which flushes (2.2.5).
    ///
    /// # Errors
    ///
    /// The bytes are not within one 4 KiB page.
    pub fn mem_read(
        requester: RequesterId,
        tag: u16,
        address: u64,
        bytes: usize,
    ) -> Result<Self, AccessError> {
        let Range {
            address,
            length,
            first_be,
            last_be,
            ..
        } = Range::new(address, bytes)?;
        Ok(Body::MemRead(MemRead {
            requester,
            tag,
            address,
            length,
            first_be,
            last_be,
        })
        .into())
    }
}

impl MemWrite {
    /// What is written, upwards: the address of each run of enabled bytes, and the bytes.
    pub fn runs(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let len = self.data.len();
        let enabled = move |i: usize| match i / 4 {
            0 => self.first_be >> i & 1 != 0,
            n if n == len / 4 - 1 => self.last_be >> (i % 4) & 1 != 0,
            _ => true,
        };
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = (next..len).find(|&i| enabled(i))?;
            let end = (start..len).find(|&i| !enabled(i)).unwrap_or(len);
            next = end;
            Some((self.address + start as u64, &self.data[start..end]))
        })
    }

    /// What is written, upwards: each enabled byte with its address.
    pub fn bytes(&self) -> impl Iterator<Item = (u64, u8)> {
        self.runs()
            .flat_map(|(address, run)| (address..).zip(run.iter().copied()))
    }
}

impl MemRead {
    /// Address of the first enabled byte, and how many from there to the last (2.3.1.1, table 2-36).
    pub fn byte_range(&self) -> (u64, u16) {
        if self.first_be == 0 {
            return (self.address, 1);
        }
        let before = self.first_be.trailing_zeros() as u16;
        let last = if self.length == 1 {
            self.first_be
        } else {
            self.last_be
        };
        let after = (last << 4).leading_zeros() as u16;
        (self.address + u64::from(before), self.length * 4 - before - after)
    }
}

impl Tlp {
    /// The one completion that answers this request in full, with the request's ID, tag, TC and Attr (2.2.9).
    /// `data` are the whole DWs that a read asks for, whichever bytes it enables; empty unless `Successful`.
    ///
    /// # Errors
    ///
    /// The request is posted, or `data` has another length than the answer must have.
    pub fn completion(
        &self,
        completer: RequesterId,
        status: CompletionStatus,
        data: &[u8],
    ) -> Result<Self, AccessError> {
        let (dwords, byte_count, lower_address) = match &self.body {
            Body::MemRead(r) => {
                let (address, count) = r.byte_range();
                (usize::from(r.length), count, (address & 0x7f) as u8)
            }
            Body::ConfigRead(_) => (1, 4, 0),
            Body::ConfigWrite(_) => (0, 4, 0),
            Body::MemWrite(_) | Body::Completion(_) | Body::Message(_) => return Err(AccessError::Posted),
        };
        let need = if status == CompletionStatus::Successful {
            dwords * 4
        } else {
            0
        };
        if data.len() != need {
            return Err(AccessError::CompletionLength {
                have: data.len(),
                need,
            });
        }
        let attributes = Attributes {
            traffic_class: self.attributes.traffic_class,
            no_snoop: self.attributes.no_snoop,
            relaxed_ordering: self.attributes.relaxed_ordering,
            id_based_ordering: self.attributes.id_based_ordering,
            ..Attributes::default()
        };
        let body = Body::Completion(Completion {
            completer,
            status,
            bcm: false,
            byte_count,
            requester: self.requester(),
            tag: self.tag(),
            lower_address,
            data: SmallVec::from_slice(data),
        });
        Ok(Self { attributes, body })
    }
}
