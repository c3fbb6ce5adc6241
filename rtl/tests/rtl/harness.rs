//! A host for the tests: configures the device, reads and writes its registers, collects what it sends.

use ntb_rtl::registers::{self, config};
use ntb_rtl::stream::{Beat, split};
use ntb_rtl::{Ntb, NtbConfig};
use sim_bridge::tlp::{
    Body, Completion, CompletionStatus, ConfigRead, ConfigType, ConfigWrite, MemWrite, Tlp,
};
use sim_bridge::{RequesterId, SimTime};

pub const HOST: RequesterId = RequesterId(0x0000);
pub const DEVICE: RequesterId = RequesterId::new(0x41, 0, 0);
pub const BAR0: u64 = 0x20_fe00_0000;

/// More cycles than anything here takes.
const PATIENCE: usize = 10_000;

pub struct Host {
    pub ntb: Ntb,
    time: SimTime,
    tag: u16,
    /// Posted requests that the device sent, oldest first.
    pub sent: Vec<MemWrite>,
}

/// Who sent a message, where to, and what.
pub type Interrupt = (RequesterId, u64, u32);

impl Host {
    /// Just reset.
    pub fn cold(config: &NtbConfig) -> Self {
        Self::around(Ntb::new(config).unwrap())
    }

    pub fn around(ntb: Ntb) -> Self {
        Self {
            ntb,
            time: SimTime::ZERO,
            tag: 0,
            sent: Vec::new(),
        }
    }

    /// At 41:00.0, BAR0 mapped, memory space and bus mastering on.
    pub fn with(config: &NtbConfig) -> Self {
        let mut host = Self::cold(config);
        host.enumerate();
        host
    }

    pub fn new() -> Self {
        Self::with(&NtbConfig::default())
    }

    /// [`with`](Self::with), MSI-X on and all vectors unmasked with [`msix_message`].
    pub fn with_msix(config: &NtbConfig) -> Self {
        let mut host = Self::with(config);
        for vector in 0..registers::VECTORS {
            host.set_vector(vector);
        }
        host.config_write(config::MSIX, 0x8000_0000);
        host
    }

    pub fn enumerate(&mut self) {
        self.config_write(config::BAR0, BAR0 as u32);
        self.config_write(config::BAR0_HIGH, (BAR0 >> 32) as u32);
        self.config_write(config::COMMAND, 0x0006);
    }

    pub fn set_vector(&mut self, vector: usize) {
        let (address, data) = msix_message(vector);
        let entry = registers::msix_entry(vector);
        self.write(entry, address as u32);
        self.write(entry + 4, (address >> 32) as u32);
        self.write(entry + 8, data);
        self.write(entry + 12, 0);
    }

    pub fn cycle(&mut self) -> Option<Tlp> {
        self.time += SimTime::from_ns(4);
        self.ntb.cycle(self.time).unwrap()
    }

    pub fn cycle_beat(&mut self) -> Option<Beat> {
        self.time += SimTime::from_ns(4);
        self.ntb.cycle_beat(self.time).unwrap()
    }

    /// Clocks until the device is idle; all completions and posted requests that it sends meanwhile.
    pub fn run(&mut self) -> Vec<Tlp> {
        let mut tlps = Vec::new();
        for _ in 0..PATIENCE {
            tlps.extend(self.cycle());
            if self.ntb.is_idle() {
                return tlps;
            }
        }
        panic!("the device does not become idle");
    }

    /// Sends one TLP and runs; the completions, while posted requests go to `sent`.
    pub fn send(&mut self, tlp: &Tlp) -> Vec<(Tlp, Completion)> {
        self.ntb.offer(tlp).unwrap();
        self.collect()
    }

    pub fn send_beats(&mut self, beats: &[Beat]) -> Vec<(Tlp, Completion)> {
        self.ntb.offer_beats(beats).unwrap();
        self.collect()
    }

    pub fn collect(&mut self) -> Vec<(Tlp, Completion)> {
        let mut completions = Vec::new();
        for tlp in self.run() {
            match tlp.body.clone() {
                Body::MemWrite(write) => self.sent.push(write),
                Body::Completion(completion) => completions.push((tlp, completion)),
                other => panic!("the device sent {other:?}"),
            }
        }
        completions
    }

    /// Sends a non-posted request; its one completion.
    pub fn request(&mut self, tlp: &Tlp) -> Completion {
        let completions = self.send(tlp);
        let [(_, completion)] = &completions[..] else {
            panic!("{tlp} got {completions:?}")
        };
        assert_eq!(completion.tag, tlp.tag(), "of {tlp}");
        assert_eq!(completion.requester, tlp.requester(), "of {tlp}");
        completion.clone()
    }

    fn next_tag(&mut self) -> u16 {
        self.tag = (self.tag + 1) & 0x3ff;
        self.tag
    }

    pub fn config_read_tlp(&mut self, register: u16) -> ConfigRead {
        let tag = self.next_tag();
        ConfigRead {
            config_type: ConfigType::Type0,
            requester: HOST,
            tag,
            target: DEVICE,
            register,
            first_be: 0xf,
        }
    }

