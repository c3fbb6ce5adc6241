//! The MMIO registers.

use super::command_processor::CommandPointers;
use super::config::{Config, IrtCacheDis};
use super::spec::features::Features;
use super::spec::registers::{Control, DevTabBase, Ring, RingBase, RingPointer, Status, offset};

/// The registers, and what makes their run bits.
#[derive(Debug)]
pub(super) struct RegisterFile {
    features: Features,
    control_writable: u64,
    pub(super) dev_tab_base: DevTabBase,
    pub(super) control: Control,
    cmd_base: RingBase,
    evt_base: RingBase,
    pub(super) evt_head: RingPointer,
    pub(super) evt_tail: RingPointer,
    /// The write-1-to-clear bits only.
    pub(super) status: Status,
    /// Exclusion range and XT interrupt control: kept, and of no effect on the interrupt half.
    exclusion: [u64; 2],
    xt_int_control: [u64; 3],
    /// Stopped by an error, until CmdBufEn goes from 0 to 1.
    commands_halted: bool,
    /// Stopped by an overflow, until EventLogEn goes from 0 to 1 with EventOverflow clear.
    events_halted: bool,
}

const EXCLUSION_WRITABLE: [u64; 2] = [0x000f_ffff_ffff_f003, 0x000f_ffff_ffff_f000];
/// Destination mode, destination 23:0, vector, delivery mode, destination 31:24 (Linux `union intcapxt`).
const XT_INT_WRITABLE: u64 = 0xff00_01ff_ffff_ff04;

