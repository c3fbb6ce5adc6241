use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::CpuMask;
use super::chip::Chip;
use super::spurious::Unhandled;
use crate::driver::{Entry, IommuDriver, MsiMessage};
use crate::exec::{Signal, SpinLock};
use crate::machine::Cpu;
use crate::trace::Lock;

/// An interrupt's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Irq(pub u32);

/// What a handler says of an interrupt: Linux's `irqreturn_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IrqReturn {
    /// `IRQ_NONE`: it was not its device's.
    None,
    /// `IRQ_HANDLED`.
    Handled,
}

/// A device driver's interrupt handler.
pub type Handler = Rc<dyn Fn(Cpu) -> Pin<Box<dyn Future<Output = IrqReturn>>>>;

/// Linux's `irq_desc`.
pub(super) struct Descriptor {
    pub(super) chip: Chip,
    /// Whose entry it is.
    pub(super) driver: Rc<dyn IommuDriver>,
    pub(super) entry: Entry,
    pub(super) message: MsiMessage,
    pub(super) affinity: CpuMask,
    /// `IRQD_AFFINITY_SET`.
    pub(super) affinity_set: bool,
    /// `IRQD_AFFINITY_MANAGED`.
    pub(super) managed: bool,
    /// `IRQD_MANAGED_SHUTDOWN`.
    pub(super) managed_shutdown: bool,
    pub(super) affinity_hint: Option<CpuMask>,
    /// `pending_mask`, with `IRQD_SETAFFINITY_PENDING`.
    pub(super) pending_mask: Option<CpuMask>,
    pub(super) handler: Option<Handler>,
    /// `IRQD_IRQ_STARTED`.
    pub(super) started: bool,
    /// `IRQD_IRQ_DISABLED`.
    pub(super) disabled: bool,
    /// `IRQS_SUSPENDED`.
    pub(super) suspended: bool,
    /// `IRQD_IRQ_MASKED`.
    pub(super) masked: bool,
    /// `IRQD_IRQ_INPROGRESS`.
    pub(super) in_progress: bool,
    /// `IRQS_PENDING`: one more came while it could not be handled.
    pub(super) pending: bool,
    /// A handler has returned.
    pub(super) ended: Rc<Signal>,
    /// `kstat_irqs`, by CPU.
    pub(super) counts: Vec<u64>,
    pub(super) unhandled: Unhandled,
    /// `irq_desc->lock`.
    pub(super) lock: Rc<SpinLock<()>>,
}

impl Descriptor {
    /// Allocated, not requested.
    pub(super) fn new(
        irq: Irq,
        chip: Chip,
        driver: Rc<dyn IommuDriver>,
        (entry, message): (Entry, MsiMessage),
        affinity: CpuMask,
        managed: bool,
    ) -> Self {
        Self {
            chip,
            driver,
            entry,
            message,
            affinity,
            affinity_set: false,
            managed,
            managed_shutdown: false,
            affinity_hint: None,
            pending_mask: None,
            handler: None,
            started: false,
            disabled: true,
            suspended: false,
            masked: true,
            in_progress: false,
            pending: false,
            ended: Rc::default(),
            counts: Vec::new(),
            unhandled: Unhandled::default(),
            lock: Rc::new(SpinLock::new(Lock::IrqDesc(irq.0), ())),
        }
    }

    /// No handler runs: what comes waits.
    pub(super) fn is_off(&self) -> bool {
        self.disabled || self.suspended
    }

    /// `kstat_incr_irqs_this_cpu`.
    pub(super) fn count(&mut self, cpu: u32) {
        let cpu = cpu as usize;
        if self.counts.len() <= cpu {
            self.counts.resize(cpu + 1, 0);
        }
        self.counts[cpu] += 1;
    }
}

/// What Linux counts of an interrupt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IrqCounts {
    /// How often each CPU took it, as in `/proc/interrupts`; CPUs that never did may be missing.
    pub taken: Vec<u64>,
    /// How many of the last ones nobody handled (`irqs_unhandled`).
    pub unhandled: u32,
}
