//! The command ring and COMPLETION_WAIT (Linux drivers/iommu/amd/iommu.c, `__iommu_queue_command_sync` to
//! `iommu_completion_wait`).

use std::cell::Cell;

use super::profile::{CompletionWait, NothingQueued, SatisfiedBy, TailWrites, WaitNumber};
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
    rules: CompletionWait,
    ring: u64,
    semaphore: u64,
    /// `iommu->lock`.
    lock: SpinLock<()>,
    /// Where the next command goes.
    tail: Cell<u32>,
    /// As last written to the register.
    written_tail: Cell<u32>,
    /// As last read from the register.
    head: Cell<u32>,
    /// Something was queued since the last COMPLETION_WAIT.
    need_sync: Cell<bool>,
    /// The last number that a COMPLETION_WAIT was given to store.
    sequence: Cell<u64>,
}

/// `iommu->lock` is held, with interrupts off.
pub(super) type Locked<'a> = SpinGuard<'a, ()>;

impl CommandQueue {
    /// Of a ring and an 8-byte semaphore at these physical addresses.
    pub(super) fn new(rules: CompletionWait, ring: u64, semaphore: u64) -> Self {
        Self {
            rules,
            ring,
            semaphore,
            lock: SpinLock::new(Lock::Iommu, ()),
            tail: Cell::default(),
            written_tail: Cell::default(),
            head: Cell::default(),
            need_sync: Cell::default(),
            sequence: Cell::default(),
        }
    }

    pub(super) fn ring(&self) -> u64 {
        self.ring
    }

    /// The ring is empty, as its registers are about to say.
    pub(super) fn reset(&self) {
        for pointer in [&self.tail, &self.written_tail, &self.head] {
            pointer.set(0);
        }
    }

