//! Power, as ACPI's S3 takes it away and gives it back.

use std::cell::RefCell;
use std::collections::BTreeSet;

use sim_bridge::SimTime;
use sim_bridge::tlp::{Body, Message, Payload, Tlp};

use super::{Machine, ROOT_COMPLEX};
use crate::exec::Signal;
use crate::trace::{Kind, Source};

/// PME_Turn_Off (PCIe Base spec 2.2.8.2): broadcast by the root complex before power goes.
const PME_TURN_OFF: u8 = 0x19;
const BROADCAST: u8 = 0b011;
/// PME_TO_Ack: whoever sends it is ready to lose its power.
const PME_TO_ACK: u8 = 0x1b;
/// After that power goes all the same (PCIe Base spec 5.3.3.2.1: 1 ms to 10 ms).
const PATIENCE: SimTime = SimTime::from_us(10_000);

/// Whether devices may lose their power.
#[derive(Default)]
pub(super) struct Power {
    /// By link.
    acknowledged: RefCell<BTreeSet<usize>>,
    changed: Signal,
}

impl Machine {
    /// Power goes and comes back. Memory and CPUs, of which the others should be offline, keep what they hold; so do I/O
    /// APICs and HPETs. The devices on the links have lost everything, the IOMMU its registers, and its caches where
    /// [`PowerOnCaches`](crate::iommu::PowerOnCaches) says so.
    pub async fn power_cycle(&self) {
        let power = &self.0.power;
        power.acknowledged.borrow_mut().clear();
        let links = self.0.links.count();
        for link in 0..links {
            self.send(
                link,
                &Tlp::from(Body::Message(Message {
                    requester: ROOT_COMPLEX,
                    tag: 0,
                    routing: BROADCAST,
                    code: PME_TURN_OFF,
                    fields: [0; 8],
                    data: Payload::new(),
                })),
            );
        }
        let deadline = self.now() + PATIENCE;
        let machine = self.clone();
        self.executor().spawn("patience with PME_TO_Ack", async move {
            machine.executor().sleep_until(deadline).await;
            machine.0.power.changed.notify();
        });
        power
            .changed
            .wait_until(|| power.acknowledged.borrow().len() == links || self.now() >= deadline)
            .await;
        self.iommu().power_cycle();
        self.record(Source::Iommu, Kind::PowerCycled);
        let caches = self.iommu().config().policies.power_on_caches;
        self.with_checker(|checker| checker.power_cycled(caches));
    }

    /// Takes a device's message.
    pub(super) fn message(&self, link: usize, message: &Message) {
        if message.code == PME_TO_ACK {
            self.0.power.acknowledged.borrow_mut().insert(link);
            self.0.power.changed.notify();
        }
    }
}
