//! The command ring and COMPLETION_WAIT (Linux drivers/iommu/amd/iommu.c, `__iommu_queue_command_sync` to
//! `iommu_completion_wait`).

use crate::driver::DriverError;
use crate::exec::{SpinGuard, SpinLock};
use crate::iommu::spec::command::Command;
use crate::iommu::spec::registers::offset;
use crate::machine::{Cpu, IOMMU_MMIO};
use crate::trace::{Kind, Lock, Source};

/// `CMD_BUFFER_SIZE`: 512 commands.
pub(super) const RING_BYTES: u32 = 8192;
/// log2 of the commands in the ring, as the base register has it.
pub(super) const RING_LENGTH: u8 = 9;
/// A command's bytes.
const COMMAND_BYTES: u32 = 16;
/// The ring counts as full while no more than this is left: three slots are never used.
const FULL_BYTES: u32 = 0x20;
/// `LOOP_TIMEOUT`, in passes of 1 us.
const LOOP_TIMEOUT: u32 = 100_000;

/// The ring and the semaphore that COMPLETION_WAIT stores to.
pub(super) struct CommandQueue {
    ring: u64,
    semaphore: u64,
    state: SpinLock<State>,
}

/// What `iommu->lock` protects.
#[derive(Default)]
pub(super) struct State {
    tail: u32,
    /// As last read from the register.
    head: u32,
    /// Something was queued since the last COMPLETION_WAIT.
    need_sync: bool,
    /// The last number that a COMPLETION_WAIT was given to store.
    sequence: u64,
}

/// `iommu->lock` is held, with interrupts off.
pub(super) type Locked<'a> = SpinGuard<'a, State>;

impl CommandQueue {
    /// Of a ring and an 8-byte semaphore at these physical addresses.
    pub(super) fn new(ring: u64, semaphore: u64) -> Self {
        Self {
            ring,
            semaphore,
            state: SpinLock::new(Lock::Iommu, State::default()),
        }
    }

    pub(super) fn ring(&self) -> u64 {
        self.ring
    }

    /// Takes `iommu->lock`.
    pub(super) async fn lock(&self, cpu: &Cpu) -> Locked<'_> {
        self.state.lock_irqsave(cpu).await
    }

    /// `iommu_queue_command`.
    pub(super) async fn queue(&self, cpu: &Cpu, command: Command) -> Result<(), DriverError> {
        let locked = self.lock(cpu).await;
        self.queue_sync(cpu, &locked, command, true).await
    }

    /// `__iommu_queue_command_sync`: copies one command into the ring and writes the tail register. While the ring is
    /// full it spins, the lock held.
    pub(super) async fn queue_sync(
        &self,
        cpu: &Cpu,
        locked: &Locked<'_>,
        command: Command,
        sync: bool,
    ) -> Result<(), DriverError> {
        let tail = locked.get().tail;
        let next = (tail + COMMAND_BYTES) % RING_BYTES;
        let mut passes = 0;
        while locked.get().head.wrapping_sub(next) % RING_BYTES <= FULL_BYTES {
            passes += 1;
            if passes == LOOP_TIMEOUT {
                cpu.log("AMD-Vi: Command buffer timeout");
                return Err(DriverError::Io);
            }
            if passes > 1 {
                cpu.udelay(1).await;
            }
            let head = cpu.readl(IOMMU_MMIO + offset::CMD_BUF_HEAD).await;
            locked.get().head = head;
        }
        let bytes = bytemuck::must_cast::<[u64; 2], [u8; 16]>(command.encode().map(u64::to_le));
        cpu.store(self.ring + u64::from(tail), &bytes);
        cpu.record(Source::Driver, Kind::Queued(command));
        {
            let mut state = locked.get();
            state.tail = next;
            state.need_sync = sync;
        }
        cpu.writel(IOMMU_MMIO + offset::CMD_BUF_TAIL, next).await;
        Ok(())
    }

    /// `get_cmdsem_val`: the next number to wait for.
    pub(super) fn next_sequence(&self, locked: &Locked<'_>) -> u64 {
        let mut state = locked.get();
        state.sequence += 1;
        state.sequence
    }

    /// Queues the COMPLETION_WAIT that stores `sequence`.
    pub(super) async fn queue_wait(
        &self,
        cpu: &Cpu,
        locked: &Locked<'_>,
        sequence: u64,
    ) -> Result<(), DriverError> {
        let wait = Command::CompletionWait {
            store: Some(self.semaphore),
            interrupt: false,
            flush: false,
            data: sequence,
        };
        self.queue_sync(cpu, locked, wait, false).await
    }

    /// `wait_on_sem`: polls the semaphore, without the lock.
    pub(super) async fn wait_on_semaphore(&self, cpu: &Cpu, sequence: u64) -> Result<(), DriverError> {
        for _ in 0..LOOP_TIMEOUT {
            let stored = u64::from_le_bytes(cpu.load(self.semaphore));
            if stored.wrapping_sub(sequence) as i64 >= 0 {
                return Ok(());
            }
            cpu.udelay(1).await;
        }
        cpu.log("AMD-Vi: Completion-Wait loop timed out");
        Err(DriverError::Io)
    }

    /// `iommu_completion_wait`: waits until everything queued so far is complete. With nothing queued since the last
    /// wait it queues nothing and waits for that one.
    pub(super) async fn completion_wait(&self, cpu: &Cpu) -> Result<(), DriverError> {
        let locked = self.lock(cpu).await;
        let need_sync = locked.get().need_sync;
        let sequence = if need_sync {
            let sequence = self.next_sequence(&locked);
            self.queue_wait(cpu, &locked, sequence).await?;
            sequence
        } else {
            locked.get().sequence
        };
        drop(locked);
        self.wait_on_semaphore(cpu, sequence).await
    }
}