    pub fn config_write_tlp(&mut self, register: u16, value: u32) -> ConfigWrite {
        let ConfigRead {
            config_type,
            requester,
            tag,
            target,
            register,
            first_be,
        } = self.config_read_tlp(register);
        let data = value.to_le_bytes();
        ConfigWrite {
            config_type,
            requester,
            tag,
            target,
            register,
            first_be,
            data,
        }
    }

    pub fn config_read(&mut self, register: u16) -> u32 {
        let read = self.config_read_tlp(register);
        let completion = self.request(&Body::ConfigRead(read).into());
        assert_eq!(completion.status, CompletionStatus::Successful);
        u32::from_le_bytes(completion.data[..].try_into().unwrap())
    }

    pub fn config_write(&mut self, register: u16, value: u32) {
        self.config_write_bytes(register, value, 0xf);
    }

    pub fn config_write_bytes(&mut self, register: u16, value: u32, first_be: u8) {
        let write = ConfigWrite {
            first_be,
            ..self.config_write_tlp(register, value)
        };
        let completion = self.request(&Body::ConfigWrite(write).into());
        assert_eq!(
            (completion.status, completion.data.len()),
            (CompletionStatus::Successful, 0)
        );
    }

    pub fn read_tlp(&mut self, offset: u64, bytes: usize) -> Tlp {
        let tag = self.next_tag();
        Tlp::mem_read(HOST, tag, BAR0 + offset, bytes).unwrap()
    }

    pub fn read(&mut self, offset: u64) -> u32 {
        let read = self.read_tlp(offset, 4);
        let completion = self.request(&read);
        assert_eq!(
            completion.status,
            CompletionStatus::Successful,
            "reading {offset:#x}"
        );
        u32::from_le_bytes(completion.data[..].try_into().unwrap())
    }

    pub fn read64(&mut self, offset: u64) -> u64 {
        let read = self.read_tlp(offset, 8);
        u64::from_le_bytes(self.request(&read).data[..].try_into().unwrap())
    }

    pub fn write(&mut self, offset: u64, value: u32) {
        self.write_bytes(offset, &value.to_le_bytes());
    }

    pub fn write64(&mut self, offset: u64, value: u64) {
        self.write_bytes(offset, &value.to_le_bytes());
    }

    pub fn write_bytes(&mut self, offset: u64, bytes: &[u8]) {
        let write = write_tlp(offset, bytes);
        assert_eq!(self.send(&write), [], "{write}");
    }

    /// Rings a doorbell that is not rung, and clears it again.
    pub fn ring(&mut self, vector: usize) {
        self.write64(registers::DOORBELL_SET, 1 << vector);
        self.write64(registers::DOORBELL_STATUS, 1 << vector);
    }

    /// Malformed, refused, unexpected completions, poisoned.
    pub fn counters(&mut self) -> [u32; 4] {
        use registers::{MALFORMED, POISONED, REFUSED, UNEXPECTED_COMPLETIONS};
        [MALFORMED, REFUSED, UNEXPECTED_COMPLETIONS, POISONED].map(|offset| self.read(offset))
    }

    pub fn device_status(&mut self) -> u32 {
        self.config_read(config::DEVICE_CONTROL) >> 16
    }

    /// What was sent since the last time.
    pub fn interrupts(&mut self) -> Vec<Interrupt> {
        std::mem::take(&mut self.sent)
            .into_iter()
            .map(interrupt)
            .collect()
    }

    /// Vectors, by [`msix_message`], of what was sent since the last time.
    pub fn vectors(&mut self) -> Vec<usize> {
        self.interrupts()
            .into_iter()
            .map(|(_, address, data)| {
                let vector = (data & 0xff) as usize;
                assert_eq!((address, data), msix_message(vector));
                vector
            })
            .collect()
    }
}

pub fn write_tlp(offset: u64, bytes: &[u8]) -> Tlp {
    Tlp::mem_write(HOST, BAR0 + offset, bytes).unwrap()
}

pub fn beats(tlp: &Tlp) -> Vec<Beat> {
    let mut beats = Vec::new();
    split(tlp, &mut beats).unwrap();
    beats
}

/// A write of so many bytes 0xee.
pub fn write_beats(offset: u64, bytes: usize) -> Vec<Beat> {
    beats(&write_tlp(offset, &vec![0xee; bytes]))
}

/// Bits of Device Status (PCIe 7.5.3.5).
pub mod status {
    pub const CORRECTABLE: u32 = 1;
    pub const NON_FATAL: u32 = 2;
    pub const FATAL: u32 = 4;
    pub const UNSUPPORTED: u32 = 8;
}

/// A different one for each vector; odd vectors have addresses above 4 GiB.
pub fn msix_message(vector: usize) -> (u64, u32) {
    let high = if vector % 2 == 1 { 0x12_0000_0000 } else { 0 };
    (high | 0xfee0_0000 | (vector as u64) << 12, 0x5500 | vector as u32)
}

pub fn interrupt(write: MemWrite) -> Interrupt {
    assert_eq!(
        (write.first_be, write.last_be, write.data.len(), write.tag),
        (0xf, 0, 4, 0)
    );
    (
        write.requester,
        write.address,
        u32::from_le_bytes(write.data[..].try_into().unwrap()),
    )
}
