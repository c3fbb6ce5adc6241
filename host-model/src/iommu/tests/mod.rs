//! An IOMMU in front of a small guest memory. Table entries, commands and registers are written as raw bits, and
//! events are read by Linux's layout, so that no test trusts the layouts that it tests.

use std::sync::Arc;

use sim_bridge::RequesterId;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;

mod commands;
mod events;
mod exhaustive;
mod faults;
mod guest;
mod hostile;
mod interleaving;
mod logs;
mod messages;
mod oracle;
mod own_interrupts;
mod page_requests;
mod power;
mod reference;
mod regions;
mod registers;
mod statistics;
mod threads;
mod translate;

pub(super) const DEVICE_TABLE: u64 = 0x10_0000;
pub(super) const COMMANDS: u64 = 0x40_0000;
pub(super) const EVENTS: u64 = 0x41_0000;
pub(super) const SEMAPHORE: u64 = 0x42_0000;
pub(super) const TABLE: u64 = 0x50_0000;
pub(super) const MEMORY: usize = 0x80_0000;

pub(super) const RID: RequesterId = RequesterId(0x4100);

pub(super) const IOMMU_EN: u64 = 1;
pub(super) const EVENT_LOG_EN: u64 = 1 << 2;
pub(super) const CMD_BUF_EN: u64 = 1 << 12;
pub(super) const GA_EN: u64 = 1 << 17;
pub(super) const RUN: u64 = IOMMU_EN | EVENT_LOG_EN | CMD_BUF_EN;

/// A DTE with V, TV, IV, IntCtl 2 and a table of `1 << length` entries; domain 0x5e.
pub(super) const fn dte_remap(table: u64, length: u64) -> [u64; 4] {
    [3, 0x5e, 2 << 60 | table | length << 1 | 1, 0]
}

/// A valid 32-bit IRTE.
pub(super) const fn irte32(destination: u8, vector: u8) -> u32 {
    (vector as u32) << 16 | (destination as u32) << 8 | 1
}

pub(super) const fn invalidate_irt(device: RequesterId) -> [u64; 2] {
    [5 << 60 | device.0 as u64, 0]
}

pub(super) const fn invalidate_dte(device: RequesterId) -> [u64; 2] {
    [2 << 60 | device.0 as u64, 0]
}

pub(super) const INVALIDATE_ALL: [u64; 2] = [8 << 60, 0];

pub(super) const fn completion_wait(data: u64) -> [u64; 2] {
    [1 << 60 | SEMAPHORE | 1, data]
}

/// As Linux prints an event (`iommu_print_event`; codes 1 to 6 in the words of the kernels whose lines are golden).
pub(super) fn linux_event([low, high]: [u64; 2]) -> String {
    let event = [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32];
    let device = RequesterId(event[0] as u16);
    let kind = event[1] >> 28 & 0xf;
    let flags = event[1] >> 16 & 0xfff;
    let domain = event[0] & 0xf_0000 | event[1] & 0xffff;
    let address = u64::from(event[3]) << 32 | u64::from(event[2]);
    let end = format!("address={address:#x} flags={flags:#06x}");
    match kind {
        1 => format!("ILLEGAL_DEV_TABLE_ENTRY device={device} {end}"),
        2 => format!("IO_PAGE_FAULT device={device} domain={domain:#06x} {end}"),
        3 => format!("DEV_TAB_HARDWARE_ERROR device={device} {end}"),
        4 => format!("PAGE_TAB_HARDWARE_ERROR device={device} domain={domain:#06x} {end}"),
        5 => format!("ILLEGAL_COMMAND_ERROR address={address:#x}"),
        6 => format!("COMMAND_HARDWARE_ERROR {end}"),
        7 => format!("IOTLB_INV_TIMEOUT device={device} address={address:#x}"),
        8 => format!("INVALID_DEVICE_REQUEST device={device} pasid={domain:#07x} {end}"),
        9 => {
            // PPR_PASID, and a tag of 10 bits.
            let pasid = (low >> 42 & 0xf) << 16 | low >> 16 & 0xffff;
            let tag = event[1] & 0x3ff;
            format!("INVALID_PPR_REQUEST device={device} pasid={pasid:#07x} {end} tag={tag:#05x}")
        }
        0xd => {
            let (tag, flags_rmp) = (event[1] & 0xffff, event[0] >> 16 & 0xff);
            format!(
                "RMP_PAGE_FAULT device={device}, vmg_tag={tag:#06x}, gpa={address:#x}, \
                 flags_rmp={flags_rmp:#06x}, flags={flags:#06x}"
            )
        }
        0xe => {
            let (tag, spa) = (event[1] & 0xffff, address & !7);
            format!("RMP_HW_ERROR device={device}, vmg_tag={tag:#06x}, spa={spa:#x}, flags={flags:#06x}")
        }
        _ => format!("UNKNOWN event {event:#010x?}"),
    }
}

pub(super) struct Rig {
    pub(super) memory: Arc<GuestMemoryMmap>,
    pub(super) iommu: Iommu,
}

impl Rig {
    /// Everything enabled as Linux does, 32-bit entries, rings of 512, and [`RID`] remapped by a table of 512.
    pub(super) fn new() -> Self {
        Self::with(Config::default(), RUN)
    }

