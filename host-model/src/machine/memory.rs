use std::cell::Cell;
use std::sync::Arc;

use vm_memory::{Address, Bytes, GuestAddress, GuestMemory, GuestMemoryMmap};

/// The host's memory, from address 0, with an allocator for what the operating system puts there.
pub struct Memory {
    guest: Arc<GuestMemoryMmap>,
    next: Cell<u64>,
}

/// Guest memory could not be had.
#[derive(Debug, thiserror::Error)]
#[error("can't map {size} bytes of guest memory: {cause}")]
pub struct MemoryError {
    size: usize,
    cause: String,
}

impl Memory {
    /// Below it nothing is allocated, as on a PC.
    const FIRST_MIB: u64 = 0x10_0000;

    /// `size` bytes of zeros.
    ///
    /// # Errors
    /// The host system has none left.
    pub fn new(size: usize) -> Result<Self, MemoryError> {
        let guest =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)]).map_err(|cause| MemoryError {
                size,
                cause: cause.to_string(),
            })?;
        Ok(Self {
            guest: Arc::new(guest),
            next: Cell::new(Self::FIRST_MIB),
        })
    }

    /// As devices see it.
    pub fn guest(&self) -> &Arc<GuestMemoryMmap> {
        &self.guest
    }

    /// Zeroed memory that nobody else has, `align` (a power of two) bytes aligned. `None` when memory is full.
    pub fn allocate(&self, size: u64, align: u64) -> Option<u64> {
        let start = self.next.get().checked_next_multiple_of(align)?;
        let end = start.checked_add(size)?;
        self.guest
            .check_range(GuestAddress(start), usize::try_from(size).ok()?)
            .then(|| self.next.set(end))?;
        Some(start)
    }

    /// Reads `N` bytes; zeros outside of memory.
    pub fn load<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        // A partial read outside of memory leaves the rest at zero.
        let _ = self.guest.read_slice(&mut bytes, GuestAddress(address));
        bytes
    }

    /// Writes bytes. False outside of memory.
    pub fn store(&self, address: u64, bytes: &[u8]) -> bool {
        self.guest.write_slice(bytes, GuestAddress(address)).is_ok()
    }

    /// The first address behind the memory.
    pub fn end(&self) -> u64 {
        self.guest.last_addr().raw_value() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_aligned_and_apart() {
        let memory = Memory::new(0x20_0000).expect("memory");
        let a = memory.allocate(3, 1).expect("room");
        let b = memory.allocate(0x1000, 0x1000).expect("room");
        assert!(b.is_multiple_of(0x1000) && b >= a + 3);
    }

    #[test]
    fn a_full_memory_allocates_nothing() {
        let memory = Memory::new(0x20_0000).expect("memory");
        assert_eq!(memory.allocate(0x20_0000, 1), None);
        assert!(memory.allocate(0x1000, 1).is_some());
    }
}
