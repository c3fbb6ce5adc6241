//! The one stream of everything observable. Snapshots, verdicts and reports are views of it.

use std::cell::{Cell, RefCell};
use std::fmt;

use sim_bridge::tlp::Tlp;
use sim_bridge::{RequesterId, SimTime};

use crate::checker::Freshness;
use crate::iommu::spec::command::Command;
use crate::iommu::spec::irte::IrteFormat;
use crate::iommu::translate::{MemoryRequest, TranslationOutcome};
use crate::iommu::{Answer, DeliveryMode, InterruptRequest, InterruptSource, Step};

/// Something observable.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When.
    pub time: SimTime,
    /// Who did it.
    pub source: Source,
    /// What.
    pub kind: Kind,
}

/// Who did something observable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The device at the end of a link, by the link's number.
    Rtl(usize),
    /// A link between device and host, by number.
    Link(usize),
    /// The IOMMU.
    Iommu,
    /// A CPU.
    Cpu(u32),
    /// The operating system's IOMMU driver, on this CPU.
    Driver(u32),
    /// Who drives the run.
    Scenario,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A device sent an interrupt message (source `rtl`, at the time of sending), or an I/O APIC or HPET did, which only
    /// a scenario drives.
    InterruptSent(InterruptRequest),
    /// A TLP reached the host (source `link`).
    ToHost(Tlp),
    /// A TLP left the host (source `link`).
    ToDevice(Tlp),
    /// The root complex dropped a device's write (source `link`).
    Dropped {
        /// Who wrote.
        requester: RequesterId,
        /// Where to, as the device sees it.
        address: u64,
        /// Why.
        why: Dropped,
    },
    /// The IOMMU answered an interrupt request.
    Answered {
        /// What it said, and what it used.
        answer: Answer,
        /// How that compares with memory; `None` without a checker.
        freshness: Option<Freshness>,
    },
    /// The IOMMU answered a memory request.
    Translated {
        /// As the device sent it.
        request: MemoryRequest,
        /// What becomes of it.
        outcome: TranslationOutcome,
        /// How that compares with memory; `None` without a checker.
        freshness: Option<Freshness>,
    },
    /// The IOMMU's command processor, logs or own interrupts moved on.
    Stepped(Step),
    /// The machine's power went and came back: the IOMMU's registers are as after reset.
    PowerCycled,
    /// An interrupt of the IOMMU's own has ended.
    OwnInterrupt {
        /// What it is about.
        about: InterruptSource,
        /// Whose local APICs took it.
        reached: Result<Vec<u32>, Loss>,
    },
    /// An interrupt message has ended.
    Ended {
        /// As the device sent it.
        request: InterruptRequest,
        /// Where it ended.
        ending: Ending,
    },
    /// A CPU took an interrupt and ran the handler of this vector, if any.
    Taken {
        /// The vector.
        vector: u8,
        /// A handler is installed.
        handled: bool,
    },
    /// A CPU is done with the interrupt that it took last, and its local APIC may give it the next.
    EndOfInterrupt {
        /// The vector.
        vector: u8,
    },
    /// A register of the IOMMU was written.
    RegisterWritten {
        /// Byte offset.
        offset: u64,
        /// Bytes.
        size: usize,
        /// What.
        value: u64,
    },
    /// A CPU did something with a spinlock.
    Lock {
        /// Which.
        lock: Lock,
        /// What.
        step: LockStep,
    },
    /// A driver call began.
    CallBegan(&'static str),
    /// A driver call returned.
    CallEnded(&'static str),
    /// The driver put a command into the ring.
    Queued(Command),
    /// The driver put a command into the ring of another IOMMU, which is none of this machine's.
    QueuedElsewhere {
        /// What.
        command: Command,
        /// The driver's function that did.
        function: &'static str,
        /// Where it has that IOMMU from.
        table: &'static str,
    },
    /// The driver wrote a device table entry's interrupt half or the whole of it.
    DteWritten {
        /// Whose.
        device: RequesterId,
        /// All four quadwords, after.
        raw: [u64; 4],
    },
    /// The driver used what it knew of a function that is gone: a kernel would read freed memory here.
    UsedAfterRelease {
        /// The driver's function that did.
        function: &'static str,
        /// The function that is gone.
        device: RequesterId,
        /// When it was released.
        released_at: SimTime,
        /// By which CPU.
        released_on: u32,
    },
    /// The driver dereferenced a NULL pointer: a kernel oopses here, and the task that runs on this CPU is dead.
    NullDereference {
        /// The driver's function that did.
        function: &'static str,
        /// Where the pointer is from.
        table: &'static str,
        /// The requester ID that has none there.
        device: RequesterId,
        /// The lock that nobody will unlock.
        lock: Lock,
    },
    /// The driver wrote a remapping entry.
    IrteWritten {
        /// The function that it was allocated for.
        device: RequesterId,
        /// Its index.
        index: u16,
        /// After; the low 32 bits where entries have 32.
        raw: u128,
        /// Of all entries.
        format: IrteFormat,
    },
    /// The operating system's log.
    KernelLog(String),
    /// A step of the scenario begins.
    ScenarioStep(String),
}

/// A spinlock of the operating system, by Linux's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lock {
    /// `iommu->lock`: the command ring's.
    Iommu,
    /// `irq_desc->lock` of an interrupt, by number.
    IrqDesc(u32),
    /// `iommu_table_lock`: who has which remapping table.
    IommuTable,
    /// `table->lock` of the remapping table that was allocated for this requester ID.
    Table(RequesterId),
    /// `dev_data->dte_lock` of a requester ID.
    Dte(RequesterId),
    /// `domain->lock`, by the domain's ID.
    Domain(u16),
    /// `ioapic_lock`: all I/O APICs' registers.
    IoApic,
}

