//! The machine falls asleep and wakes up.

use std::cell::RefCell;

use host_model::pci::SavedState;
use ntb_rtl::registers;

use super::{Rig, ScenarioError};

/// ACPI's sleep states, as far as they differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sleep {
    /// S0: CPUs and devices idle, and nothing loses its power; Linux's `s2idle`.
    Idle,
    /// S1: nothing loses its power, and all but one CPU are taken away; `shallow`.
    Standby,
    /// S3: all but memory loses its power; `deep`.
    Memory,
}

/// What is remembered of a machine that sleeps.
#[derive(Default)]
pub(super) struct Asleep {
    /// Of each NTB.
    saved: RefCell<Option<Vec<SavedState>>>,
}

impl Rig {
    /// `suspend_enter`, up to where the machine falls asleep.
    ///
    /// # Errors
    /// A CPU can't go away, or see [`DriverError`](host_model::driver::DriverError).
    pub async fn suspend(&self, sleep: Sleep) -> Result<(), ScenarioError> {
        let core = self.core();
        core.suspend_device_irqs(&self.cpu).await;
        let mut saved = Vec::new();
        for rig in self.each() {
            saved.push(SavedState::save(&self.cpu, rig.ids()[0]).await);
        }
        *self.shared.asleep.saved.borrow_mut() = Some(saved);
        if sleep != Sleep::Idle {
            for cpu in 1..self.cpu.machine().cpus() {
                core.cpu_down(&self.cpu, cpu).await?;
            }
            let suspended = self
                .cpu
                .call("suspend", async |cpu| self.driver().suspend(&cpu).await);
            suspended.await?;
        }
        Ok(())
    }

    /// The machine sleeps, and is woken up.
    ///
    /// # Errors
    /// It is not suspended.
    pub async fn sleep(&self, sleep: Sleep) -> Result<(), ScenarioError> {
        self.saved()?;
        if sleep == Sleep::Memory {
            for rig in self.each() {
                let sent = rig.read(registers::SENT, 4).await;
                let before = &rig.this().sent_before;
                before.set(before.get() + sent);
            }
            self.cpu.machine().power_cycle().await;
        }
        Ok(())
    }

    /// `suspend_enter`, from there on.
    ///
    /// # Errors
    /// It is not suspended, or see [`DriverError`](host_model::driver::DriverError).
    pub async fn resume(&self, sleep: Sleep) -> Result<(), ScenarioError> {
        let saved = self.saved()?;
        let core = self.core();
        if sleep != Sleep::Idle {
            let resumed = self
                .cpu
                .call("resume", async |cpu| self.driver().resume(&cpu).await);
            resumed.await?;
            for cpu in 1..self.cpu.machine().cpus() {
                core.cpu_up(&self.cpu, cpu).await?;
            }
        }
        for (rig, saved) in self.each().zip(saved) {
            saved.restore(&self.cpu).await;
            core.restore_msi_state(&self.cpu, rig.ids()[0]).await;
        }
        core.resume_device_irqs(&self.cpu).await;
        self.shared.asleep.saved.take();
        Ok(())
    }

    fn saved(&self) -> Result<Vec<SavedState>, ScenarioError> {
        let saved = self.shared.asleep.saved.borrow().clone();
        saved.ok_or(ScenarioError::NotApplicable("a suspended machine"))
    }
}
