//! Start-up (Linux drivers/iommu/amd/init.c): `early_enable_iommu` before any device is looked at, and what
//! `amd_iommu_init_pci` does around the devices' probes. One IOMMU, no PPR log.

use sim_bridge::RequesterId;

use super::irte::Format;
use super::profile::IrtCacheDisable;
use super::{Ivhd, LinuxDriver, command_queue};
use crate::driver::DriverError;
use crate::iommu::spec::command::Command;
use crate::iommu::spec::features::{Efr, Efr2};
use crate::iommu::spec::registers::{Control, DevTabBase, GaLogTailAddress, RingBase, Status, offset};
use crate::machine::{Cpu, IOMMU_MMIO};

/// `CTRL_INV_TO_1S`.
const INV_TIMEOUT_1S: u8 = 4;
/// IV, with all else zero: interrupts are aborted until there is a table.
const INTERRUPTS_BLOCKED: u64 = 1;
/// V, TV.
const VALID_TRANSLATION: u8 = 3;

/// `GA_LOG_SIZE_512`.
const GA_LOG_LENGTH: u8 = 8;
/// `MMIO_STATUS_TIMEOUT`, in passes of 10 us.
const STATUS_TIMEOUT: u32 = 1000;
/// Control.GAMEn: vAPIC.
const GAM_VAPIC: u8 = 1;

/// Clears one control bit.
type ClearBit = fn(Control) -> Control;

/// `iommu_disable`, in its order.
const DISABLE: [ClearBit; 9] = [
    |c| c.with_cmd_buf_en(false),
    |c| c.with_event_int_en(false),
    |c| c.with_event_log_en(false),
    |c| c.with_ga_log_en(false),
    |c| c.with_ga_int_en(false),
    |c| c.with_ppr_log_en(false),
    |c| c.with_ppr_int_en(false),
    |c| c.with_iommu_en(false),
    |c| c.with_irt_cache_dis(false),
];

impl LinuxDriver {
    /// Phase A.
    pub(super) async fn early_enable(&self, cpu: &Cpu) {
        // Every control bit is written on its own, by 64-bit read-modify-write.
        self.disable(cpu).await; // disable_iommus
        self.init_device_table(cpu);
        self.early_enable_iommu(cpu).await;
    }

    /// `early_enable_iommu`.
    pub(super) async fn early_enable_iommu(&self, cpu: &Cpu) {
        self.disable(cpu).await;
        self.init_flags(cpu).await;
        let efr = self.efr.get();
        if efr.eph_sup() {
            control(cpu, |c| c.with_eph_en(true)).await;
        }
        let table = DevTabBase::new()
            .with_base(self.device_table >> 12)
            .with_size((self.device_table_bytes / 4096 - 1) as u16);
        write_base(cpu, offset::DEV_TAB_BASE, table.into_bits()).await;
        self.enable_command_buffer(cpu).await;
        if self.profile.boot.early_event_log {
            self.enable_event_log(cpu).await;
        }
        if self.profile.boot.early_guest_translation {
            self.enable_gt(cpu).await;
        }
        if self.irte_format == Format::Bits128 {
            control(cpu, |c| c.with_ga_en(true)).await;
            if efr.xt_sup() {
                control(cpu, |c| c.with_xt_en(true)).await;
            }
        }
        if self.wants_irtcachedis() {
            control(cpu, |c| c.with_irt_cache_dis(true)).await;
            self.irtcachedis.set(read_control(cpu).await.irt_cache_dis());
        }
        if self.has_tables_of_2048() {
            control(cpu, |c| c.with_num_int_remap_mode(1)).await;
        }
        control(cpu, |c| c.with_iommu_en(true)).await;
        self.flush_all_caches(cpu).await;
    }

    fn wants_irtcachedis(&self) -> bool {
        match self.profile.irt_flush.irtcachedis {
            IrtCacheDisable::Unknown => false,
            IrtCacheDisable::NotHonoured | IrtCacheDisable::Honoured => self.options.irtcachedis,
            IrtCacheDisable::Always => true,
        }
    }

