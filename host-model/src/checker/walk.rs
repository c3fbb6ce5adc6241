use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use sim_bridge::RequesterId;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::Place;
use crate::iommu::spec::dte::{DTE_BYTES, DteInterrupts};
use crate::iommu::spec::irte::{GuestIrte, Irte, IrteFlags, IrteFormat, RawIrte};
use crate::iommu::spec::page_table::PTE_BYTES;

/// DTE.IntCtl: remap.
const INT_CTL_REMAP: u8 = 2;

/// The tables in memory.
pub(super) struct Walk {
    memory: Arc<GuestMemoryMmap>,
    /// The device table's segments.
    device_table: [Range<u64>; 8],
    /// Rings by name.
    rings: BTreeMap<&'static str, Range<u64>>,
    /// So many top bits of a requester ID choose the segment.
    segment_bits: u32,
    format: IrteFormat,
    /// Interrupt remapping tables by address, with their length in bytes.
    tables: BTreeMap<u64, u64>,
    /// Page table entries that the IOMMU has read, by address.
    ptes: BTreeSet<u64>,
}

impl Walk {
    pub(super) fn new(memory: Arc<GuestMemoryMmap>) -> Self {
        Self {
            memory,
            device_table: Default::default(),
            rings: BTreeMap::new(),
            segment_bits: 0,
            format: IrteFormat::Bits32,
            tables: BTreeMap::new(),
            ptes: BTreeSet::new(),
        }
    }

    /// Registers are as after reset.
    pub(super) fn forget_registers(&mut self) {
        self.device_table = Default::default();
        self.rings.clear();
        self.segment_bits = 0;
        self.format = IrteFormat::Bits32;
    }

    pub(super) fn set_device_table(&mut self, segment: usize, base: u64, bytes: u64) {
        if let Some(table) = self.device_table.get_mut(segment) {
            *table = base..base.saturating_add(bytes);
        }
    }

    pub(super) fn set_ring(&mut self, name: &'static str, base: u64, bytes: u64) {
        self.rings.insert(name, base..base.saturating_add(bytes));
    }