    /// Takes `iommu->lock`.
    pub(super) async fn lock(&self, cpu: &Cpu) -> Locked<'_> {
        self.lock.lock_irqsave(cpu).await
    }

    /// `iommu_queue_command`.
    pub(super) async fn queue(&self, cpu: &Cpu, command: Command) -> Result<(), DriverError> {
        let locked = self.lock(cpu).await;
        self.queue_sync(cpu, &locked, command, true).await
    }

    /// `__iommu_queue_command_sync`: copies one command into the ring and writes the tail register.
    pub(super) async fn queue_sync(
        &self,
        cpu: &Cpu,
        locked: &Locked<'_>,
        command: Command,
        sync: bool,
    ) -> Result<(), DriverError> {
        self.copy(cpu, locked, command, sync).await?;
        self.write_tail(cpu, locked).await;
        Ok(())
    }

    /// Copies a command into the ring. While it is full this spins, the lock held.
    async fn copy(
        &self,
        cpu: &Cpu,
        locked: &Locked<'_>,
        command: Command,
        sync: bool,
    ) -> Result<(), DriverError> {
        let tail = self.tail.get();
        let next = (tail + COMMAND_BYTES) % RING_BYTES;
        let mut passes = 0;
        while self.head.get().wrapping_sub(next) % RING_BYTES <= FULL_BYTES {
            // There is never room while the IOMMU knows of no command.
            self.write_tail(cpu, locked).await;
            passes += 1;
            if passes == LOOP_TIMEOUT {
                cpu.log("AMD-Vi: Command buffer timeout");
                return Err(DriverError::Io);
            }
            if passes > 1 {
                cpu.udelay(1).await;
            }
            self.head.set(cpu.readl(IOMMU_MMIO + offset::CMD_BUF_HEAD).await);
        }
        let bytes = bytemuck::must_cast::<[u64; 2], [u8; 16]>(command.encode().map(u64::to_le));
        cpu.store(self.ring + u64::from(tail), &bytes);
        cpu.record(Source::Driver(cpu.id()), Kind::Queued(command));
        self.tail.set(next);
        self.need_sync.set(sync);
        Ok(())
    }

    /// Writes the tail register, unless it says so already.
    async fn write_tail(&self, cpu: &Cpu, _: &Locked<'_>) {
        let tail = self.tail.get();
        if self.written_tail.replace(tail) != tail {
            cpu.writel(IOMMU_MMIO + offset::CMD_BUF_TAIL, tail).await;
        }
    }

    /// Queues commands and a COMPLETION_WAIT without anybody coming between, and waits. What can't be queued ends it.
    pub(super) async fn queue_and_wait(
        &self,
        cpu: &Cpu,
        commands: impl IntoIterator<Item = Command>,
        tail: TailWrites,
    ) -> Result<(), DriverError> {
        let early = self.number_before_lock(cpu).await;
        let locked = self.lock(cpu).await;
        let number = early.unwrap_or_else(|| self.number_under_lock(cpu, &locked));
        for (command, sync) in commands
            .into_iter()
            .map(|command| (command, true))
            .chain([(self.wait_command(number), false)])
        {
            self.copy(cpu, &locked, command, sync).await?;
            if tail == TailWrites::EachCommand {
                self.write_tail(cpu, &locked).await;
            }
        }
        self.write_tail(cpu, &locked).await;
        self.wait(cpu, locked, number).await
    }

    /// `iommu_completion_wait`: waits until everything queued so far is complete.
    pub(super) async fn completion_wait(&self, cpu: &Cpu) -> Result<(), DriverError> {
        if self.rules.nothing_queued == NothingQueued::Return && !self.need_sync.get() {
            return Ok(());
        }
        let early = self.number_before_lock(cpu).await;
        let locked = self.lock(cpu).await;
        if self.rules.nothing_queued == NothingQueued::WaitForLast && !self.need_sync.get() {
            return self.wait(cpu, locked, self.sequence.get()).await;
        }
        let number = early.unwrap_or_else(|| self.number_under_lock(cpu, &locked));
        self.queue_sync(cpu, &locked, self.wait_command(number), false)
            .await?;
        self.wait(cpu, locked, number).await
    }

    /// An atomic addition, where numbers are taken without the lock. It is here that another CPU can overtake.
    async fn number_before_lock(&self, cpu: &Cpu) -> Option<u64> {
        if self.rules.number != WaitNumber::BeforeLock {
            return None;
        }
        let number = self.next_number();
        cpu.delay(cpu.machine().timing().atomic).await;
        Some(number)
    }

    pub(super) fn number_under_lock(&self, cpu: &Cpu, _: &Locked<'_>) -> u64 {
        if self.rules.number == WaitNumber::One {
            cpu.store(self.semaphore, &0_u64.to_le_bytes());
            return 1;
        }
        self.next_number()
    }

    /// The last number that was taken.
    #[cfg(test)]
    pub(super) fn last_number(&self) -> u64 {
        self.sequence.get()
    }

    fn next_number(&self) -> u64 {
        let number = self.sequence.get() + 1;
        self.sequence.set(number);
        number
    }

    pub(super) fn wait_command(&self, number: u64) -> Command {
        Command::CompletionWait {
            store: Some(self.semaphore),
            interrupt: false,
            flush: false,
            data: number,
        }
    }

    /// `wait_on_sem`, after the lock or under it.
    async fn wait(&self, cpu: &Cpu, locked: Locked<'_>, number: u64) -> Result<(), DriverError> {
        let _locked = Some(locked).filter(|_| self.rules.polls_under_lock);
        for _ in 0..LOOP_TIMEOUT {
            let stored = u64::from_le_bytes(cpu.load(self.semaphore));
            let satisfied = match self.rules.satisfied_by {
                SatisfiedBy::NotZero => stored != 0,
                SatisfiedBy::Equal => stored == number,
                SatisfiedBy::AtLeast => stored.wrapping_sub(number) as i64 >= 0,
            };
            if satisfied {
                return Ok(());
            }
            cpu.udelay(1).await;
        }
        cpu.log("AMD-Vi: Completion-Wait loop timed out");
        Err(DriverError::Io)
    }
}
