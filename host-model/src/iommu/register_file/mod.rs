//! The MMIO registers, and what follows from their bits: which rings run, which logs are written, which interrupts
//! the IOMMU sends.

use super::command_processor::CommandPointers;
use super::config::{Config, EventLogInt, GaTailStore, InterruptClear};
use super::logs::{Log, LogStatistics};
use super::own_interrupts::OwnInterrupts;
use super::spec::event::Event;
use super::spec::features::Features;
use super::spec::log::{GaEntry, PprEntry};
use super::spec::registers::{
    Control, DevTabBase, ExclusionBase, ExclusionLimit, GaLogTailAddress, HardwareEventStatus, Ring,
    RingBase, RingPointer, Status, offset,
};
use crate::driver::MsiMessage;

mod access;
mod device_table;
mod event_counts;
mod gates;
mod log_writes;

pub use access::RegisterRefusals;
pub(super) use device_table::{DteLocation, SEGMENTS};
pub use event_counts::EventCounts;

use access::{Part, Refusal};

/// The registers, but for the command buffer's pointers.
#[derive(Debug)]
pub(super) struct RegisterFile {
    features: Features,
    control_writable: u64,
    event_log_int: EventLogInt,
    interrupt_clear: InterruptClear,
    ga_tail_store: GaTailStore,
    control: Control,
    /// The write-1-to-clear bits only.
    status: Status,
    /// By segment.
    dev_tab_bases: [DevTabBase; SEGMENTS],
    cmd_base: RingBase,
    /// Stopped by an error, until CmdBufEn goes from 0 to 1.
    commands_halted: bool,
    events: Log<Event>,
    pprs: Log<PprEntry>,
    ga: Log<GaEntry>,
    ga_tail_address: GaLogTailAddress,
    exclusion: (ExclusionBase, ExclusionLimit),
    hardware_event: [u64; 2],
    hardware_event_status: HardwareEventStatus,
    interrupts: OwnInterrupts,
    refusals: RegisterRefusals,
    raised: EventCounts,
    unreported: u64,
    ga_tail_unwritable: u64,
}

/// What the registers, the logs and the IOMMU's own interrupts have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegisterStatistics {
    /// Accesses without effect.
    pub refusals: RegisterRefusals,
    /// Events, in the log or not.
    pub raised: EventCounts,
    /// Requests that were refused without an event: the specification has none, or table entries suppress it.
    pub unreported: u64,
    /// The event log.
    pub events: LogStatistics,
    /// The PPR log.
    pub pprs: LogStatistics,
    /// The GA log.
    pub ga: LogStatistics,
    /// Stores of the GA log's tail that memory refused.
    pub ga_tail_unwritable: u64,
    /// Interrupts that the IOMMU could not send at once: MSI is disabled, or the XT interrupt control register has no
    /// vector.
    pub undeliverable_interrupts: u64,
}

