//! An IOMMU and what drives it, watched by the checker.

use vm_memory::{Bytes, GuestAddress};

use super::super::*;
use super::TABLES;
use crate::iommu::{FillToken, InterruptRequest, Iommu, Observed, Response};

/// An IOMMU that is watched, as raw bits.
pub(super) struct Watched<'a> {
    pub(super) iommu: &'a Iommu,
    pub(super) memory: &'a Arc<GuestMemoryMmap>,
    pub(super) checker: Checker,
    pub(super) wide: bool,
    pub(super) tail: u64,
    pub(super) calls: [Option<CallId>; 2],
}

impl<'a> Watched<'a> {
    pub(super) fn new(iommu: &'a Iommu, memory: &'a Arc<GuestMemoryMmap>, wide: bool) -> Self {
        let ga_en = u64::from(wide) << 17;
        for (offset, value) in [
            (0x00, DEVICE_TABLE | 0x1ff),
            (0x08, COMMANDS | 9 << 56),
            (0x18, 1 | 1 << 12 | ga_en),
        ] {
            iommu.write(offset, 8, value);
        }
        let mut checker = Checker::new(Arc::clone(memory));
        checker.device_table(DEVICE_TABLE, 0x20_0000);
        checker.irte_format(wide, false);
        let mut watched = Self {
            iommu,
            memory,
            checker,
            wide,
            tail: 0,
            calls: [None; 2],
        };
        // Makes both tables known.
        for table in [1, 0] {
            (0..RIDS.len()).for_each(|device| watched.write_dte(device, Some(table), 0));
        }
        watched
    }

    pub(super) fn store(&mut self, address: u64, bytes: &[u8], call: usize) {
        let own = match self.calls[call] {
            Some(_) => None,
            None => Some(self.checker.call_began("own", 0)),
        };
        self.checker
            .about_to_store(address, bytes, self.calls[call].or(own), SimTime::ZERO);
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .expect("memory");
        if let Some(own) = own {
            self.checker.call_ended(own, SimTime::ZERO);
        }
    }

    pub(super) fn write_dte(&mut self, device: usize, table: Option<usize>, call: usize) {
        let half = table.map_or(0, |table| dte(TABLES[table]));
        let address = DEVICE_TABLE + 32 * u64::from(RIDS[device].0) + 16;
        self.store(address, &half.to_le_bytes(), call);
    }

    pub(super) fn write_entry(&mut self, table: usize, index: usize, number: u8, call: usize) {
        let (address, vector) = (TABLES[table], u128::from(number) + 0x30);
        match (self.wide, number) {
            (true, 0) => self.store(address + 16 * index as u64, &[0; 16], call),
            (true, _) => {
                let irte = vector << 64 | 1 << 8 | 1;
                self.store(address + 16 * index as u64, &irte.to_le_bytes(), call);
            }
            (false, 0) => self.store(address + 4 * index as u64, &[0; 4], call),
            (false, _) => {
                let irte = irte(number + 0x30);
                self.store(address + 4 * index as u64, &irte.to_le_bytes(), call);
            }
        }
    }

    pub(super) fn open(&mut self, call: usize) {
        if self.calls[call].is_none() {
            self.calls[call] = Some(self.checker.call_began("call", 0));
        }
    }

    pub(super) fn close(&mut self, call: usize) {
        if let Some(id) = self.calls[call].take() {
            self.checker.call_ended(id, SimTime::ZERO);
        }
    }

    pub(super) fn queue(&mut self, command: [u64; 2]) {
        let address = GuestAddress(COMMANDS + self.tail);
        self.memory.write_obj(command, address).expect("memory");
        self.tail = (self.tail + 16) % 8192;
        self.iommu.write(0x2008, 4, self.tail);
    }

    pub(super) fn step(&mut self) -> Option<Step> {
        let step = self.iommu.step()?;
        self.checker.stepped(&step, SimTime::ZERO);
        Some(step)
    }

    pub(super) fn begin(&mut self, device: usize, index: usize) -> (Request, Response<'a>) {
        let mut request = Request {
            message: InterruptRequest {
                requester: RIDS[device],
                address: 0xfee0_0000,
                data: index as u32,
            },
            observed: Observed::default(),
            samples: vec![],
        };
        let sample = self.checker.sample(SimTime::ZERO);
        let response = self
            .iommu
            .request_observed(&request.message, &mut request.observed);
        request.sampled(sample, &response);
        (request, response)
    }

    pub(super) fn complete(&mut self, request: &mut Request, token: FillToken<'a>) -> Response<'a> {
        let sample = self.checker.sample(SimTime::ZERO);
        let response = self.iommu.complete_observed(token, &mut request.observed);
        request.sampled(sample, &response);
        response
    }

    pub(super) fn judge(&mut self, request: &Request, outcome: Outcome) -> Freshness {
        let answer = Answer::new(request.message, outcome, request.observed);
        self.checker.judge(&answer, &request.samples, SimTime::ZERO)
    }

    /// A request whose reads take no time.
    pub(super) fn ask(&mut self, device: usize, index: usize) -> Freshness {
        let (request, response) = self.begin(device, index);
        self.finish(request, response)
    }

    pub(super) fn finish(&mut self, mut request: Request, mut response: Response<'a>) -> Freshness {
        loop {
            response = match response {
                Response::Answer(outcome) => return self.judge(&request, outcome),
                Response::Fill(token) => self.complete(&mut request, token),
            }
        }
    }
}

/// A request on its way, as the root complex has it.
pub(super) struct Request {
    pub(super) message: InterruptRequest,
    pub(super) observed: Observed,
    pub(super) samples: Vec<(u64, Sample)>,
}

impl Request {
    pub(super) fn sampled(&mut self, sample: Sample, response: &Response) {
        if let Response::Fill(token) = response {
            self.samples.push((token.address(), sample));
        }
    }
}