    /// The ring that holds an address.
    pub(super) fn ring_at(&self, address: u64) -> Option<&'static str> {
        let mut rings = self.rings.iter();
        rings.find_map(|(name, ring)| ring.contains(&address).then_some(*name))
    }

    pub(super) fn set_segment_bits(&mut self, bits: u8) {
        self.segment_bits = bits.min(3).into();
    }

    /// Offset of an address in the segment of the device table that holds it.
    fn in_device_table(&self, address: u64) -> Option<u64> {
        let table = self.device_table.iter().find(|table| table.contains(&address))?;
        Some(address - table.start)
    }

    pub(super) fn set_irte_format(&mut self, ga_en: bool, xt_en: bool) {
        self.format = if ga_en {
            IrteFormat::Bits128 { xt: xt_en }
        } else {
            IrteFormat::Bits32
        };
    }

    pub(super) fn irte_bytes(&self) -> usize {
        self.format.bytes() as usize
    }

    /// Zeros outside of memory.
    pub(super) fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let _ = self.memory.read_slice(&mut bytes, GuestAddress(address));
        bytes
    }

    /// The IOMMU reads a page table entry: its writes are changes from now on.
    pub(super) fn reads_pte(&mut self, address: u64) {
        self.ptes.insert(address & !(PTE_BYTES - 1));
    }

    /// Where the remapping table is that holds an address.
    fn in_remapping_table(&self, address: u64) -> Option<u64> {
        let (&start, &len) = self.tables.range(..=address).next_back()?;
        (address - start < len).then_some(start)
    }

    /// Whether a store may be to a table.
    pub(super) fn may_be_table(&self, address: u64, len: usize) -> bool {
        let end = address.saturating_add(len as u64);
        let device_table = &self.device_table;
        device_table
            .iter()
            .any(|table| address < table.end && table.start < end)
            || self.in_remapping_table(address).is_some()
            || self.tables.range(address..end).next().is_some()
            || self.ptes.range(address & !(PTE_BYTES - 1)..end).next().is_some()
    }

    /// Where the table entry begins that holds an address: a DTE, an IRTE of a table that a DTE points to, or a page
    /// table entry that was read.
    pub(super) fn entry_at(&self, address: u64) -> Option<u64> {
        if let Some(offset) = self.in_device_table(address) {
            return Some(address - offset % DTE_BYTES);
        }
        if let Some(start) = self.in_remapping_table(address) {
            return Some(address - (address - start) % self.format.bytes());
        }
        let pte = address & !(PTE_BYTES - 1);
        self.ptes.contains(&pte).then_some(pte)
    }

    /// The index of the IRTE that begins at an address.
    pub(super) fn index_at(&self, address: u64) -> Option<u64> {
        let start = self.in_remapping_table(address)?;
        Some((address - start) / self.format.bytes())
    }

    /// An IRTE.
    pub(super) fn irte(&self, address: u64) -> RawIrte {
        let mut raw = [0; 16];
        let len = self.irte_bytes();
        raw[..len].copy_from_slice(&self.read(address, len));
        RawIrte::from_le_bytes(raw)
    }

    /// Bits of a cached entry that must be as in memory: all but those that the IOMMU reads on every use.
    pub(super) fn cached_bits(&self, raw: RawIrte) -> RawIrte {
        match self.format {
            IrteFormat::Bits128 { .. } if IrteFlags::of(raw).guest_mode => !GuestIrte::NOT_CACHED,
            _ => RawIrte::MAX,
        }
    }

    /// Whether a byte of a table changes in what may be cached. Of a guest mode entry, the first byte holds both that
    /// and IsRun.
    pub(super) fn is_change(&self, address: u64, old: u8, new: u8) -> bool {
        let [old, new] = [old, new].map(RawIrte::from);
        let begins_irte =
            self.in_remapping_table(address).is_some() && address.is_multiple_of(self.format.bytes());
        let bits = if begins_irte {
            self.cached_bits(old) | self.cached_bits(new)
        } else {
            RawIrte::MAX
        };
        (old ^ new) & bits != 0
    }

    /// Learns of the remapping table that a write to a DTE makes known.
    pub(super) fn about_to_store(&mut self, address: u64, bytes: &[u8]) {
        let Some(start) = self.in_device_table(address) else {
            return;
        };
        for (n, chunk) in bytes.chunks_exact(8).enumerate() {
            let offset = start + 8 * n as u64;
            if offset % DTE_BYTES == 16
                && let Some(word) = chunk.first_chunk()
            {
                let dte = DteInterrupts::from_bits(u64::from_le_bytes(*word));
                if dte.valid() && dte.int_ctl() == INT_CTL_REMAP {
                    self.tables
                        .insert(dte.table_root() << 6, self.format.bytes() << dte.table_length());
                }
            }
        }
    }

    /// The segment of the device table that is for a requester ID.
    fn segment(&self, requester: RequesterId) -> &Range<u64> {
        let segment = u32::from(requester.0) << self.segment_bits >> 16;
        &self.device_table[segment as usize]
    }

    fn dte(&self, requester: RequesterId) -> u64 {
        let index = requester.0 & 0xffff >> self.segment_bits;
        self.segment(requester).start + DTE_BYTES * u64::from(index)
    }

    /// The IOMMU was told where the DTE of a requester ID is to be looked for.
    pub(super) fn has_device_table(&self, requester: RequesterId) -> bool {
        !self.segment(requester).is_empty()
    }

    /// Where the DTE of an ID would be for which the device table is too short, and the table.
    pub(super) fn dte_outside_of_table(&self, requester: RequesterId) -> Option<(u64, Range<u64>)> {
        let (dte, table) = (self.dte(requester), self.segment(requester));
        let outside = self.has_device_table(requester) && !table.contains(&dte);
        outside.then(|| (dte, table.clone()))
    }

    /// Where the bytes of a DTE's memory half are.
    pub(super) fn dte_memory(&self, requester: RequesterId) -> Range<u64> {
        let start = self.dte(requester);
        start..start + 16
    }

    /// The memory half of a DTE.
    pub(super) fn dte_in_words(&self, requester: RequesterId) -> String {
        let half = self.read(self.dte_memory(requester).start, 16);
        let word = |n: usize| {
            half[8 * n..]
                .first_chunk()
                .map_or(0, |word| u64::from_le_bytes(*word))
        };
        super::memory::dte_in_words([word(0), word(1)])
    }

    /// Where the bytes of a DTE's interrupt half are.
    pub(super) fn dte_interrupts(&self, requester: RequesterId) -> Range<u64> {
        let start = self.dte(requester) + 16;
        start..start + 8
    }

    /// Where memory says that a requester ID's remapping table is, and how many entries it has; `None` if it has none.
    pub(super) fn remapping_table(&self, requester: RequesterId) -> Option<(u64, u32)> {
        if self.dte_outside_of_table(requester).is_some() {
            return None;
        }
        let word = self.read(self.dte_interrupts(requester).start, 8);
        let dte = DteInterrupts::from_bits(u64::from_le_bytes(*word.first_chunk()?));
        let has = dte.valid() && dte.int_ctl() == INT_CTL_REMAP;
        has.then(|| (dte.table_root() << 6, 1 << dte.table_length()))
    }

    /// Where memory says that the entry is; `None` if there is none.
    pub(super) fn irte_address(&self, requester: RequesterId, index: u16) -> Option<u64> {
        let (start, entries) = self.remapping_table(requester)?;
        let index = u32::from(index);
        (index < entries).then(|| start + self.format.bytes() * u64::from(index))
    }

    /// Where memory says that a remapped interrupt goes; `None` if nowhere.
    pub(super) fn expected(&self, requester: RequesterId, index: u16) -> Option<Place> {
        self.place(self.irte(self.irte_address(requester, index)?))
    }

    /// Where an entry sends interrupts; `None` if nowhere.
    pub(super) fn place(&self, raw: RawIrte) -> Option<Place> {
        let irte = Irte::parse(raw, self.format, false).ok()?;
        Some(Place {
            cpu: irte.destination,
            vector: irte.vector,
        })
    }
}
