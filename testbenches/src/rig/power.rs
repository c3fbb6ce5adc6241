//! The machine falls asleep and wakes up.

use std::cell::{Cell, RefCell};

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
    saved: RefCell<Option<SavedState>>,
    /// What the NTB had sent when it lost its power.
    sent_before: Cell<u64>,
}

impl Rig {
    /// `suspend_enter`, up to where the machine falls asleep.
    ///
    /// # Errors
    /// A CPU can't go away, or see [`DriverError`](host_model::driver::DriverError).
    pub async fn suspend(&self, sleep: Sleep) -> Result<(), ScenarioError> {
        let core = self.core();
        core.suspend_device_irqs(&self.cpu).await;
        let saved = SavedState::save(&self.cpu, self.ids()[0]).await;
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
            let asleep = &self.shared.asleep;
            let sent = self.read(registers::SENT, 4).await;
            asleep.sent_before.set(asleep.sent_before.get() + sent);
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
        saved.restore(&self.cpu).await;
        core.restore_msi_state(&self.cpu, self.ids()[0]).await;
        core.resume_device_irqs(&self.cpu).await;
        self.shared.asleep.saved.take();
        Ok(())
    }

    fn saved(&self) -> Result<SavedState, ScenarioError> {
        let saved = self.shared.asleep.saved.borrow().clone();
        saved.ok_or(ScenarioError::NotApplicable("a suspended machine"))
    }

    /// Writes that the NTB says it has sent, interrupts and others.
    pub(super) async fn sent(&self) -> u64 {
        self.shared.asleep.sent_before.get() + self.read(registers::SENT, 4).await
    }
}
