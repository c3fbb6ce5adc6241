//! Interrupt messages, from the device or the IOMMU itself to where they end.

use super::apic_message::{ApicMessage, AsksFor};
use super::{LocalApic, Machine};
use crate::checker::Freshness;
use crate::driver::MsiMessage;
use crate::iommu::spec::msi::is_message_address;
use crate::iommu::{
    Answer, InterruptForm, InterruptRequest, InterruptSource, Observed, Outcome, Posted, Response,
};
use crate::trace::{Ending, Kind, Loss, Source};

impl Machine {
    /// Takes an interrupt message through the IOMMU.
    pub(super) async fn remap(&self, request: InterruptRequest) -> (Answer, Option<Freshness>) {
        let mut sampled = self.sample();
        let mut samples = Vec::new();
        let mut observed = Observed::default();
        let mut response = self.iommu().request_observed(&request, &mut observed);
        let outcome = loop {
            match response {
                Response::Answer(outcome) => break outcome,
                Response::Fill(token) => {
                    samples.push((token.address(), sampled));
                    self.executor().sleep(self.timing().iommu_memory_read).await;
                    sampled = self.sample();
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
    pub(super) async fn finish(self, link: Option<usize>, answer: Answer, freshness: Option<Freshness>) {
        if !matches!(answer.outcome, Outcome::Blocked { .. }) {
            self.executor().sleep(self.timing().apic).await;
        }
        let ending = self.ending(&answer);
        let sender = self.irqs().sender(&answer.request);
        self.with_checker(|checker| checker.ended(&answer, freshness, ending, sender, self.now()));
        self.record(
            ending.cpu().map_or(Source::Iommu, Source::Cpu),
            Kind::Ended {
                request: answer.request,
                ending,
            },
        );
        self.0.ended.set(self.0.ended.get() + 1);
        if let Some(link) = link {
            self.0.links.interrupt_ended(link);
        }
        self.0.ending.notify();
    }

    fn ending(&self, answer: &Answer) -> Ending {
        let request = answer.request;
        let message = match answer.outcome {
            Outcome::Blocked { .. } => return Ending::Blocked,
            Outcome::Posted(Posted { backing_page, .. }) => return Ending::Lost(Loss::Posted(backing_page)),
            Outcome::Remapped(interrupt) => {
                let InterruptRequest { address, data, .. } = interrupt.message(&request);
                ApicMessage::of_msi(address, data, self.control().xt_en())
            }
            Outcome::Forwarded { address, data } => ApicMessage::of_msi(address, data, false),
        };
        let message = match message {
            Ok(message) => message,
            Err(loss) => return Ending::Lost(loss),
        };
        let ending = |cpu| match message.asks_for {
            AsksFor::Vector(vector) => self.irqs().classify(cpu, vector, &request),
            AsksFor::Special(mode) => Ending::Special { cpu, mode },
        };
        // One message has one ending: where several CPUs take it, the worst.
        let worst = self
            .deliver(&message)
            .into_iter()
            .map(ending)
            .max_by_key(|ending| match ending {
                Ending::Delivered { .. } => 0,
                Ending::Misrouted { .. } => 2,
                _ => 1,
            });
        worst.unwrap_or(Ending::Lost(self.why_nobody(&message)))
    }

    /// Sends an interrupt of the IOMMU's own. It is not remapped.
    pub(super) fn send_own(&self, about: InterruptSource, form: InterruptForm) {
        let machine = self.clone();
        self.executor().spawn("interrupt of the IOMMU", async move {
            machine.executor().sleep(machine.timing().apic).await;
            let message = match form {
                InterruptForm::Msi(MsiMessage { address, data }) => machine.own_msi(address, data),
                InterruptForm::Xt(interrupt) => ApicMessage::of_xt(&interrupt),
            };
            let reached = message.and_then(|message| match machine.deliver(&message) {
                cpus if cpus.is_empty() => Err(machine.why_nobody(&message)),
                cpus => Ok(cpus),
            });
            machine.record(Source::Iommu, Kind::OwnInterrupt { about, reached });
        });
    }

    /// A message is a write like any other.
    fn own_msi(&self, address: u64, data: u32) -> Result<ApicMessage, Loss> {
        if is_message_address(address) {
            return ApicMessage::of_msi(address, data, false);
        }
        let bytes = data.to_le_bytes();
        if self.is_memory(address, bytes.len() as u64) {
            self.store(address, &bytes);
        }
        Err(Loss::NoInterruptMessage(address))
    }

    /// A local APIC that is disabled takes only what has no vector (AMD APM volume 2, 16.4.5).
    fn accepts(&self, cpu: u32, message: &ApicMessage) -> bool {
        let enabled = self.apic(cpu).is_some_and(LocalApic::is_enabled);
        enabled || matches!(message.asks_for, AsksFor::Special(_))
    }

    fn why_nobody(&self, message: &ApicMessage) -> Loss {
        match (0..self.cpus()).find(|cpu| message.destination.is(*cpu)) {
            Some(cpu) => Loss::ApicDisabled(cpu),
            None => Loss::NoApic(message.destination.id),
        }
    }

    /// Takes a message to the local APICs that it is for: whose they are.
    pub(super) fn deliver(&self, message: &ApicMessage) -> Vec<u32> {
        // All CPUs have the same priority: of several, the first is the one.
        let at_most = if message.lowest_priority { 1 } else { usize::MAX };
        let cpus: Vec<u32> = (0..self.cpus())
            .filter(|cpu| message.destination.is(*cpu) && self.accepts(*cpu, message))
            .take(at_most)
            .collect();
        if let AsksFor::Vector(vector) = message.asks_for {
            for &cpu in &cpus {
                if let Some(apic) = self.apic(cpu) {
                    apic.accept(self.now(), vector);
                }
                self.take_interrupt(cpu);
            }
        }
        cpus
    }
}
