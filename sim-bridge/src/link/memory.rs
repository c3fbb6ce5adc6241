//! The shared memory: a header and two rings of slots.
//!
//! All of it is seen as atomics only, for which every bit pattern is valid: whatever another process writes there, what
//! is read is a wrong value at worst, and every value is checked where it is read.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;
use memmap2::{MmapOptions, MmapRaw};

/// First word of the memory, in the order of bytes.
pub(super) const MAGIC: [u8; 8] = *b"ntb-link";
/// Of the layout of the memory and the meaning of what is in it.
pub(super) const VERSION: u64 = 1;
/// As this machine orders bytes.
pub(super) const BYTE_ORDER: u64 = 0x0102_0304_0506_0708;
/// Longest name of a side, in bytes.
pub(super) const MAX_NAME: usize = 64;

/// Words of a slot, which is one cache line.
pub(super) const SLOT_WORDS: usize = 8;
/// Slots of a ring: a power of two, and room for several of the longest messages.
pub(super) const MIN_SLOTS: u64 = 256;
pub(super) const MAX_SLOTS: u64 = 1 << 20;

/// Offset of the first ring.
const HEADER_LEN: usize = 4096;
const SLOT_LEN: usize = SLOT_WORDS * 8;

/// The start of the memory; the first four words are the same in every version.
#[repr(C)]
pub(super) struct Header {
    pub magic: AtomicU64,
    pub version: AtomicU64,
    /// Written by an opener that refuses the creator's version: its own.
    pub opener_version: AtomicU64,
    pub byte_order: AtomicU64,
    /// Length of the memory in bytes, for a layout with the same lengths of header and slots.
    pub len: AtomicU64,
    /// Slots of each ring.
    pub slots: AtomicU64,
    /// In picoseconds.
    pub latency: AtomicU64,
    /// Creator and opener.
    pub sides: [Side; 2],
}

/// What one side writes, and the bell by which the other wakes it.
#[repr(C)]
pub(super) struct Side {
    pub name_len: AtomicU64,
    pub name: [AtomicU64; MAX_NAME / 8],
    /// A [`State`].
    pub state: CachePadded<AtomicU64>,
    /// Slots of its inbound ring that it is done with.
    pub consumed: CachePadded<AtomicU64>,
    /// See [`super::bell`].
    pub bell: CachePadded<AtomicU32>,
}

pub(super) type Slot = [AtomicU64; SLOT_WORDS];

const _: () = assert!(size_of::<Header>() <= HEADER_LEN && size_of::<Slot>() == SLOT_LEN);

/// How far a side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum State {
    Absent = 0,
    Present = 1,
    Ended = 2,
    /// Left without ending.
    Aborted = 3,
    /// Came and went because of the version.
    Refused = 4,
}

impl State {
    pub fn from_raw(raw: u64) -> Option<Self> {
        [
            Self::Absent,
            Self::Present,
            Self::Ended,
            Self::Aborted,
            Self::Refused,
        ]
        .into_iter()
        .find(|&state| state as u64 == raw)
    }
}

/// Length of the memory in bytes for rings of `slots` slots.
pub(super) const fn len(slots: u64) -> u64 {
    HEADER_LEN as u64 + 2 * slots * SLOT_LEN as u64
}

/// A mapping of a whole link.
#[derive(Debug)]
pub(super) struct Memory {
    map: MmapRaw,
    slots: usize,
}

impl Memory {
    /// Maps `file`, which has at least `len(slots)` bytes.
    pub fn map(file: &File, slots: u64) -> io::Result<Self> {
        let map = MmapOptions::new().len(len(slots) as usize).map_raw(file)?;
        Ok(Self {
            map,
            slots: slots as usize,
        })
    }

    pub fn header(&self) -> &Header {
        // SAFETY: the mapping is aligned to pages, has at least HEADER_LEN bytes (`map`) and lives as long as `self`.
        // `Header` consists of atomics, which are valid for all bit patterns and may be written by others at any time.
        unsafe { &*self.map.as_ptr().cast::<Header>() }
    }

    /// The ring that side `sender` writes.
    pub fn ring(&self, sender: usize) -> &[Slot] {
        let offset = HEADER_LEN + (sender & 1) * self.slots * SLOT_LEN;
        // SAFETY: both rings are within the `len(self.slots)` bytes of the mapping, aligned to SLOT_LEN, and live as
        // long as `self`; a `Slot` consists of atomics, as in `header`.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset).cast::<Slot>(), self.slots) }
    }

    pub fn side(&self, side: usize) -> &Side {
        &self.header().sides[side & 1]
    }
}

impl Side {
    pub fn set_name(&self, name: &str) {
        let mut bytes = [0; MAX_NAME];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        for (word, bytes) in self
            .name
            .iter()
            .zip(bytemuck::cast::<_, [u64; MAX_NAME / 8]>(bytes))
        {
            word.store(bytes, Relaxed);
        }
        self.name_len.store(name.len() as u64, Relaxed);
    }

    /// `None` if it is no name.
    pub fn name(&self) -> Option<String> {
        let words: [u64; MAX_NAME / 8] = std::array::from_fn(|i| self.name[i].load(Relaxed));
        let bytes: [u8; MAX_NAME] = bytemuck::cast(words);
        let len = usize::try_from(self.name_len.load(Relaxed)).ok()?;
        let name = std::str::from_utf8(bytes.get(..len)?).ok()?;
        is_name(name).then(|| name.to_owned())
    }
}

/// Something to show in a message.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control)
}
