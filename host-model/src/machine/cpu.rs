use std::future::Future;

use sim_bridge::tlp::{Body, Completion, CompletionStatus, ConfigRead, ConfigType, ConfigWrite, Tlp};
use sim_bridge::{RequesterId, SimTime};

use super::{IOMMU_MMIO, IOMMU_MMIO_SIZE, LocalApic, Machine, ROOT_COMPLEX};
use crate::checker::CallId;
use crate::trace::{Kind, Source};

/// A CPU: what the operating system's code runs on. Every access to a register is a point where time passes.
#[derive(Clone)]
pub struct Cpu {
    machine: Machine,
    id: u32,
    call: Option<CallId>,
    /// It runs while all else on CPUs has stopped.
    stopper: bool,
}

impl Cpu {
    pub(super) fn new(machine: Machine, id: u32) -> Self {
        Self {
            machine,
            id,
            call: None,
            stopper: false,
        }
    }

    pub(super) fn into_stopper(self) -> Self {
        Self {
            stopper: true,
            ..self
        }
    }

    /// Completes when no other code has stopped the machine.
    pub(crate) async fn until_resumed(&self) {
        if !self.stopper {
            self.machine.until_resumed().await;
        }
    }

    /// The CPU's number, which is its APIC ID too.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The machine that it is in.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Lets time pass.
    pub async fn delay(&self, span: SimTime) {
        self.machine.executor().sleep(span).await;
        self.until_resumed().await;
    }

    /// Linux's `udelay`.
    pub async fn udelay(&self, us: u64) {
        self.delay(SimTime::from_us(us)).await;
    }

    /// Runs a driver call. What it writes to memory is its change until it returns.
    pub async fn call<T, F: Future<Output = T>>(
        &self,
        name: &'static str,
        body: impl FnOnce(Self) -> F,
    ) -> T {
        let call = self
            .machine
            .with_checker(|checker| checker.call_began(name, self.id));
        self.record(Source::Driver(self.id), Kind::CallBegan(name));
        let result = body(Self { call, ..self.clone() }).await;
        if let Some(call) = call {
            self.machine
                .with_checker(|checker| checker.call_ended(call, self.machine.now()));
        }
        self.record(Source::Driver(self.id), Kind::CallEnded(name));
        result
    }

    /// Adds an event to the trace.
    pub fn record(&self, source: Source, kind: Kind) {
        let time = self.machine.now();
        self.machine
            .with_checker(|checker| checker.observe(self.id, self.call, &kind, time));
        self.machine.record(source, kind);
    }

    /// Adds a line to the operating system's log.
    pub fn log(&self, line: impl Into<String>) {
        self.record(Source::Cpu(self.id), Kind::KernelLog(line.into()));
    }

    /// Reads memory; zeros outside of it.
    pub fn load<const N: usize>(&self, address: u64) -> [u8; N] {
        self.machine.memory().load(address)
    }

    /// Writes memory at once, in one piece.
    pub fn store(&self, address: u64, bytes: &[u8]) {
        let time = self.machine.now();
        self.machine
            .with_checker(|checker| checker.about_to_store(address, bytes, self.call, time));
        if !self.machine.memory().store(address, bytes) {
            self.log(format!(
                "BUG: store of {} bytes outside of memory at {address:#x}",
                bytes.len()
            ));
        }
    }

    /// Reads 1, 2, 4 or 8 bytes of a device's or the IOMMU's registers; all ones where nobody answers.
    pub async fn mmio_read(&self, address: u64, size: usize) -> u64 {
        if let Some(offset) = iommu_offset(address) {
            self.delay(self.machine.timing().mmio_read).await;
            return self.machine.iommu().read(offset, size);
        }
        let all_ones = u64::MAX >> (64 - 8 * size as u32);
        let quiet = self
            .machine
            .quiet_register(address)
            .or_else(|| self.machine.platform_register(address));
        if let Some(value) = quiet {
            self.delay(self.machine.timing().mmio_read).await;
            return u64::from(value) & all_ones;
        }
        let Some(link) = self.machine.links().to_address(address) else {
            self.delay(self.machine.timing().mmio_read).await;
            return all_ones;
        };
        let tag = self.machine.new_tag(link);
        let Ok(read) = Tlp::mem_read(ROOT_COMPLEX, tag, address, size) else {
            return all_ones;
        };
        let skip = (address & 3) as usize;
        match self.non_posted(link, tag, &read).await {
            Some(completion) if completion.status == CompletionStatus::Successful => {
                let mut bytes = [0; 8];
                let data = completion.data.get(skip..).unwrap_or_default();
                let len = size.min(data.len());
                bytes[..len].copy_from_slice(&data[..len]);
                u64::from_le_bytes(bytes)
            }
            _ => all_ones,
        }
    }

