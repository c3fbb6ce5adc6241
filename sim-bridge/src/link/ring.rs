//! The rings: one side writes messages, the other reads them.
//!
//! A message is one head slot and the slots after it that its bytes need. Each slot starts with its position + 1, counted
//! from the start of the link; that of the head is stored last and releases the message. The reader tells the writer how
//! far it is through a word of its own ([`super::memory::Side::consumed`]).

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use bytemuck::{Pod, Zeroable};

use super::memory::{MIN_SLOTS, SLOT_WORDS, Slot};
use crate::tlp::MAX_ENCODED;

const HEAD_BYTES: usize = 32;
const MORE_BYTES: usize = 56;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The time is that of arrival; the bytes are a TLP.
    Tlp = 1,
    /// The time is the one before which nothing is sent.
    Promise = 2,
    /// The time is that of arrival; the last message.
    End = 3,
}

/// A message without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub kind: Kind,
    /// In picoseconds.
    pub time: u64,
    /// TLPs taken by the sender.
    pub consumed: u64,
}

/// First slot of a message.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Head {
    sequence: u64,
    time: u64,
    consumed: u64,
    kind: u8,
    /// Slots that follow.
    more: u8,
    /// Bytes in all slots.
    len: u16,
    /// Of all slots, with this field zero.
    check: u32,
    bytes: [u8; HEAD_BYTES],
}

/// A slot after the first.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct More {
    sequence: u64,
    bytes: [u8; MORE_BYTES],
}

const fn more_slots(len: usize) -> usize {
    len.saturating_sub(HEAD_BYTES).div_ceil(MORE_BYTES)
}

const _: () = assert!(2 * (1 + more_slots(MAX_ENCODED)) as u64 <= MIN_SLOTS);

/// Tells a message from one that somebody else wrote into; no more is asked of it.
#[derive(Default)]
struct Check(u64);

impl Check {
    fn add(&mut self, words: [u64; SLOT_WORDS]) {
        for word in words {
            // Each step is a bijection of the state, so one wrong word is never lost on the way.
            self.0 = (self.0 ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(32);
        }
    }

    fn value(&self) -> u32 {
        self.0 as u32
    }
}

/// What is wrong, and in which slot.
pub(super) type Corrupt = (&'static str, u64);

/// The writing end.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Slots written.
    position: u64,
    /// Of these, slots that the reader is known to be done with.
    consumed: u64,
}

impl Writer {
    /// Writes a message of at most `MAX_ENCODED` bytes; false if there is no room.
    pub fn write(
        &mut self,
        ring: &[Slot],
        consumed: &AtomicU64,
        message: Message,
        bytes: &[u8],
    ) -> Result<bool, Corrupt> {
        let more = more_slots(bytes.len());
        let size = ring.len() as u64;
        if self.position + 1 + more as u64 - self.consumed > size {
            self.refresh(size, consumed)?;
            if self.position + 1 + more as u64 - self.consumed > size {
                return Ok(false);
            }
        }
        let (in_head, in_more) = bytes.split_at(bytes.len().min(HEAD_BYTES));
        let mut check = Check::default();
        for (i, chunk) in in_more.chunks(MORE_BYTES).enumerate() {
            let position = self.position + 1 + i as u64;
            let mut slot = More {
                sequence: position + 1,
                bytes: [0; MORE_BYTES],
            };
            slot.bytes[..chunk.len()].copy_from_slice(chunk);
            let words: [u64; SLOT_WORDS] = bytemuck::cast(slot);
            check.add(words);
            for (word, value) in at(ring, position).iter().zip(words) {
                word.store(value, Relaxed);
            }
        }
        let mut head = Head {
            sequence: self.position + 1,
            time: message.time,
            consumed: message.consumed,
            kind: message.kind as u8,
            more: more as u8,
            len: bytes.len() as u16,
            check: 0,
            bytes: [0; HEAD_BYTES],
        };
        head.bytes[..in_head.len()].copy_from_slice(in_head);
        check.add(bytemuck::cast(head));
        head.check = check.value();
        let words: [u64; SLOT_WORDS] = bytemuck::cast(head);
        let slot = at(ring, self.position);
        for (word, value) in slot.iter().zip(words).skip(1) {
            word.store(value, Relaxed);
        }
        slot[0].store(words[0], Release);
        self.position += 1 + more as u64;
        Ok(true)
    }

    fn refresh(&mut self, size: u64, consumed: &AtomicU64) -> Result<(), Corrupt> {
        let now = consumed.load(Acquire);
        if now < self.consumed || now > self.position || self.position - now > size {
            return Err(("the reader's position is impossible", self.position));
        }
        self.consumed = now;
        Ok(())
    }
}

/// The reading end.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Slots read.
    position: u64,
}

