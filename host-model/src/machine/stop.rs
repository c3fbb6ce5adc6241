//! Stopping all CPUs but one (Linux kernel/stop_machine.c).

use std::cell::Cell;
use std::future::Future;

use super::{Cpu, InterruptsOff, LocalApic, Machine};
use crate::exec::Signal;

/// Whether the CPUs have stopped.
#[derive(Default)]
pub(super) struct Stop {
    stopped: Cell<bool>,
    resumed: Signal,
    interrupts_on: Signal,
}

impl Stop {
    /// A CPU may take interrupts again.
    pub(super) fn interrupts_on(&self) {
        self.interrupts_on.notify();
    }
}

impl Machine {
    /// `stop_machine`: runs `body` on a CPU while all of them have interrupts off and nothing else runs on any. It begins
    /// when each CPU has left its handlers and what it does with interrupts off; what else runs there stops where it next
    /// lets time pass.
    pub(crate) async fn stop_machine<T, F: Future<Output = T>>(
        &self,
        on: u32,
        body: impl FnOnce(Cpu) -> F,
    ) -> T {
        let stop = &self.0.stop;
        loop {
            self.until_resumed().await;
            stop.interrupts_on.wait_until(|| self.all_take_interrupts()).await;
            // Another may have come first.
            if !stop.stopped.get() {
                break;
            }
        }
        stop.stopped.set(true);
        let _resume = Resume(self);
        let _interrupts_off: Vec<InterruptsOff> = (0..self.cpus())
            .map(|cpu| self.cpu(cpu).disable_interrupts())
            .collect();
        body(self.cpu(on).into_stopper()).await
    }

    pub(super) async fn until_resumed(&self) {
        let stop = &self.0.stop;
        if stop.stopped.get() {
            stop.resumed.wait_until(|| !stop.stopped.get()).await;
        }
    }

    /// All that are online.
    fn all_take_interrupts(&self) -> bool {
        let mut online = self.0.apics.iter().filter(|apic| apic.is_enabled());
        online.all(|apic| !LocalApic::has_interrupts_off(apic))
    }
}

/// The CPUs go on when it is dropped.
struct Resume<'a>(&'a Machine);

impl Drop for Resume<'_> {
    fn drop(&mut self) {
        self.0.0.stop.stopped.set(false);
        self.0.0.stop.resumed.notify();
    }
}