    /// Phase B.
    pub(super) async fn init_pci(&self, cpu: &Cpu, functions: &[RequesterId]) -> Result<(), DriverError> {
        if !self.profile.boot.early_event_log {
            self.enable_event_log(cpu).await;
        }
        // late_iommu_features_init: what IVHD didn't tell is taken from the registers.
        let efr = Efr::from_bits(cpu.mmio_read(IOMMU_MMIO + offset::EFR, 8).await);
        let efr2 = Efr2::from_bits(cpu.mmio_read(IOMMU_MMIO + offset::EFR2, 8).await);
        if self.ivrs.ivhd == Ivhd::Type10 {
            self.efr.set(efr);
            self.efr2.set(efr2);
        }
        if self.profile.boot.early_guest_translation {
            self.enable_gt(cpu).await;
        }
        // Others have another IOMMU or none: -ENODEV, and start-up goes on.
        let ours: Vec<_> = functions
            .iter()
            .filter(|id| self.check_device(**id).is_ok())
            .collect();
        for &&function in &ours {
            self.probe_device(cpu, function).await?;
        }
        for &&function in &ours {
            self.attach(cpu, function).await?;
        }
        if !self.has_no_translation() {
            self.init_device_table_dma(cpu);
        }
        self.flush_all_caches(cpu).await;
        if !self.profile.boot.early_guest_translation {
            self.enable_gt(cpu).await;
        }
        control(cpu, |c| c.with_event_int_en(true)).await;
        self.enable_vapic(cpu).await;
        Ok(())
    }

    /// `iommu_enable_event_buffer`.
    pub(super) async fn enable_event_log(&self, cpu: &Cpu) {
        write_base(cpu, offset::EVT_LOG_BASE, ring_base(self.event_log)).await;
        cpu.writel(IOMMU_MMIO + offset::EVT_LOG_HEAD, 0).await;
        cpu.writel(IOMMU_MMIO + offset::EVT_LOG_TAIL, 0).await;
        control(cpu, |c| c.with_event_log_en(true)).await;
    }

    /// `iommu_enable_gt`.
    pub(super) async fn enable_gt(&self, cpu: &Cpu) {
        if !self.efr.get().gt_sup() {
            return;
        }
        control(cpu, |c| c.with_gt_en(true)).await;
        if self.profile.tables_of_2048 && self.efr2.get().gcr3_trp_mode_sup() {
            control(cpu, |c| c.with_gcr3_trp_mode(true)).await;
        }
    }

    /// `enable_iommus_vapic`: the GA log, and guest mode.
    pub(super) async fn enable_vapic(&self, cpu: &Cpu) {
        let has_vapic = self.irte_format == Format::Bits128 && self.efr.get().gam_sup() & 1 != 0;
        if !has_vapic {
            return;
        }
        let log = RingBase::new()
            .with_base(self.ga_log >> 12)
            .with_length(GA_LOG_LENGTH);
        write_base(cpu, offset::GA_LOG_BASE, log.into_bits()).await;
        let tail = GaLogTailAddress::from_bits(self.ga_log_tail);
        write_base(cpu, offset::GA_LOG_TAIL_ADDRESS, tail.into_bits()).await;
        cpu.writel(IOMMU_MMIO + offset::GA_LOG_HEAD, 0).await;
        cpu.writel(IOMMU_MMIO + offset::GA_LOG_TAIL, 0).await;
        control(cpu, |c| c.with_ga_int_en(true)).await;
        control(cpu, |c| c.with_ga_log_en(true)).await;
        for _ in 0..STATUS_TIMEOUT {
            let status = Status::from_bits(cpu.readl(IOMMU_MMIO + offset::STATUS).await.into());
            if status.ga_log_run() {
                control(cpu, |c| c.with_gam_en(GAM_VAPIC)).await;
                self.vapic.set(true);
                return;
            }
            cpu.udelay(10).await;
        }
        cpu.log("WARNING: drivers/iommu/amd/init.c iommu_ga_log_enable");
    }

