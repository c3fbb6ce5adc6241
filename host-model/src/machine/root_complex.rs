//! Where TLPs from the device go.

use sim_bridge::link::{Arrival, LinkError};
use sim_bridge::tlp::{Body, Completion, CompletionStatus, MemRead, MemWrite, Tlp};
use sim_bridge::{RequesterId, SimTime};

use super::{Machine, ROOT_COMPLEX};
use crate::checker::Freshness;
use crate::iommu::{Answer, InterruptRequest, Observed, Outcome, Posted, Response};
use crate::trace::{Dropped, Ending, Kind, Source};

/// Interrupt messages are memory writes to 0xFEEx_xxxx.
const INTERRUPT_ADDRESSES: u64 = 0xfee;

impl Machine {
    /// Takes a TLP from the device.
    pub(super) fn arrived(&self, Arrival { at, tlp }: Arrival, latency: SimTime) {
        self.record(Source::Link, Kind::ToHost(tlp.clone()));
        match &tlp.body {
            Body::MemWrite(_) if tlp.attributes.poisoned => self.drop_write(Dropped::Poisoned),
            Body::MemWrite(write) if write.address >> 20 == INTERRUPT_ADDRESSES => {
                // One whole DW (PCIe Base spec 6.1.4); nothing else there means anything.
                let ([a, b, c, d], 0xf) = (&write.data[..], write.first_be) else {
                    return self.drop_write(Dropped::NoInterruptMessage);
                };
                let request = InterruptRequest {
                    requester: write.requester,
                    address: write.address,
                    data: u32::from_le_bytes([*a, *b, *c, *d]),
                };
                self.0
                    .trace
                    .record(at - latency, Source::Rtl, Kind::InterruptSent(request));
                self.interrupt(request);
            }
            Body::MemWrite(write) => self.write_memory(write),
            Body::MemRead(read) => self.complete_read(&tlp, read),
            Body::Completion(completion) => self.completed(completion),
            // A device's requests for configuration space and its messages have nothing to reach here.
            Body::ConfigRead(_) | Body::ConfigWrite(_) => {
                self.complete_with(&tlp, CompletionStatus::UnsupportedRequest, &[]);
            }
            Body::Message(_) => {}
        }
    }

    fn write_memory(&self, write: &MemWrite) {
        if !self.is_memory(write.address, write.data.len() as u64) {
            return self.drop_write(Dropped::NoMemory);
        }
        for (address, bytes) in write.runs() {
            self.with_checker(|checker| checker.about_to_store(address, bytes, None, self.now()));
            self.memory().store(address, bytes);
        }
    }

    /// Posted requests have no completion to say so.
    fn drop_write(&self, why: Dropped) {
        self.record(Source::Link, Kind::Dropped(why));
    }

    fn is_memory(&self, address: u64, len: u64) -> bool {
        address
            .checked_add(len)
            .is_some_and(|end| end <= self.memory().end())
    }

    fn complete_read(&self, tlp: &Tlp, read: &MemRead) {
        let len = u64::from(read.length) * 4;
        if !self.is_memory(read.address, len) {
            return self.complete_with(tlp, CompletionStatus::UnsupportedRequest, &[]);
        }
        let bytes: Vec<u8> = (0..len / 4)
            .flat_map(|n| self.memory().load::<4>(read.address + 4 * n))
            .collect();
        self.complete_with(tlp, CompletionStatus::Successful, &bytes);
    }

    fn complete_with(&self, tlp: &Tlp, status: CompletionStatus, data: &[u8]) {
        if let Ok(completion) = tlp.completion(ROOT_COMPLEX, status, data) {
            self.send(&completion);
        }
    }

    fn completed(&self, completion: &Completion) {
        let waiter = self.0.outstanding.borrow_mut().remove(&completion.tag);
        match waiter {
            Some(waiter) => {
                // A waiter that is gone needs no answer.
                let _ = waiter.send(completion.clone());
            }
            None => self.record(
                Source::Scenario,
                Kind::KernelLog(format!("unexpected completion: tag {}", completion.tag)),
            ),
        }
    }

    /// Takes an interrupt message to its end. Those of one requester ID stay in order, as posted requests do (PCIe Base
    /// spec 2.4.1); those of different IDs may pass each other, as with ID-based ordering.
    fn interrupt(&self, request: InterruptRequest) {
        let id = request.requester;
        let mut waiting = self.0.interrupts.borrow_mut();
        if let Some(queue) = waiting.get_mut(&id) {
            return queue.push_back(request);
        }
        waiting.insert(id, [request].into());
        let machine = self.clone();
        self.executor().spawn(format!("interrupts of {id}"), async move {
            while let Some(request) = machine.next_interrupt(id) {
                let (answer, freshness) = machine.remap(request).await;
                machine
                    .executor()
                    .spawn("interrupt", machine.clone().finish(answer, freshness));
            }
        });
    }

