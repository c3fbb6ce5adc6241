//! Where TLPs from devices go.

use sim_bridge::link::Arrival;
use sim_bridge::tlp::{Attributes, Body, Completion, CompletionStatus, MemWrite, Tlp};
use sim_bridge::{RequesterId, SimTime};

use super::dma::address_type;
use super::{Machine, ROOT_COMPLEX};
use crate::iommu::InterruptRequest;
use crate::iommu::spec::msi::is_message_address;
use crate::iommu::translate::AddressType;
use crate::trace::{Dropped, Kind, Source};

/// What a device has sent over which link, and what has to keep its place in the order.
pub(super) enum Inbound {
    /// That of an I/O APIC or HPET comes over no link.
    Interrupt(Option<usize>, InterruptRequest),
    Write(usize, Attributes, MemWrite),
    /// A memory read request.
    Read(usize, Tlp),
    Completion(usize, Completion),
}

/// A translated address is one of memory, even there.
fn is_interrupt(attributes: Attributes, write: &MemWrite) -> bool {
    is_message_address(write.address) && address_type(attributes) != AddressType::Translated
}

impl Machine {
    /// Takes a TLP from a device.
    pub(super) fn arrived(&self, link: usize, Arrival { at, tlp }: Arrival, latency: SimTime) {
        self.record(Source::Link(link), Kind::ToHost(tlp.clone()));
        let attributes = tlp.attributes;
        match tlp.body {
            Body::MemWrite(write) if attributes.poisoned => self.drop_write(link, &write, Dropped::Poisoned),
            Body::MemWrite(write) if is_interrupt(attributes, &write) => {
                // One whole DW (PCIe Base spec 6.1.4); nothing else there means anything.
                let ([a, b, c, d], 0xf) = (&write.data[..], write.first_be) else {
                    return self.drop_write(link, &write, Dropped::NoInterruptMessage);
                };
                let request = InterruptRequest {
                    requester: write.requester,
                    address: write.address,
                    data: u32::from_le_bytes([*a, *b, *c, *d]),
                };
                self.0
                    .trace
                    .record(at - latency, Source::Rtl(link), Kind::InterruptSent(request));
                self.in_turn(request.requester, Inbound::Interrupt(Some(link), request));
            }
            Body::MemWrite(write) => self.in_turn(write.requester, Inbound::Write(link, attributes, write)),
            Body::MemRead(ref read) => self.in_turn(read.requester, Inbound::Read(link, tlp)),
            Body::Completion(completion) => {
                // With nothing in its way it need not wait for a task's turn.
                if self.0.inbound.borrow().contains_key(&completion.completer) {
                    self.in_turn(completion.completer, Inbound::Completion(link, completion));
                } else {
                    self.completed(link, &completion);
                }
            }
            // A device's requests for configuration space have nothing to reach here.
            Body::ConfigRead(_) | Body::ConfigWrite(_) => {
                self.complete_with(link, &tlp, CompletionStatus::UnsupportedRequest, &[]);
            }
            Body::Message(message) => self.message(link, &message),
        }
    }

    pub(super) fn complete_with(&self, link: usize, tlp: &Tlp, status: CompletionStatus, data: &[u8]) {
        if let Ok(completion) = tlp.completion(ROOT_COMPLEX, status, data) {
            self.send(link, &completion);
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
            Inbound::Interrupt(link, request) => {
                let (answer, freshness) = self.remap(request).await;
                self.executor()
                    .spawn("interrupt", self.clone().finish(link, answer, freshness));
            }
            Inbound::Write(link, attributes, write) => {
                self.write_memory(link, attributes, &write).await;
                self.0.links.write_ended(link);
                self.0.ending.notify();
            }
            Inbound::Read(link, tlp) => self.executor().spawn("read", self.clone().read_memory(link, tlp)),
            Inbound::Completion(link, completion) => self.completed(link, &completion),
        }
    }
}
