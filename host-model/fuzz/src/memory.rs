//! Guest memory that knows who wrote where.

use std::mem;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::bitmap::{Bitmap, RefSlice, WithBitmapSlice};
use vm_memory::mmap::NewBitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, GuestMemoryRegion};

/// Start and bytes of the two pieces of memory.
const REGIONS: [(u64, usize); 2] = [(0, 0xc000), (0x1_0000, 0x4000)];
/// In every byte at first.
const CANARY: u8 = 0xc5;

/// The writes to a region that went through `vm-memory`: offset in the region, bytes.
#[derive(Debug, Default)]
pub(crate) struct WriteLog(Mutex<Vec<(usize, usize)>>);

impl<'a> WithBitmapSlice<'a> for WriteLog {
    type S = RefSlice<'a, Self>;
}

impl Bitmap for WriteLog {
    fn mark_dirty(&self, offset: usize, len: usize) {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writes.push((offset, len));
    }

    fn dirty_at(&self, _: usize) -> bool {
        false
    }

    fn slice_at(&self, offset: usize) -> RefSlice<'_, Self> {
        RefSlice::new(self, offset)
    }
}

impl NewBitmap for WriteLog {
    fn with_len(_: usize) -> Self {
        Self::default()
    }
}

impl WriteLog {
    fn take(&self) -> Vec<(usize, usize)> {
        mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// As the IOMMU sees it.
pub(crate) type Ram = GuestMemoryMmap<WriteLog>;

/// Guest memory, and what should be in it.
pub(crate) struct Memory {
    ram: Arc<Ram>,
    expected: Vec<Vec<u8>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let regions = REGIONS.map(|(start, bytes)| (GuestAddress(start), bytes));
        let ram = Ram::from_ranges(&regions).expect("memory for the guest");
        let mut memory = Self {
            ram: Arc::new(ram),
            expected: REGIONS.map(|(_, bytes)| vec![0; bytes]).into(),
        };
        for (start, bytes) in REGIONS {
            memory.store(start, &vec![CANARY; bytes]);
        }
        memory
    }

    pub(crate) fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    /// A store of the software's; nothing happens if it is not in memory as a whole.
    pub(crate) fn store(&mut self, address: u64, bytes: &[u8]) {
        let address = GuestAddress(address);
        if self.ram.check_range(address, bytes.len()) && self.ram.write_slice(bytes, address).is_ok() {
            let stored = address.0..address.0 + bytes.len() as u64;
            self.check_writes(std::slice::from_ref(&stored));
        }
    }

    /// Likewise.
    pub(crate) fn store_words(&mut self, address: u64, words: &[u64]) {
        let bytes: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.store(address, &bytes);
    }

    pub(crate) fn load(&self, address: u64) -> Option<u64> {
        self.ram.read_obj(GuestAddress(address)).ok()
    }

    /// What was written since the last call must lie in `allowed`.
    pub(crate) fn check_writes(&mut self, allowed: &[Range<u64>]) {
        for (region, expected) in self.ram.iter().zip(&mut self.expected) {
            for (offset, bytes) in region.bitmap().take() {
                let start = region.start_addr().0 + offset as u64;
                let written = start..start + bytes as u64;
                let is_allowed =
                    |range: &Range<u64>| range.start <= written.start && written.end <= range.end;
                assert!(
                    allowed.iter().any(is_allowed),
                    "wrote {written:#x?}, allowed {allowed:#x?}"
                );
                let written = &mut expected[offset..offset + bytes];
                self.ram
                    .read_slice(written, GuestAddress(start))
                    .expect("it was written");
            }
        }
    }

    /// Whatever way it was written, memory holds what it should.
    pub(crate) fn check_content(&self) {
        for ((start, _), expected) in REGIONS.into_iter().zip(&self.expected) {
            let mut content = vec![0; expected.len()];
            self.ram
                .read_slice(&mut content, GuestAddress(start))
                .expect("a region");
            let wrong = content.iter().zip(expected).position(|(is, should)| is != should);
            if let Some(offset) = wrong {
                panic!("written past vm-memory: {:#x}", start + offset as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use vm_memory::VolatileMemory;

    use super::*;

    fn write(memory: &Memory, address: u64) {
        memory.ram().write_obj(1u64, GuestAddress(address)).unwrap();
    }

    #[test]
    fn a_write_where_it_is_allowed_is_expected_from_then_on() {
        let mut memory = Memory::new();
        write(&memory, 0x1_0008);
        memory.check_writes(&[0..8, 0x1_0000..0x1_0010]);
        memory.check_content();
    }

    #[test]
    #[should_panic(expected = "wrote 0x8..0x10")]
    fn a_write_beyond_what_is_allowed_is_found() {
        let mut memory = Memory::new();
        write(&memory, 8);
        memory.check_writes(&[0..0xf, 0x9..0x20]);
    }

    #[test]
    #[should_panic(expected = "written past vm-memory: 0x10010")]
    fn a_write_that_the_log_does_not_have_is_found() {
        let memory = Memory::new();
        let slice = memory.ram().get_slice(GuestAddress(0x1_0010), 8).unwrap();
        slice.get_atomic_ref::<AtomicU64>(0).unwrap().store(1, Relaxed);
        memory.check_content();
    }

    #[test]
    fn software_stores_nothing_outside_of_memory() {
        let mut memory = Memory::new();
        for address in [0xbffc, 0xc000, u64::MAX - 3] {
            memory.store_words(address, &[0]);
        }
        memory.check_content();
    }
}