    /// Writes 1, 2, 4 or 8 bytes of a device's or the IOMMU's registers, and waits until the write has left the CPU.
    pub async fn mmio_write(&self, address: u64, size: usize, value: u64) {
        self.delay(self.machine.timing().mmio_write).await;
        if let Some(offset) = iommu_offset(address) {
            self.record(
                Source::Driver(self.id),
                Kind::RegisterWritten { offset, size, value },
            );
            self.machine.write_iommu(offset, size, value);
        } else if !self.machine.set_quiet_register(address, value as u32)
            && !self.machine.write_platform_register(address, value as u32)
            && let Some(link) = self.machine.links().to_address(address)
            && let Ok(write) = Tlp::mem_write(ROOT_COMPLEX, address, &value.to_le_bytes()[..size])
        {
            self.machine.send(link, &write);
        }
    }

    /// Reads 4 bytes.
    pub async fn readl(&self, address: u64) -> u32 {
        self.mmio_read(address, 4).await as u32
    }

    /// Writes 4 bytes.
    pub async fn writel(&self, address: u64, value: u32) {
        self.mmio_write(address, 4, value.into()).await;
    }

    /// Reads 4 bytes of configuration space; all ones where nobody answers. `register` is a multiple of 4.
    pub async fn config_read(&self, target: RequesterId, register: u16) -> u32 {
        let Some(link) = self.machine.links().to_function(target) else {
            return u32::MAX;
        };
        let tag = self.machine.new_tag(link);
        let read = Tlp::from(Body::ConfigRead(ConfigRead {
            config_type: ConfigType::Type0,
            requester: ROOT_COMPLEX,
            tag,
            target,
            register,
            first_be: 0xf,
        }));
        match self.non_posted(link, tag, &read).await {
            Some(completion) if completion.status == CompletionStatus::Successful => completion
                .data
                .first_chunk()
                .map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes)),
            _ => u32::MAX,
        }
    }

    /// Writes 4 bytes of configuration space and waits for the completion.
    pub async fn config_write(&self, target: RequesterId, register: u16, value: u32) {
        let Some(link) = self.machine.links().to_function(target) else {
            return;
        };
        let tag = self.machine.new_tag(link);
        let write = Tlp::from(Body::ConfigWrite(ConfigWrite {
            config_type: ConfigType::Type0,
            requester: ROOT_COMPLEX,
            tag,
            target,
            register,
            first_be: 0xf,
            data: value.to_le_bytes(),
        }));
        self.non_posted(link, tag, &write).await;
    }

    async fn non_posted(&self, link: usize, tag: u16, tlp: &Tlp) -> Option<Completion> {
        let completion = self.machine.non_posted(link, tag, tlp).await;
        self.until_resumed().await;
        completion
    }

    /// Whether this CPU has interrupts disabled.
    pub fn has_interrupts_off(&self) -> bool {
        self.machine
            .apic(self.id)
            .is_some_and(LocalApic::has_interrupts_off)
    }

    /// Disables interrupts on this CPU until the guard is dropped; nests.
    pub fn disable_interrupts(&self) -> InterruptsOff {
        if let Some(apic) = self.machine.apic(self.id) {
            apic.disable_interrupts();
        }
        InterruptsOff {
            machine: self.machine.clone(),
            cpu: self.id,
        }
    }
}

/// Interrupts are disabled on a CPU while it lives.
pub struct InterruptsOff {
    machine: Machine,
    cpu: u32,
}

impl Drop for InterruptsOff {
    fn drop(&mut self) {
        if let Some(apic) = self.machine.apic(self.cpu) {
            apic.enable_interrupts();
        }
        self.machine.take_interrupt(self.cpu);
        self.machine.0.stop.interrupts_on();
    }
}

fn iommu_offset(address: u64) -> Option<u64> {
    (IOMMU_MMIO..IOMMU_MMIO + IOMMU_MMIO_SIZE)
        .contains(&address)
        .then(|| address - IOMMU_MMIO)
}