    /// `iommu_enable_command_buffer`.
    pub(super) async fn enable_command_buffer(&self, cpu: &Cpu) {
        write_base(cpu, offset::CMD_BUF_BASE, ring_base(self.queue.ring())).await;
        control(cpu, |c| c.with_cmd_buf_en(false)).await;
        self.queue.reset();
        cpu.writel(IOMMU_MMIO + offset::CMD_BUF_HEAD, 0).await;
        cpu.writel(IOMMU_MMIO + offset::CMD_BUF_TAIL, 0).await;
        control(cpu, |c| c.with_cmd_buf_en(true)).await;
    }

    /// `iommu_disable`.
    pub(super) async fn disable(&self, cpu: &Cpu) {
        for clear in DISABLE {
            control(cpu, clear).await;
        }
    }

    /// `iommu_init_flags`, with no flag set in IVHD.
    async fn init_flags(&self, cpu: &Cpu) {
        control(cpu, |c| c.with_ht_tun_en(false)).await;
        control(cpu, |c| c.with_pass_pw(false)).await;
        control(cpu, |c| c.with_res_pass_pw(false)).await;
        control(cpu, |c| c.with_isoc(false)).await;
        control(cpu, |c| c.with_coherent(true)).await;
        control(cpu, |c| c.with_inv_timeout(INV_TIMEOUT_1S)).await;
    }

    /// `init_device_table`: no device may interrupt before it has a table.
    fn init_device_table(&self, cpu: &Cpu) {
        for id in self.listed_ids() {
            cpu.store(self.dte_address(id) + 16, &INTERRUPTS_BLOCKED.to_le_bytes());
        }
    }

    /// `init_device_table_dma`: no device may access memory unless it is attached.
    fn init_device_table_dma(&self, cpu: &Cpu) {
        for id in self.listed_ids() {
            let [low] = cpu.load::<1>(self.dte_address(id));
            cpu.store(self.dte_address(id), &[low | VALID_TRANSLATION]);
        }
    }

    fn listed_ids(&self) -> impl Iterator<Item = RequesterId> {
        (0..=self.ivrs.last_bdf.0).map(RequesterId)
    }

    /// `amd_iommu_flush_all_caches`: by one command where the IOMMU has it, else ID by ID.
    async fn flush_all_caches(&self, cpu: &Cpu) {
        if self.efr.get().ia_sup() {
            return self.flush_each(cpu, [Command::InvalidateIommuAll]).await;
        }
        let last = if self.profile.boot.loops_end_at_last_bdf {
            self.ivrs.last_bdf.0
        } else {
            u16::MAX
        };
        let ids = || (0..=last).map(RequesterId);
        self.flush_each(cpu, ids().map(Command::InvalidateDevtabEntry))
            .await;
        if !self.needs_no_irt_flush() {
            self.flush_each(cpu, ids().map(Command::InvalidateInterruptTable))
                .await;
        }
        self.flush_each(cpu, ids().map(|id| super::invalidate_all_pages(id.0)))
            .await;
    }

    async fn flush_each(&self, cpu: &Cpu, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            self.queue_unchecked(cpu, command).await;
        }
        self.wait_unchecked(cpu).await;
    }
}

async fn read_control(cpu: &Cpu) -> Control {
    Control::from_bits(cpu.mmio_read(IOMMU_MMIO + offset::CONTROL, 8).await)
}

/// `iommu_feature_enable`, `iommu_feature_disable` and `iommu_feature_set`.
pub(super) async fn control(cpu: &Cpu, change: impl FnOnce(Control) -> Control) {
    let old = read_control(cpu).await;
    cpu.mmio_write(IOMMU_MMIO + offset::CONTROL, 8, change(old).into_bits())
        .await;
}

fn ring_base(address: u64) -> u64 {
    RingBase::new()
        .with_base(address >> 12)
        .with_length(command_queue::RING_LENGTH)
        .into_bits()
}

/// `memcpy_toio` of 8 bytes: two 32-bit writes, the low half first.
pub(super) async fn write_base(cpu: &Cpu, offset: u64, value: u64) {
    cpu.writel(IOMMU_MMIO + offset, value as u32).await;
    cpu.writel(IOMMU_MMIO + offset + 4, (value >> 32) as u32).await;
}