impl RegisterFile {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            features: config.features,
            control_writable: gates::control_writable(config),
            event_log_int: config.policies.event_log_int,
            interrupt_clear: config.policies.interrupt_clear,
            ga_tail_store: config.policies.ga_tail_store,
            control: Control::new(),
            status: Status::new(),
            dev_tab_bases: [DevTabBase::new(); SEGMENTS],
            cmd_base: RingBase::new(),
            commands_halted: false,
            events: Log::default(),
            pprs: Log::default(),
            ga: Log::default(),
            ga_tail_address: GaLogTailAddress::new(),
            exclusion: (ExclusionBase::new(), ExclusionLimit::new()),
            hardware_event: [0; 2],
            hardware_event_status: HardwareEventStatus::new(),
            interrupts: OwnInterrupts::new(config.policies.status_interrupts),
            refusals: RegisterRefusals::default(),
            raised: EventCounts::default(),
            unreported: 0,
            ga_tail_unwritable: 0,
        }
    }

    /// As [`new`](Self::new), but for what was counted.
    pub(super) fn power_cycle(&mut self, config: &Config) {
        let RegisterStatistics {
            refusals,
            raised,
            unreported,
            events,
            pprs,
            ga,
            ga_tail_unwritable,
            undeliverable_interrupts,
        } = self.statistics();
        *self = Self {
            refusals,
            raised,
            unreported,
            events: Log::counted(events),
            pprs: Log::counted(pprs),
            ga: Log::counted(ga),
            ga_tail_unwritable,
            interrupts: OwnInterrupts::new(config.policies.status_interrupts)
                .with_undeliverable(undeliverable_interrupts),
            ..Self::new(config)
        };
    }

    /// Reads a register, or an aligned half of one. What can't be read reads as 0.
    pub(super) fn read(&mut self, offset: u64, size: usize, commands: &CommandPointers) -> u64 {
        match Part::of(offset, size).and_then(|part| Ok((part, self.writable(part.register)?))) {
            Ok((part, _)) => (self.value(part.register, commands) & part.mask) >> part.shift,
            Err(refusal) => {
                self.refusals.count(refusal);
                0
            }
        }
    }

    /// Writes a register, or an aligned half of one, as far as software can write it.
    pub(super) fn write(&mut self, offset: u64, size: usize, value: u64, commands: &CommandPointers) {
        let written = Part::of(offset, size)
            .and_then(|part| self.write_part(part.register, value << part.shift, part.mask, commands));
        if let Err(refusal) = written {
            self.refusals.count(refusal);
        }
    }

    fn writable(&self, register: u64) -> Result<u64, Refusal> {
        gates::writable(register, &self.features, self.control_writable).ok_or(Refusal::Absent)
    }

    fn write_part(
        &mut self,
        register: u64,
        value: u64,
        mask: u64,
        commands: &CommandPointers,
    ) -> Result<(), Refusal> {
        let writable = self.writable(register)?;
        if writable == 0 {
            return Err(Refusal::ReadOnly);
        }
        if self.in_use(register) {
            return Err(Refusal::Running);
        }
        let old = self.value(register, commands);
        // What is read-only may be written back as it is.
        if value & mask & !writable & !old != 0 {
            self.refusals.count(Refusal::ReservedBits);
        }
        let bits = mask & writable;
        match register {
            // Nothing to store, and not even `old`: the command buffer's tail moves without the lock.
            _ if bits == 0 => {}
            offset::STATUS => self.clear_status(value & bits),
            offset::HW_EVENT_STATUS => {
                let left = self.hardware_event_status.into_bits() & !(value & bits);
                self.hardware_event_status = HardwareEventStatus::from_bits(left);
            }
            _ => {
                let new = old & !bits | value & bits;
                // It is kept, and keeps the ring from running.
                if is_ring_base(register) && RingBase::from_bits(new).parse().is_err() {
                    self.refusals.count(Refusal::ReservedValue);
                }
                if self.is_beyond_ring(register, new) {
                    self.refusals.count(Refusal::BeyondRing);
                }
                self.set(register, new, commands);
            }
        }
        Ok(())
    }

    /// Does a running ring use it? The specification leaves undefined what a write would do; it is ignored, as
    /// VirtualBox does.
    fn in_use(&self, register: u64) -> bool {
        match register {
            offset::CMD_BUF_BASE | offset::CMD_BUF_HEAD => self.command_ring().is_some(),
            offset::EVT_LOG_BASE | offset::EVT_LOG_TAIL => self.event_ring().is_some(),
            offset::PPR_LOG_BASE | offset::PPR_LOG_TAIL => self.ppr_ring().is_some(),
            offset::GA_LOG_BASE | offset::GA_LOG_TAIL => self.ga_ring().is_some(),
            _ => false,
        }
    }

    /// Is it a pointer, and beyond the end of its ring?
    fn is_beyond_ring(&self, register: u64, value: u64) -> bool {
        let base = match register {
            offset::CMD_BUF_HEAD | offset::CMD_BUF_TAIL => self.cmd_base,
            offset::EVT_LOG_HEAD | offset::EVT_LOG_TAIL => self.events.base,
            offset::PPR_LOG_HEAD | offset::PPR_LOG_TAIL => self.pprs.base,
            offset::GA_LOG_HEAD | offset::GA_LOG_TAIL => self.ga.base,
            _ => return false,
        };
        let pointer = RingPointer::from_bits(value);
        base.parse().is_ok_and(|ring| pointer.bytes() >= ring.bytes)
    }

    /// Bits of a command buffer tail that names an entry of its ring.
    pub(super) fn command_tail_bits(&self) -> u64 {
        let bits = |ring: Ring| u64::from(ring.bytes - ring.entry);
        self.cmd_base.parse().map_or(RingPointer::WRITABLE, bits)
    }

    /// Of a whole register that exists.
    fn value(&self, register: u64, commands: &CommandPointers) -> u64 {
        match register {
            offset::CMD_BUF_BASE => self.cmd_base.into_bits(),
            offset::EVT_LOG_BASE => self.events.base.into_bits(),
            offset::CONTROL => self.control.into_bits(),
            offset::EXCLUSION_BASE => self.exclusion.0.into_bits(),
            offset::EXCLUSION_LIMIT => self.exclusion.1.into_bits(),
            offset::EFR => self.features.efr().into_bits(),
            offset::PPR_LOG_BASE => self.pprs.base.into_bits(),
            offset::HW_EVENT_UPPER => self.hardware_event[0],
            offset::HW_EVENT_LOWER => self.hardware_event[1],
            offset::HW_EVENT_STATUS => self.hardware_event_status.into_bits(),
            offset::GA_LOG_BASE => self.ga.base.into_bits(),
            offset::GA_LOG_TAIL_ADDRESS => self.ga_tail_address.into_bits(),
            offset::EFR2 => self.features.efr2().into_bits(),
            offset::CMD_BUF_HEAD => commands.head().into_bits(),
            offset::CMD_BUF_TAIL => commands.tail().into_bits(),
            offset::EVT_LOG_HEAD => self.events.head.into_bits(),
            offset::EVT_LOG_TAIL => self.events.tail.into_bits(),
            offset::STATUS => self
                .status
                .with_cmd_buf_run(self.command_ring().is_some())
                .with_event_log_run(self.event_ring().is_some())
                .with_ppr_log_run(self.ppr_ring().is_some())
                .with_ga_log_run(self.ga_ring().is_some())
                .into_bits(),
            offset::PPR_LOG_HEAD => self.pprs.head.into_bits(),
            offset::PPR_LOG_TAIL => self.pprs.tail.into_bits(),
            offset::GA_LOG_HEAD => self.ga.head.into_bits(),
            offset::GA_LOG_TAIL => self.ga.tail.into_bits(),
            _ => match offset::dev_tab_segment(register) {
                Some(segment) => self.dev_tab_bases[segment].into_bits(),
                None => self.interrupts.read(register),
            },
        }
    }

    /// Gives a register a value that software can give it.
    fn set(&mut self, register: u64, value: u64, commands: &CommandPointers) {
        let (base, pointer) = (RingBase::from_bits(value), RingPointer::from_bits(value));
        match register {
            offset::CMD_BUF_BASE => {
                self.cmd_base = base;
                commands.set_head(0);
                commands.set_tail(0);
            }
            offset::EVT_LOG_BASE => self.events.rebase(base),
            offset::CONTROL => self.set_control(Control::from_bits(value)),
            offset::EXCLUSION_BASE => self.exclusion.0 = ExclusionBase::from_bits(value),
            offset::EXCLUSION_LIMIT => self.exclusion.1 = ExclusionLimit::from_bits(value),
            offset::PPR_LOG_BASE => self.pprs.rebase(base),
            offset::HW_EVENT_UPPER => self.hardware_event[0] = value,
            offset::HW_EVENT_LOWER => self.hardware_event[1] = value,
            offset::GA_LOG_BASE => self.ga.rebase(base),
            offset::GA_LOG_TAIL_ADDRESS => self.ga_tail_address = GaLogTailAddress::from_bits(value),
            offset::CMD_BUF_HEAD => commands.set_head(value),
            offset::CMD_BUF_TAIL => commands.set_tail(value),
            offset::EVT_LOG_HEAD => self.events.head = pointer,
            offset::EVT_LOG_TAIL => self.events.tail = pointer,
            offset::PPR_LOG_HEAD => self.pprs.head = pointer,
            offset::PPR_LOG_TAIL => self.pprs.tail = pointer,
            offset::GA_LOG_HEAD => self.ga.head = pointer,
            offset::GA_LOG_TAIL => self.ga.tail = pointer,
            _ => match offset::dev_tab_segment(register) {
                Some(segment) => self.dev_tab_bases[segment] = DevTabBase::from_bits(value),
                None => {
                    self.interrupts.write(register, value);
                    self.update_interrupts();
                }
            },
        }
    }

    fn set_control(&mut self, new: Control) {
        let (old, mut new) = (self.control, new);
        if new.dev_tbl_seg_en() > self.features.efr().dev_tbl_seg_sup() {
            self.refusals.count(Refusal::ReservedValue);
            new.set_dev_tbl_seg_en(old.dev_tbl_seg_en());
        }
        if new.cmd_buf_en() && !old.cmd_buf_en() {
            self.commands_halted = false;
        }
        // A log that overflowed starts again as Linux starts it again (`amd_iommu_restart_log`).
        if new.event_log_en() && !old.event_log_en() && !self.status.event_overflow() {
            self.events.restart();
        }
        if new.ppr_log_en() && !old.ppr_log_en() && !self.status.ppr_overflow() {
            self.pprs.restart();
        }
        if new.ga_log_en() && !old.ga_log_en() && !self.status.ga_log_overflow() {
            self.ga.restart();
        }
        self.control = new;
        self.update_interrupts();
    }

    fn clear_status(&mut self, bits: u64) {
        let mut cleared = Status::from_bits(bits);
        if self.interrupt_clear == InterruptClear::RacesWithEntries {
            cleared.set_event_log_int(cleared.event_log_int() && !self.events.waiting());
            cleared.set_ppr_int(cleared.ppr_int() && !self.pprs.waiting());
        }
        self.status = Status::from_bits(self.status.into_bits() & !cleared.into_bits());
        self.update_interrupts();
    }

    /// Something that interrupts depend on changed.
    fn update_interrupts(&mut self) {
        self.interrupts.update(self.status, self.control, Status::new());
    }

    /// Sets write-1-to-clear bits, and raises their interrupt.
    fn set_status(&mut self, bits: Status) {
        self.status = Status::from_bits(self.status.into_bits() | bits.into_bits());
        self.interrupts.update(self.status, self.control, bits);
    }

    /// IOMMU Control.
    pub(super) const fn control(&self) -> Control {
        self.control
    }

    /// Base address register of a device table segment, 0 to 7.
    pub(super) const fn dev_tab_base(&self, segment: usize) -> DevTabBase {
        self.dev_tab_bases[segment]
    }

    /// Exclusion Base and Range Limit.
    pub(super) const fn exclusion(&self) -> (ExclusionBase, ExclusionLimit) {
        self.exclusion
    }

    /// The command buffer, if commands are fetched (Status.CmdBufRun).
    pub(super) fn command_ring(&self) -> Option<Ring> {
        let run = self.control.iommu_en() && self.control.cmd_buf_en() && !self.commands_halted;
        run.then(|| self.cmd_base.parse().ok()).flatten()
    }

    pub(super) fn halt_commands(&mut self) {
        self.commands_halted = true;
    }

    /// A COMPLETION_WAIT with its interrupt bit completed. Status.ComWaitInt is set whether or not ComWaitIntEn is.
    pub(super) fn completion_wait_interrupt(&mut self) {
        self.set_status(Status::new().with_com_wait_int(true));
    }

    /// The MSI capability, as configuration space sets it: `None` disables it.
    pub(super) fn set_msi(&mut self, message: Option<MsiMessage>) {
        self.interrupts.set_msi(message);
        self.update_interrupts();
    }

    pub(super) fn statistics(&self) -> RegisterStatistics {
        RegisterStatistics {
            refusals: self.refusals,
            raised: self.raised,
            unreported: self.unreported,
            events: self.events.statistics(),
            pprs: self.pprs.statistics(),
            ga: self.ga.statistics(),
            ga_tail_unwritable: self.ga_tail_unwritable,
            undeliverable_interrupts: self.interrupts.undeliverable(),
        }
    }
}

const fn is_ring_base(register: u64) -> bool {
    matches!(
        register,
        offset::CMD_BUF_BASE | offset::EVT_LOG_BASE | offset::PPR_LOG_BASE | offset::GA_LOG_BASE
    )
}