impl Reader {
    /// Slots read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads the next message, if there is one, and leaves its bytes in `bytes`. The slots stay the reader's own until
    /// [`Self::release`].
    pub fn read(&mut self, ring: &[Slot], bytes: &mut Vec<u8>) -> Result<Option<Message>, Corrupt> {
        let position = self.position;
        let corrupt = |what| Err((what, position));
        let slot = at(ring, position);
        let sequence = slot[0].load(Acquire);
        if sequence != position + 1 {
            let empty = (position + 1).saturating_sub(ring.len() as u64);
            return if sequence == empty {
                Ok(None)
            } else {
                corrupt("the sequence number is impossible")
            };
        }
        let head: Head = bytemuck::cast(load(slot));
        let len = usize::from(head.len);
        if len > MAX_ENCODED || usize::from(head.more) != more_slots(len) {
            return corrupt("the length of the message is impossible");
        }
        let kind = match head.kind {
            1 => Kind::Tlp,
            2 if len == 0 => Kind::Promise,
            3 if len == 0 => Kind::End,
            _ => return corrupt("the kind of message is unknown"),
        };
        let mut check = Check::default();
        bytes.clear();
        bytes.extend_from_slice(&head.bytes[..len.min(HEAD_BYTES)]);
        for i in 1..=u64::from(head.more) {
            let words = load(at(ring, position + i));
            let more: More = bytemuck::cast(words);
            check.add(words);
            if more.sequence != position + i + 1 {
                return Err(("the sequence number is impossible", position + i));
            }
            bytes.extend_from_slice(&more.bytes[..(len - bytes.len()).min(MORE_BYTES)]);
        }
        check.add(bytemuck::cast(Head { check: 0, ..head }));
        if check.value() != head.check {
            return corrupt("the check of the message is wrong");
        }
        self.position += 1 + u64::from(head.more);
        Ok(Some(Message {
            kind,
            time: head.time,
            consumed: head.consumed,
        }))
    }

    /// Gives the slots read so far back to the writer.
    pub fn release(&self, consumed: &AtomicU64) {
        consumed.store(self.position, Release);
    }
}

/// The slot at a position; rings have a power of two of slots.
fn at(ring: &[Slot], position: u64) -> &Slot {
    &ring[position as usize & (ring.len() - 1)]
}

fn load(slot: &Slot) -> [u64; SLOT_WORDS] {
    std::array::from_fn(|i| slot[i].load(Relaxed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 256;

    fn ring() -> Vec<Slot> {
        (0..SIZE).map(|_| Slot::default()).collect()
    }

    /// Stores a head that has the right sequence number and check, whatever else it says.
    fn forge(ring: &[Slot], position: u64, head: Head) {
        let head = Head {
            sequence: position + 1,
            check: 0,
            ..head
        };
        let mut check = Check::default();
        for i in 1..=u64::from(head.more) {
            let slot = at(ring, position + i);
            slot[0].store(position + i + 1, Relaxed);
            check.add(load(slot));
        }
        check.add(bytemuck::cast(head));
        let words: [u64; SLOT_WORDS] = bytemuck::cast(Head {
            check: check.value(),
            ..head
        });
        for (word, value) in at(ring, position).iter().zip(words) {
            word.store(value, Relaxed);
        }
    }

    proptest! {
        #[test]
        fn a_message_forged_by_one_who_knows_the_layout_is_read_or_refused(
            words in any::<[u64; SLOT_WORDS]>(), kind in 0..5u8, len in 0..5000u16, fitting in any::<bool>(),
        ) {
            let ring = ring();
            let head: Head = bytemuck::cast(words);
            let more = if fitting { more_slots(len.into()) as u8 } else { head.more };
            forge(&ring, 0, Head { kind, len, more, ..head });
            let mut bytes = Vec::new();
            let right = usize::from(len) <= MAX_ENCODED
                && usize::from(more) == more_slots(len.into())
                && (kind == 1 || matches!(kind, 2 | 3) && len == 0);
            let read = Reader::default().read(&ring, &mut bytes);
            prop_assert_eq!(read.is_ok(), right, "{:?}", read);
            if right {
                prop_assert_eq!(bytes.len(), usize::from(len));
            }
        }
    }

    #[test]
    fn a_reader_that_claims_what_was_not_written_is_refused() {
        let ring = ring();
        let message = Message {
            kind: Kind::Promise,
            time: 0,
            consumed: 0,
        };
        for (written, claimed) in [(SIZE as u64, SIZE as u64 + 1), (SIZE as u64, u64::MAX)] {
            let mut writer = Writer::default();
            let consumed = AtomicU64::new(0);
            for _ in 0..written {
                assert_eq!(writer.write(&ring, &consumed, message, &[]), Ok(true));
            }
            assert_eq!(writer.write(&ring, &consumed, message, &[]), Ok(false));
            consumed.store(claimed, Relaxed);
            assert!(writer.write(&ring, &consumed, message, &[]).is_err());
        }
    }

    #[test]
    fn a_reader_that_goes_back_is_refused() {
        let ring = ring();
        let message = Message {
            kind: Kind::Promise,
            time: 0,
            consumed: 0,
        };
        let (mut writer, consumed) = (Writer::default(), AtomicU64::new(0));
        for i in 0..SIZE + 4 {
            consumed.store(i as u64, Relaxed);
            assert_eq!(writer.write(&ring, &consumed, message, &[]), Ok(true));
        }
        while writer.write(&ring, &consumed, message, &[]) == Ok(true) {}
        consumed.store(1, Relaxed);
        assert!(writer.write(&ring, &consumed, message, &[]).is_err());
    }
}