/// What a CPU does with a spinlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockStep {
    /// It is held or waited for by others; the CPU spins.
    Contended,
    /// The CPU has it.
    Taken {
        /// The CPU takes no interrupts.
        interrupts_off: bool,
    },
    /// The CPU gave it up.
    Released,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iommu => f.write_str("iommu->lock"),
            Self::IrqDesc(irq) => write!(f, "irq_desc->lock {irq}"),
            Self::IommuTable => f.write_str("iommu_table_lock"),
            Self::Table(id) => write!(f, "table->lock {id}"),
            Self::Dte(id) => write!(f, "dte_lock {id}"),
            Self::Domain(id) => write!(f, "domain->lock {id}"),
            Self::IoApic => f.write_str("ioapic_lock"),
        }
    }
}

/// Why the root complex drops a device's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// Its payload is known to be bad.
    Poisoned,
    /// It is to 0xFEEx_xxxx and not one whole DW.
    NoInterruptMessage,
    /// It is not, or not all, to memory.
    NoMemory,
    /// The IOMMU refuses it.
    Refused,
    /// It asks for a translation, as only reads can (PCIe Base spec 10.2.2).
    TranslationRequest,
}

/// Why an interrupt message reaches no CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// No local APIC has this physical or logical ID.
    NoApic(u32),
    /// The local APIC with this ID is disabled: its CPU is offline.
    ApicDisabled(u32),
    /// Local APICs take no vectors below 16.
    IllegalVector(u8),
    /// 3 or 6.
    ReservedDeliveryMode(u8),
    /// It is no write to 0xFEEx_xxxx but one to memory, at this address.
    NoInterruptMessage(u64),
    /// Requested for a virtual CPU in this vAPIC backing page, and no CPU of this machine runs one.
    Posted(u64),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoApic(destination) => write!(f, "no local APIC {destination:#x}"),
            Self::ApicDisabled(id) => write!(f, "the local APIC {id:#x} is disabled"),
            Self::IllegalVector(vector) => write!(f, "vector {vector:#04x} is illegal"),
            Self::ReservedDeliveryMode(mode) => write!(f, "delivery mode {mode} is reserved"),
            Self::NoInterruptMessage(address) => write!(f, "{address:#x} is no interrupt message's"),
            Self::Posted(page) => write!(f, "posted in {page:#x}, and no virtual CPU runs"),
        }
    }
}

