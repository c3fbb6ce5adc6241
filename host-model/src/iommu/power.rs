//! Loss of power, as in ACPI's S3.

use vm_memory::GuestMemory;

use super::command_processor::CommandProcessor;
use super::config::PowerOnCaches;
use super::{Iommu, StateGuard};

impl<M: GuestMemory> Iommu<M> {
    /// Power goes and comes back: registers are as after reset, commands, log entries and interrupts that were under way
    /// are gone. What the caches hold is [`PowerOnCaches`]. Requests under way are answered by what they have read;
    /// statistics go on.
    pub fn power_cycle(&self) {
        let state: &mut StateGuard<'_> = &mut self.lock();
        state.registers.power_cycle(&self.config);
        state.commands = CommandProcessor::default();
        self.command_pointers.set_head(0);
        self.command_pointers.set_tail(0);
        if self.config.policies.power_on_caches == PowerOnCaches::Empty {
            self.drop_all();
        }
        state.reported_faults.forget_all(&self.translations);
        self.registers_changed(state);
    }
}