impl RegisterFile {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            features: config.features,
            control_writable: control_writable(config),
            dev_tab_base: DevTabBase::new(),
            control: Control::new(),
            cmd_base: RingBase::new(),
            evt_base: RingBase::new(),
            evt_head: RingPointer::new(),
            evt_tail: RingPointer::new(),
            status: Status::new(),
            exclusion: [0; 2],
            xt_int_control: [0; 3],
            commands_halted: false,
            events_halted: false,
        }
    }

    /// `offset` is that of a whole register; 0 if it is reserved.
    pub(super) fn read(&self, register: u64, commands: &CommandPointers) -> u64 {
        match register {
            offset::DEV_TAB_BASE => self.dev_tab_base.into_bits(),
            offset::CMD_BUF_BASE => self.cmd_base.into_bits(),
            offset::EVT_LOG_BASE => self.evt_base.into_bits(),
            offset::CONTROL => self.control.into_bits(),
            offset::EXCLUSION_BASE => self.exclusion[0],
            offset::EXCLUSION_LIMIT => self.exclusion[1],
            offset::EFR => self.features.efr().into_bits(),
            offset::EFR2 => self.features.efr2().into_bits(),
            offset::XT_INT_CONTROL => self.xt_int_control[0],
            offset::XT_PPR_INT_CONTROL => self.xt_int_control[1],
            offset::XT_GA_INT_CONTROL => self.xt_int_control[2],
            offset::CMD_BUF_HEAD => commands.head().into_bits(),
            offset::CMD_BUF_TAIL => commands.tail().into_bits(),
            offset::EVT_LOG_HEAD => self.evt_head.into_bits(),
            offset::EVT_LOG_TAIL => self.evt_tail.into_bits(),
            offset::STATUS => self
                .status
                .with_cmd_buf_run(self.command_ring().is_some())
                .with_event_log_run(self.event_log_runs())
                .into_bits(),
            _ => 0,
        }
    }

    /// Writes the bits of `mask`, as far as software can write them.
    pub(super) fn write(&mut self, register: u64, value: u64, mask: u64, commands: &CommandPointers) {
        let merge = |old: u64, writable: u64| old & !(mask & writable) | value & mask & writable;
        let ring_base = |old: RingBase| RingBase::from_bits(merge(old.into_bits(), RingBase::WRITABLE));
        let pointer =
            |old: RingPointer| RingPointer::from_bits(merge(old.into_bits(), RingPointer::WRITABLE));
        let commands_run = self.command_ring().is_some();
        let events_run = self.event_log_runs();
        match register {
            offset::DEV_TAB_BASE => {
                let bits = merge(self.dev_tab_base.into_bits(), DevTabBase::WRITABLE);
                self.dev_tab_base = DevTabBase::from_bits(bits);
            }
            offset::CMD_BUF_BASE if !commands_run => {
                self.cmd_base = ring_base(self.cmd_base);
                commands.set_head(0);
                commands.set_tail(0);
            }
            offset::EVT_LOG_BASE if !events_run => {
                self.evt_base = ring_base(self.evt_base);
                (self.evt_head, self.evt_tail) = (RingPointer::new(), RingPointer::new());
            }
            offset::CONTROL => {
                let bits = merge(self.control.into_bits(), self.control_writable);
                self.set_control(Control::from_bits(bits));
            }
            offset::EXCLUSION_BASE => self.exclusion[0] = merge(self.exclusion[0], EXCLUSION_WRITABLE[0]),
            offset::EXCLUSION_LIMIT => self.exclusion[1] = merge(self.exclusion[1], EXCLUSION_WRITABLE[1]),
            offset::XT_INT_CONTROL | offset::XT_PPR_INT_CONTROL | offset::XT_GA_INT_CONTROL
                if self.features.efr().xt_sup() =>
            {
                let control = &mut self.xt_int_control[(register - offset::XT_INT_CONTROL) as usize / 8];
                *control = merge(*control, XT_INT_WRITABLE);
            }
            // The IOMMU owns these two while it runs.
            offset::CMD_BUF_HEAD if !commands_run => commands.set_head(pointer(commands.head()).into_bits()),
            offset::EVT_LOG_TAIL if !events_run => self.evt_tail = pointer(self.evt_tail),
            offset::CMD_BUF_TAIL => commands.set_tail(pointer(commands.tail()).into_bits()),
            offset::EVT_LOG_HEAD => self.evt_head = pointer(self.evt_head),
            offset::STATUS => {
                let cleared = value & mask & Status::WRITE_1_TO_CLEAR;
                self.status = Status::from_bits(self.status.into_bits() & !cleared);
            }
            _ => {}
        }
    }

    fn set_control(&mut self, new: Control) {
        if new.cmd_buf_en() && !self.control.cmd_buf_en() {
            self.commands_halted = false;
        }
        if new.event_log_en() && !self.control.event_log_en() && !self.status.event_overflow() {
            self.events_halted = false;
        }
        self.control = new;
    }

    /// The command buffer, if commands are fetched (Status.CmdBufRun).
    pub(super) fn command_ring(&self) -> Option<Ring> {
        let run = self.control.iommu_en() && self.control.cmd_buf_en() && !self.commands_halted;
        run.then(|| self.cmd_base.parse().ok()).flatten()
    }

    pub(super) fn halt_commands(&mut self) {
        self.commands_halted = true;
    }

    /// The event log, if events are written (Status.EventLogRun).
    pub(super) fn event_ring(&self) -> Option<Ring> {
        let run = self.control.iommu_en() && self.control.event_log_en() && !self.events_halted;
        run.then(|| self.evt_base.parse().ok()).flatten()
    }

    pub(super) fn event_log_runs(&self) -> bool {
        self.event_ring().is_some()
    }

    pub(super) fn event_overflow(&mut self) {
        self.status.set_event_overflow(true);
        self.events_halted = true;
    }
}

/// Control bits of features that the IOMMU has.
fn control_writable(config: &Config) -> u64 {
    let (efr, efr2) = (config.features.efr(), config.features.efr2());
    Control::new()
        .with_iommu_en(true)
        .with_ht_tun_en(true)
        .with_event_log_en(true)
        .with_event_int_en(true)
        .with_com_wait_int_en(true)
        .with_inv_timeout(7)
        .with_pass_pw(true)
        .with_res_pass_pw(true)
        .with_coherent(true)
        .with_isoc(true)
        .with_cmd_buf_en(true)
        .with_gt_en(efr.gt_sup())
        .with_ga_en(efr.ga_sup())
        .with_num_int_remap_mode(efr2.num_int_remap_sup())
        .with_xt_en(efr.xt_sup())
        .with_int_cap_xt_en(efr.xt_sup())
        .with_gcr3_trp_mode(efr2.gcr3_trp_mode_sup())
        .with_irt_cache_dis(config.policies.irt_cache_dis == IrtCacheDis::Sticky)
        .into_bits()
}