/// Where an interrupt message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// At a CPU and vector with the device's own handler.
    Delivered {
        /// CPU number.
        cpu: u32,
        /// Vector.
        vector: u8,
    },
    /// At a CPU and vector with another handler.
    Misrouted {
        /// CPU number.
        cpu: u32,
        /// Vector.
        vector: u8,
    },
    /// At a CPU and vector without a handler.
    Spurious {
        /// CPU number.
        cpu: u32,
        /// Vector.
        vector: u8,
    },
    /// At a CPU, as what has no vector and no handler: SMI, NMI, INIT or ExtInt.
    Special {
        /// CPU number.
        cpu: u32,
        /// What.
        mode: DeliveryMode,
    },
    /// Refused by the IOMMU.
    Blocked,
    /// Nowhere.
    Lost(Loss),
}

impl Event {
    /// The command that the IOMMU executed, if this is that.
    pub fn executed(&self) -> Option<Command> {
        match self.kind {
            Kind::Stepped(Step::CommandExecuted { command, .. } | Step::CompletionStored { command, .. }) => {
                Some(command)
            }
            _ => None,
        }
    }
}

impl Ending {
    /// The CPU that it reached.
    pub fn cpu(&self) -> Option<u32> {
        match *self {
            Self::Delivered { cpu, .. }
            | Self::Misrouted { cpu, .. }
            | Self::Spurious { cpu, .. }
            | Self::Special { cpu, .. } => Some(cpu),
            Self::Blocked | Self::Lost(_) => None,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { cpu, vector } => write!(f, "delivered to CPU {cpu} vector {vector:#04x}"),
            Self::Misrouted { cpu, vector } => write!(f, "misrouted to CPU {cpu} vector {vector:#04x}"),
            Self::Spurious { cpu, vector } => write!(f, "spurious at CPU {cpu} vector {vector:#04x}"),
            Self::Special { cpu, mode } => write!(f, "{mode:?} at CPU {cpu}"),
            Self::Blocked => f.write_str("blocked"),
            Self::Lost(loss) => write!(f, "lost: {loss}"),
        }
    }
}

/// Records events, or drops them where nobody will look.
#[derive(Debug, Default)]
pub struct Trace {
    off: Cell<bool>,
    events: RefCell<Vec<Event>>,
}

impl Trace {
    /// Records nothing.
    pub fn off() -> Self {
        Self {
            off: Cell::new(true),
            events: RefCell::default(),
        }
    }

    /// Adds an event.
    pub fn record(&self, time: SimTime, source: Source, kind: Kind) {
        if !self.off.get() {
            self.events.borrow_mut().push(Event { time, source, kind });
        }
    }

    /// Takes all events, in the order of recording: by time, except that the device's sending is recorded when the
    /// host learns of it.
    pub fn take(&self) -> Vec<Event> {
        self.events.take()
    }

    /// Looks at the events from number `from` on.
    pub fn look<T>(&self, from: usize, look: impl FnOnce(&[Event]) -> T) -> T {
        let events = self.events.borrow();
        look(events.get(from..).unwrap_or_default())
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.events.borrow().len()
    }

    /// Without events.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_shown_by_linuxs_names() {
        let id = RequesterId::new(0x41, 0, 0);
        let shown = [
            (Lock::Iommu, "iommu->lock"),
            (Lock::IrqDesc(24), "irq_desc->lock 24"),
            (Lock::IommuTable, "iommu_table_lock"),
            (Lock::Table(id), "table->lock 41:00.0"),
            (Lock::Dte(id), "dte_lock 41:00.0"),
            (Lock::Domain(1), "domain->lock 1"),
            (Lock::IoApic, "ioapic_lock"),
        ];
        for (lock, text) in shown {
            assert_eq!(lock.to_string(), text);
        }
    }
}