    pub(super) fn with(config: Config, control: u64) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        Self::on(&Arc::new(memory), config, control)
    }

    /// The same on memory that may have been used before.
    pub(super) fn on(memory: &Arc<GuestMemoryMmap>, config: Config, control: u64) -> Self {
        let rig = Self {
            iommu: Iommu::new(config, Arc::clone(memory)),
            memory: Arc::clone(memory),
        };
        rig.iommu.write(0x00, 8, DEVICE_TABLE | 0x1ff);
        rig.iommu.write(0x08, 8, COMMANDS | 9 << 56);
        rig.iommu.write(0x10, 8, EVENTS | 9 << 56);
        rig.iommu.write(0x18, 8, control);
        rig.set_dte(RID, dte_remap(TABLE, 9));
        rig
    }

    pub(super) fn set_dte(&self, device: RequesterId, dte: [u64; 4]) {
        let address = GuestAddress(DEVICE_TABLE + u64::from(device.0) * 32);
        self.memory.write_obj(dte, address).unwrap();
    }

    pub(super) fn set_irte32(&self, index: u64, irte: u32) {
        self.memory
            .write_obj(irte, GuestAddress(TABLE + index * 4))
            .unwrap();
    }

    pub(super) fn set_irte128(&self, index: u64, irte: [u64; 2]) {
        self.memory
            .write_obj(irte, GuestAddress(TABLE + index * 16))
            .unwrap();
    }

    pub(super) fn message(device: RequesterId, data: u32) -> InterruptRequest {
        InterruptRequest {
            requester: device,
            address: 0xfee0_0000,
            data,
        }
    }

    /// Asks, and completes every fill at once.
    pub(super) fn ask(&self, request: &InterruptRequest) -> Answer {
        let mut observed = Observed::default();
        let response = self.iommu.request_observed(request, &mut observed);
        self.finish(*request, response, observed)
    }

    /// The same with nobody looking, which known hits answer.
    pub(super) fn outcome(&self, request: &InterruptRequest) -> Outcome {
        let mut response = self.iommu.request(request);
        loop {
            response = match response {
                Response::Answer(outcome) => return outcome,
                Response::Fill(token) => self.iommu.complete(token),
            }
        }
    }

    /// Completes a fill, and every further one at once.
    pub(super) fn complete<'a>(&'a self, token: FillToken<'a>) -> Answer {
        let (request, mut observed) = (*token.request(), Observed::default());
        let response = self.iommu.complete_observed(token, &mut observed);
        self.finish(request, response, observed)
    }

    fn finish<'a>(
        &'a self,
        request: InterruptRequest,
        mut response: Response<'a>,
        mut observed: Observed,
    ) -> Answer {
        loop {
            response = match response {
                Response::Answer(outcome) => return Answer::new(request, outcome, observed),
                Response::Fill(token) => self.iommu.complete_observed(token, &mut observed),
            }
        }
    }

    /// Asks until the IRTE is being read.
    pub(super) fn ask_until_irte_fill(&self, request: &InterruptRequest) -> FillToken<'_> {
        let mut response = self.iommu.request(request);
        loop {
            response = match response {
                Response::Fill(token) if token.entry() == TableEntry::Irte => return token,
                Response::Fill(token) => self.iommu.complete(token),
                Response::Answer(outcome) => panic!("no fill: {outcome:?}"),
            }
        }
    }

    /// Writes a command at the tail and moves the tail register.
    pub(super) fn queue(&self, command: [u64; 2]) {
        let tail = self.iommu.read(0x2008, 4);
        self.memory
            .write_obj(command, GuestAddress(COMMANDS + tail))
            .unwrap();
        self.iommu.write(0x2008, 4, (tail + 16) % 8192);
    }

    pub(super) fn queue_all(&self, commands: &[[u64; 2]]) {
        commands.iter().for_each(|command| self.queue(*command));
    }

    /// Steps until there is nothing to do.
    pub(super) fn run(&self) -> Vec<Step> {
        std::iter::from_fn(|| self.iommu.step()).collect()
    }

    pub(super) fn semaphore(&self) -> u64 {
        self.memory.read_obj(GuestAddress(SEMAPHORE)).unwrap()
    }

    /// The log's entries from head to tail, as Linux prints them.
    pub(super) fn event_lines(&self) -> Vec<String> {
        let (head, tail) = (self.iommu.read(0x2010, 4), self.iommu.read(0x2018, 4));
        let offsets = std::iter::successors(Some(head), |offset| Some((offset + 16) % 8192));
        offsets
            .take_while(|offset| *offset != tail)
            .map(|offset| linux_event(self.memory.read_obj(GuestAddress(EVENTS + offset)).unwrap()))
            .collect()
    }
}

/// `(destination, vector)` of a remapped answer.
pub(super) fn target(answer: &Answer) -> (u32, u8) {
    match answer.outcome {
        Outcome::Remapped(interrupt) => (interrupt.destination(), interrupt.vector()),
        outcome => panic!("not remapped: {outcome:?}"),
    }
}

pub(super) fn irte_from(answer: &Answer) -> LookupFrom {
    answer.irte.as_ref().expect("an IRTE was used").from
}
