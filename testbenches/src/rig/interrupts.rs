//! Interrupts of the NTB and of others: requested, moved, freed.

use std::rc::Rc;

use host_model::driver::MsiMessage;
use host_model::irq::{Handler, Irq, IrqReturn, MsiDevice};
use ntb_rtl::registers;
use sim_bridge::RequesterId;

use super::{Rig, ScenarioError, count_commands};

impl Rig {
    /// The interrupt of the NTB's vector.
    ///
    /// # Errors
    /// It is not allocated, or no longer.
    pub fn irq(&self, vector: usize) -> Result<Irq, ScenarioError> {
        let irqs = self.this().irqs.borrow();
        let irq = irqs.get(vector).copied();
        irq.ok_or(ScenarioError::NotApplicable("an interrupt of the NTB"))
    }

    /// The message of the NTB's vector, also after the vector was freed.
    ///
    /// # Errors
    /// It was never allocated.
    pub fn message(&self, vector: usize) -> Result<MsiMessage, ScenarioError> {
        let messages = self.this().messages.borrow();
        let message = messages.get(vector).copied();
        message.ok_or(ScenarioError::NotApplicable("a message of the NTB"))
    }

    /// Allocates MSI-X vectors of the NTB and requests them on CPU `on`. Their handler clears the doorbell.
    ///
    /// # Errors
    /// See [`IrqError`](host_model::irq::IrqError).
    pub async fn request_ntb_irqs(&self, vectors: u16, on: u32) -> Result<(), ScenarioError> {
        let allocated = self.core().allocate_vectors(&self.cpu, &self.ntb().msix, vectors);
        self.request_each(allocated.await?, on).await
    }

    /// The same with messages of its MSI, 1 to 32.
    ///
    /// # Errors
    /// See [`IrqError`](host_model::irq::IrqError).
    pub async fn request_ntb_msi(&self, messages: u8, on: u32) -> Result<(), ScenarioError> {
        let msi = MsiDevice {
            id: self.ids()[0],
            capability: registers::config::MSI,
            messages: registers::MSI_VECTORS as u8,
            wide: true,
            maskable: true,
        };
        let allocated = self.core().allocate_msi(&self.cpu, &msi, messages).await?;
        self.request_each(allocated, on).await
    }

    async fn request_each(&self, irqs: Vec<Irq>, on: u32) -> Result<(), ScenarioError> {
        *self.this().messages.borrow_mut() = irqs
            .iter()
            .filter_map(|&irq| self.cpu.machine().irqs().message(irq))
            .collect();
        for (vector, &irq) in irqs.iter().enumerate() {
            let status = self.ntb().bar0 + registers::DOORBELL_STATUS;
            let handler: Handler = Rc::new(move |cpu| {
                Box::pin(async move {
                    cpu.mmio_write(status, 8, 1 << vector).await;
                    IrqReturn::Handled
                })
            });
            self.core().request(&self.cpu, irq, on, handler).await?;
        }
        *self.this().irqs.borrow_mut() = irqs;
        Ok(())
    }

    /// Frees all interrupts of the NTB and its vectors.
    ///
    /// # Errors
    /// It has none, or see [`IrqError`](host_model::irq::IrqError).
    pub async fn free_ntb_irqs(&self) -> Result<(), ScenarioError> {
        self.irq(0)?;
        let core = self.core();
        let irqs = self.this().irqs.take();
        for &irq in &irqs {
            core.free_irq(&self.cpu, irq).await?;
        }
        core.free_vectors(&self.cpu, &irqs).await?;
        Ok(())
    }

    /// Another function gets an interrupt on CPU `on`.
    ///
    /// # Errors
    /// See [`IrqError`](host_model::irq::IrqError).
    pub async fn request_irq_of(&self, function: RequesterId, on: u32) -> Result<(), ScenarioError> {
        let (core, msix) = (self.core(), self.function(function)?);
        let irqs = core.allocate_vectors(&self.cpu, msix, 1).await?;
        // It never sends: an interrupt that comes is not its own.
        let handler: Handler = Rc::new(|_| Box::pin(async { IrqReturn::None }));
        core.request(&self.cpu, irqs[0], on, handler).await?;
        let message = self.cpu.machine().irqs().message(irqs[0]);
        self.shared
            .messages_of
            .borrow_mut()
            .extend(message.map(|m| (function, m)));
        Ok(())
    }

    /// The neighbour gets an interrupt on CPU `on`.
    ///
    /// # Errors
    /// See [`IrqError`](host_model::irq::IrqError).
    pub async fn request_neighbour_irq(&self, on: u32) -> Result<(), ScenarioError> {
        self.request_irq_of(self.neighbour(), on).await
    }

    /// The message of another function's interrupt.
    ///
    /// # Errors
    /// It has none.
    pub fn message_of(&self, function: RequesterId) -> Result<MsiMessage, ScenarioError> {
        let messages = self.shared.messages_of.borrow();
        let message = messages.get(&function).copied();
        message.ok_or(ScenarioError::NotApplicable("an interrupt of another function"))
    }

    /// Moves an interrupt of the NTB to CPU `to`, and counts the commands that it takes.
    ///
    /// # Errors
    /// There is none, or see [`IrqError`](host_model::irq::IrqError).
    pub async fn move_irq(&self, vector: usize, to: u32) -> Result<(), ScenarioError> {
        let irq = self.irq(vector)?;
        let trace = self.cpu.machine().trace();
        let before = trace.len();
        self.core().set_affinity(&self.cpu, irq, to).await?;
        *self.shared.commands_per_move.borrow_mut() = Some(trace.look(before, count_commands));
        Ok(())
    }
}