    fn next_interrupt(&self, id: RequesterId) -> Option<InterruptRequest> {
        let mut waiting = self.0.interrupts.borrow_mut();
        let next = waiting.get_mut(&id).and_then(|queue| queue.pop_front());
        if next.is_none() {
            waiting.remove(&id);
        }
        next
    }

    /// Takes an interrupt message through the IOMMU.
    async fn remap(&self, request: InterruptRequest) -> (Answer, Option<Freshness>) {
        let sample = || {
            self.with_checker(|checker| checker.sample(self.now()))
                .unwrap_or_default()
        };
        let mut sampled = sample();
        let mut samples = Vec::new();
        let mut observed = Observed::default();
        let mut response = self.iommu().request_observed(&request, &mut observed);
        let outcome = loop {
            match response {
                Response::Answer(outcome) => break outcome,
                Response::Fill(token) => {
                    samples.push((token.address(), sampled));
                    self.executor().sleep(self.timing().iommu_memory_read).await;
                    sampled = sample();
                    response = self.iommu().complete_observed(token, &mut observed);
                    self.run_iommu();
                }
            }
        };
        let answer = Answer::new(request, outcome, observed);
        let freshness = self.with_checker(|checker| checker.judge(&answer, &samples, self.now()));
        self.record(Source::Iommu, Kind::Answered { answer, freshness });
        self.run_iommu();
        if samples.is_empty() {
            self.executor().sleep(self.timing().iommu_hit).await;
        }
        (answer, freshness)
    }

    /// From the IOMMU to where it ends.
    async fn finish(self, answer: Answer, freshness: Option<Freshness>) {
        if !matches!(answer.outcome, Outcome::Blocked { .. }) {
            self.executor().sleep(self.timing().apic).await;
        }
        let ending = self.deliver(&answer);
        self.with_checker(|checker| checker.ended(&answer, freshness, ending));
        self.record(
            ending.place().map_or(Source::Iommu, |(cpu, _)| Source::Cpu(cpu)),
            Kind::Ended {
                request: answer.request,
                ending,
            },
        );
        self.0.ended.set(self.0.ended.get() + 1);
        self.0.ending.notify();
    }

    fn deliver(&self, answer: &Answer) -> Ending {
        let (destination, vector) = match answer.outcome {
            Outcome::Blocked { .. } => return Ending::Blocked,
            Outcome::Posted(Posted { backing_page, .. }) => return Ending::Posted { backing_page },
            Outcome::Remapped(interrupt) => (interrupt.destination(), interrupt.vector()),
            // The compatibility format: destination in address bits 19:12, vector in data bits 7:0 (Intel SDM 11.11).
            Outcome::Forwarded { address, data } => ((address >> 12 & 0xff) as u32, data as u8),
        };
        let Some(apic) = self.apic(destination) else {
            return Ending::Lost { destination };
        };
        apic.accept(self.now(), vector);
        let ending = self
            .0
            .irqs
            .borrow()
            .classify(destination, vector, &answer.request);
        self.take_interrupt(destination);
        ending
    }

    /// Sends a TLP to the device.
    pub(super) fn send(&self, tlp: &Tlp) {
        self.record(Source::Link, Kind::ToDevice(tlp.clone()));
        let sent = self.0.link.borrow_mut().send(self.now(), tlp);
        if let Err(error) = sent {
            self.fail(error);
        }
    }

    /// Sends a request that is completed, and waits for that. `None`: the simulation is failing.
    pub(super) async fn non_posted(&self, tag: u16, tlp: &Tlp) -> Option<Completion> {
        let (sender, receiver) = futures_channel::oneshot::channel();
        self.0.outstanding.borrow_mut().insert(tag, sender);
        self.send(tlp);
        receiver.await.ok()
    }

    /// A tag (10 bits) that no outstanding request has.
    pub(super) fn new_tag(&self) -> u16 {
        let outstanding = self.0.outstanding.borrow();
        let first = self.0.next_tag.get();
        let tag = (0..1024)
            .map(|n| (first + n) % 1024)
            .find(|tag| !outstanding.contains_key(tag))
            .unwrap_or(first);
        self.0.next_tag.set((tag + 1) % 1024);
        tag
    }

    /// Whether configuration requests for this function go over the link.
    pub(super) fn is_on_link(&self, target: RequesterId) -> bool {
        self.0.on_link == target
    }

    fn fail(&self, error: LinkError) {
        self.0.failure.borrow_mut().get_or_insert(error);
    }
}
