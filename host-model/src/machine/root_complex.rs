//! Where TLPs from the device go.

use sim_bridge::link::{Arrival, LinkError};
use sim_bridge::tlp::{Attributes, Body, Completion, CompletionStatus, MemWrite, Tlp};
use sim_bridge::{RequesterId, SimTime};

use super::dma::address_type;
use super::{Machine, ROOT_COMPLEX};
use crate::iommu::InterruptRequest;
use crate::iommu::spec::msi::is_message_address;
use crate::iommu::translate::AddressType;
use crate::trace::{Dropped, Kind, Source};

/// What a device has sent and what has to keep its place in the order.
pub(super) enum Inbound {
    Interrupt(InterruptRequest),
    Write(Attributes, MemWrite),
    /// A memory read request.
    Read(Tlp),
    Completion(Completion),
}

/// A translated address is one of memory, even there.
fn is_interrupt(attributes: Attributes, write: &MemWrite) -> bool {
    is_message_address(write.address) && address_type(attributes) != AddressType::Translated
}

impl Machine {
    /// Takes a TLP from the device.
    pub(super) fn arrived(&self, Arrival { at, tlp }: Arrival, latency: SimTime) {
        self.record(Source::Link, Kind::ToHost(tlp.clone()));
        let attributes = tlp.attributes;
        match tlp.body {
            Body::MemWrite(write) if attributes.poisoned => self.drop_write(&write, Dropped::Poisoned),
            Body::MemWrite(write) if is_interrupt(attributes, &write) => {
                // One whole DW (PCIe Base spec 6.1.4); nothing else there means anything.
                let ([a, b, c, d], 0xf) = (&write.data[..], write.first_be) else {
                    return self.drop_write(&write, Dropped::NoInterruptMessage);
                };
                let request = InterruptRequest {
                    requester: write.requester,
                    address: write.address,
                    data: u32::from_le_bytes([*a, *b, *c, *d]),
                };
                self.0
                    .trace
                    .record(at - latency, Source::Rtl, Kind::InterruptSent(request));
                self.in_turn(request.requester, Inbound::Interrupt(request));
            }
            Body::MemWrite(write) => self.in_turn(write.requester, Inbound::Write(attributes, write)),
            Body::MemRead(ref read) => self.in_turn(read.requester, Inbound::Read(tlp)),
            Body::Completion(completion) => {
                // With nothing in its way it need not wait for a task's turn.
                if self.0.inbound.borrow().contains_key(&completion.completer) {
                    self.in_turn(completion.completer, Inbound::Completion(completion));
                } else {
                    self.completed(&completion);
                }
            }
            // A device's requests for configuration space have nothing to reach here.
            Body::ConfigRead(_) | Body::ConfigWrite(_) => {
                self.complete_with(&tlp, CompletionStatus::UnsupportedRequest, &[]);
            }
            Body::Message(message) => self.message(&message),
        }
    }

    pub(super) fn complete_with(&self, tlp: &Tlp, status: CompletionStatus, data: &[u8]) {
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

    /// Takes a request or completion in its turn. Those of one requester ID stay in order, as posted requests do, reads and
    /// completions pass no posted request, and posted requests pass reads (PCIe Base spec 2.4.1). Those of different IDs may
    /// pass each other, as with ID-based ordering.
    pub(super) fn in_turn(&self, id: RequesterId, what: Inbound) {
        let mut waiting = self.0.inbound.borrow_mut();
        if let Some(queue) = waiting.get_mut(&id) {
            return queue.push_back(what);
        }
        waiting.insert(id, [what].into());
        let machine = self.clone();
        self.executor().spawn(format!("requests of {id}"), async move {
            while let Some(next) = machine.next_inbound(id) {
                machine.take(next).await;
            }
        });
    }

    fn next_inbound(&self, id: RequesterId) -> Option<Inbound> {
        let mut waiting = self.0.inbound.borrow_mut();
        let next = waiting.get_mut(&id).and_then(|queue| queue.pop_front());
        if next.is_none() {
            waiting.remove(&id);
        }
        next
    }

    /// Until something later may follow.
    async fn take(&self, inbound: Inbound) {
        match inbound {
            Inbound::Interrupt(request) => {
                let (answer, freshness) = self.remap(request).await;
                self.executor()
                    .spawn("interrupt", self.clone().finish(answer, freshness));
            }
            Inbound::Write(attributes, write) => {
                self.write_memory(attributes, &write).await;
                self.0.writes_ended.set(self.0.writes_ended.get() + 1);
                self.0.ending.notify();
            }
            Inbound::Read(tlp) => self.executor().spawn("read", self.clone().read_memory(tlp)),
            Inbound::Completion(completion) => self.completed(&completion),
        }
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
