//! What a step did.

use super::own_interrupts::{InterruptForm, InterruptSource};
use super::spec::command::{Command, CommandError};
use super::spec::event::Event;
use super::spec::log::{GaEntry, PprEntry};

/// One unit of the IOMMU's own work. Offsets are bytes from the start of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A command took effect, and the head pointer moved on.
    CommandExecuted {
        /// Where it was.
        offset: u32,
        /// The command.
        command: Command,
        /// It is complete. Otherwise older lookups are unanswered, and [`Self::CommandRetired`] follows.
        retired: bool,
    },
    /// The last lookup that an executed command waited for was answered.
    CommandRetired {
        /// Where it was.
        offset: u32,
        /// The command.
        command: Command,
    },
    /// A COMPLETION_WAIT was fetched and waits until every older command is retired. No step follows before a
    /// lookup is answered.
    Waiting {
        /// Where it is.
        offset: u32,
        /// The command.
        command: Command,
    },
    /// A COMPLETION_WAIT with a store completed, and the head pointer moved on.
    CompletionStored {
        /// Where it was.
        offset: u32,
        /// The command.
        command: Command,
        /// Guest physical address.
        address: u64,
        /// 64 bits.
        data: u64,
    },
    /// Command processing stopped; the head pointer stays at the offender. The event follows as a step of its own.
    Halted {
        /// Where the offender is.
        offset: u32,
        /// What is wrong with it.
        reason: HaltReason,
        /// What is reported.
        event: Event,
    },
    /// An event is in the log.
    EventWritten {
        /// The event.
        event: Event,
        /// Where it is.
        offset: u32,
    },
    /// An event is lost.
    EventDropped {
        /// The event.
        event: Event,
        /// Why.
        reason: DropReason,
    },
    /// A peripheral page request is in the PPR log.
    PprWritten {
        /// The request.
        entry: PprEntry,
        /// Where it is.
        offset: u32,
    },
    /// A peripheral page request is lost.
    PprDropped {
        /// The request.
        entry: PprEntry,
        /// Why.
        reason: DropReason,
    },
    /// An interrupt for a guest that does not run is in the GA log.
    GaWritten {
        /// The interrupt.
        entry: GaEntry,
        /// Where it is.
        offset: u32,
    },
    /// An interrupt for a guest that does not run is lost.
    GaDropped {
        /// The interrupt.
        entry: GaEntry,
        /// Why.
        reason: DropReason,
    },
    /// The IOMMU sends an interrupt of its own, which is not remapped.
    Interrupt {
        /// What it is about.
        source: InterruptSource,
        /// How it is sent.
        form: InterruptForm,
    },
}

/// Why command processing stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HaltReason {
    /// ILLEGAL_COMMAND_ERROR.
    #[error(transparent)]
    Illegal(CommandError),
    /// COMMAND_HARDWARE_ERROR: the command can't be read.
    #[error("the command at {0:#x} can't be read")]
    FetchFailed(u64),
    /// COMMAND_HARDWARE_ERROR: a COMPLETION_WAIT can't store.
    #[error("COMPLETION_WAIT can't store to {0:#x}")]
    StoreFailed(u64),
}

/// Why an entry of a log is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// The log's run bit in Status is 0.
    #[error("the log does not run")]
    NotRunning,
    /// The ring is full. The log's overflow bit in Status is set, and logging stops.
    #[error("the log is full")]
    Overflow,
    /// The ring lies outside of memory.
    #[error("the log can't be written at {address:#x}")]
    Unwritable {
        /// Guest physical address of the entry.
        address: u64,
    },
}
