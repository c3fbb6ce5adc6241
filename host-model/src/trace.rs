//! The one stream of everything observable. Snapshots, verdicts and reports are views of it.

use std::cell::{Cell, RefCell};
use std::fmt;

use sim_bridge::tlp::Tlp;
use sim_bridge::{RequesterId, SimTime};

use crate::checker::Freshness;
use crate::iommu::spec::command::Command;
use crate::iommu::spec::irte::IrteFormat;
use crate::iommu::{Answer, InterruptRequest, Step};

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
    /// The device.
    Rtl,
    /// The link between device and host.
    Link,
    /// The IOMMU.
    Iommu,
    /// A CPU.
    Cpu(u32),
    /// The operating system's IOMMU driver.
    Driver,
    /// Who drives the run.
    Scenario,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The device sent an interrupt message (source `rtl`, at the time of sending).
    InterruptSent(InterruptRequest),
    /// A TLP reached the host (source `link`).
    ToHost(Tlp),
    /// A TLP left the host (source `link`).
    ToDevice(Tlp),
    /// The root complex dropped the write that came last (source `link`).
    Dropped(Dropped),
    /// The IOMMU answered an interrupt request.
    Answered {
        /// What it said, and what it used.
        answer: Answer,
        /// How that compares with memory; `None` without a checker.
        freshness: Option<Freshness>,
    },
    /// The IOMMU's command processor or event log moved on.
    Stepped(Step),
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
    /// A register of the IOMMU was written.
    RegisterWritten {
        /// Byte offset.
        offset: u64,
        /// Bytes.
        size: usize,
        /// What.
        value: u64,
    },
    /// A driver call began.
    CallBegan(&'static str),
    /// A driver call returned.
    CallEnded(&'static str),
    /// The driver put a command into the ring.
    Queued(Command),
    /// The driver wrote a device table entry's interrupt half or the whole of it.
    DteWritten {
        /// Whose.
        device: RequesterId,
        /// All four quadwords, after.
        raw: [u64; 4],
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

/// Why the root complex drops a device's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// Its payload is known to be bad.
    Poisoned,
    /// It is to 0xFEEx_xxxx and not one whole DW.
    NoInterruptMessage,
    /// It is not, or not all, to memory.
    NoMemory,
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
    /// Refused by the IOMMU.
    Blocked,
    /// Nowhere: no local APIC has this ID.
    Lost {
        /// The APIC ID.
        destination: u32,
    },
    /// Nowhere: requested for a virtual CPU, and no CPU of this machine runs one.
    Posted {
        /// Physical address of the vAPIC backing page.
        backing_page: u64,
    },
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
    /// CPU and vector, where it reached any.
    pub fn place(&self) -> Option<(u32, u8)> {
        match *self {
            Self::Delivered { cpu, vector }
            | Self::Misrouted { cpu, vector }
            | Self::Spurious { cpu, vector } => Some((cpu, vector)),
            Self::Blocked | Self::Lost { .. } | Self::Posted { .. } => None,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { cpu, vector } => write!(f, "delivered to CPU {cpu} vector {vector:#04x}"),
            Self::Misrouted { cpu, vector } => write!(f, "misrouted to CPU {cpu} vector {vector:#04x}"),
            Self::Spurious { cpu, vector } => write!(f, "spurious at CPU {cpu} vector {vector:#04x}"),
            Self::Blocked => f.write_str("blocked"),
            Self::Lost { destination } => write!(f, "lost: no local APIC {destination:#x}"),
            Self::Posted { backing_page } => {
                write!(f, "lost: posted in {backing_page:#x}, and no virtual CPU runs")
            }
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
