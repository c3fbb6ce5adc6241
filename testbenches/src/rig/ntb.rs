//! An NTB: its registers, its doorbells, and messages under any ID.

use host_model::driver::MsiMessage;
use ntb_rtl::registers;
use sim_bridge::RequesterId;

use super::{Rig, ScenarioError};

impl Rig {
    /// Writes 4 bytes of the NTB's BAR0.
    pub async fn write(&self, register: u64, value: u32) {
        self.cpu.writel(self.ntb().bar0 + register, value).await;
    }

    /// Reads 4 or 8 bytes of the NTB's BAR0.
    pub async fn read(&self, register: u64, size: usize) -> u64 {
        self.cpu.mmio_read(self.ntb().bar0 + register, size).await
    }

    /// Rings the doorbell of a vector, whose message is to be sent under `id`. Does not wait.
    pub async fn ring(&self, vector: usize, id: RequesterId) {
        self.write(
            registers::rid_policy(vector),
            self.this().topology.rid_mode(id).to_register(),
        )
        .await;
        let bit = 1 << vector;
        self.cpu
            .mmio_write(self.ntb().bar0 + registers::DOORBELL_STATUS, 8, bit)
            .await;
        self.cpu
            .mmio_write(self.ntb().bar0 + registers::DOORBELL_SET, 8, bit)
            .await;
    }

    /// Interrupts under every ID, one after the other, each waited for.
    ///
    /// # Errors
    /// The vector is not allocated.
    pub async fn ring_under_every_id(&self, vector: usize) -> Result<(), ScenarioError> {
        self.ring_under(vector, self.ids()).await
    }

    /// Interrupts under these IDs, one after the other, each waited for.
    ///
    /// # Errors
    /// The vector is not allocated.
    pub async fn ring_under(&self, vector: usize, ids: &[RequesterId]) -> Result<(), ScenarioError> {
        self.irq(vector)?;
        for &id in ids {
            self.ring(vector, id).await;
            self.raised(1).await;
        }
        Ok(())
    }

    /// The message block sends `message` under these IDs, one after the other, each waited for.
    pub async fn send_message_under(&self, message: MsiMessage, ids: &[RequesterId]) {
        for &id in ids {
            self.send_write(message.address, message.data, id).await;
            self.raised(1).await;
        }
    }

    /// The message block writes `data` to any address, under any ID. Does not wait.
    pub(super) async fn send_write(&self, address: u64, data: u32, id: RequesterId) {
        self.write(registers::MESSAGE_ADDRESS, address as u32).await;
        self.write(registers::MESSAGE_ADDRESS_HIGH, (address >> 32) as u32)
            .await;
        self.write(registers::MESSAGE_DATA, data).await;
        self.write(registers::MESSAGE_REQUESTER_ID, id.0.into()).await;
        self.write(registers::MESSAGE_SEND, 1).await;
    }

    /// Another function, whose part the NTB plays, sends its message under this ID.
    ///
    /// # Errors
    /// It has no interrupt.
    pub async fn send_message_of(
        &self,
        function: RequesterId,
        under: RequesterId,
    ) -> Result<(), ScenarioError> {
        let message = self.message_of(function)?;
        let is_behind = |function| self.cpu.machine().irqs_mut().add_function(function, [under]);
        is_behind(function);
        self.send_message_under(message, &[under]).await;
        if self.ids().contains(&under) {
            is_behind(self.ids()[0]);
        }
        Ok(())
    }

    /// Interrupts under every ID, `rounds` times over, none waited for and whether or not a vector is there: a peer knows
    /// nothing of that.
    pub async fn storm(&self, vector: usize, rounds: u64) {
        for _ in 0..rounds {
            for &id in self.ids() {
                self.ring(vector, id).await;
            }
        }
    }

    /// Waits until all that has been sent, by whichever NTB, has ended somewhere.
    pub async fn settle(&self) {
        let sent: u64 = self.sent().await.iter().sum();
        let more = sent.saturating_sub(self.shared.raised.get());
        self.raised(more).await;
    }
}
