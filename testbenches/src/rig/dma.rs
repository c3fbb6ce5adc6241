//! The NTB's own writes to memory.

use host_model::driver::DriverError;

use super::{LOST_AFTER, Rig, ScenarioError};

/// What a driver gives to its device: a page.
const BUFFER: u64 = 0x1000;

impl Rig {
    /// `dma_alloc_coherent`: the NTB may access the memory at this address, under whichever of its IDs. In the identity
    /// domain that is the physical address.
    ///
    /// # Errors
    /// There is no memory left.
    pub fn allocate_dma(&self) -> Result<u64, ScenarioError> {
        let machine = self.cpu.machine();
        let allocated = machine.memory().allocate(BUFFER, BUFFER);
        let address = allocated.ok_or(DriverError::NoMemory)?;
        let ids = self.ids();
        machine.with_checker(|checker| checker.map(ids[0], ids, address..address + BUFFER));
        Ok(address)
    }

    /// The NTB writes to memory at `address` under every ID, one after the other, each waited for.
    pub async fn write_memory_under_every_id(&self, address: u64) {
        for (data, &id) in (1..).zip(self.ids()) {
            let machine = self.cpu.machine();
            let ended = machine.writes_ended_from(self.ntb);
            self.send_write(address, data, id).await;
            machine.wait_for_writes(self.ntb, ended + 1, LOST_AFTER).await;
        }
    }
}
