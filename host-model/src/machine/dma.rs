//! A device's reads and writes of memory.

use sim_bridge::tlp::{Attributes, Body, CompletionStatus, MemRead, MemWrite, Tlp};

use super::Machine;
use crate::checker::Freshness;
use crate::iommu::TableEntry;
use crate::iommu::translate::{
    Access, AddressType, Addressing, MemoryRequest, ObservedTranslation, Translation, TranslationOutcome,
    TranslationResponse,
};
use crate::trace::{Dropped, Kind, Source};

/// Bytes of an entry in a translation completion (PCIe Base spec 10.2.3).
const TRANSLATION_BYTES: u64 = 8;

impl Machine {
    /// Takes a write to memory.
    pub(super) async fn write_memory(&self, link: usize, attributes: Attributes, write: &MemWrite) {
        let kind = address_type(attributes);
        if kind == AddressType::TranslationRequest {
            return self.drop_write(link, write, Dropped::TranslationRequest);
        }
        let request = MemoryRequest {
            requester: write.requester,
            address: write.address,
            access: Access::Write,
            addressing: Addressing::new(kind, None),
        };
        let Some(start) = physical(&request, self.translate(request).await) else {
            return self.drop_write(link, write, Dropped::Refused);
        };
        if !self.is_memory(start, write.data.len() as u64) {
            return self.drop_write(link, write, Dropped::NoMemory);
        }
        for (address, bytes) in write.runs() {
            self.store(start + (address - write.address), bytes);
        }
    }

    /// A write that no CPU makes.
    pub(super) fn store(&self, address: u64, bytes: &[u8]) {
        self.with_checker(|checker| checker.about_to_store(address, bytes, None, self.now()));
        self.memory().store(address, bytes);
    }

    /// Posted requests have no completion to say so.
    pub(super) fn drop_write(&self, link: usize, write: &MemWrite, why: Dropped) {
        self.record(
            Source::Link(link),
            Kind::Dropped {
                requester: write.requester,
                address: write.address,
                why,
            },
        );
    }

    /// Takes a read of memory, or a translation request, to its completion.
    pub(super) async fn read_memory(self, link: usize, tlp: Tlp) {
        let Body::MemRead(read) = &tlp.body else { return };
        let request = MemoryRequest {
            requester: read.requester,
            address: read.address,
            access: Access::Read,
            addressing: Addressing::new(address_type(tlp.attributes), None),
        };
        let outcome = self.translate(request).await;
        let answer = match request.addressing.kind() {
            AddressType::TranslationRequest => translation(read, outcome),
            AddressType::Untranslated | AddressType::Translated => {
                self.read_at(read, physical(&request, outcome))
            }
        };
        match answer {
            Ok(data) => self.complete_with(link, &tlp, CompletionStatus::Successful, &data),
            Err(status) => self.complete_with(link, &tlp, status, &[]),
        }
    }

    fn read_at(&self, read: &MemRead, start: Option<u64>) -> Result<Vec<u8>, CompletionStatus> {
        let start = start.ok_or(CompletionStatus::CompleterAbort)?;
        let len = u64::from(read.length) * 4;
        if !self.is_memory(start, len) {
            return Err(CompletionStatus::UnsupportedRequest);
        }
        let dwords = (start..start + len).step_by(4);
        Ok(dwords.flat_map(|at| self.memory().load::<4>(at)).collect())
    }

    /// Takes a memory request through the IOMMU. Nothing comes between the answer and what the caller does with it: an
    /// invalidation that retires later has waited for it.
    async fn translate(&self, request: MemoryRequest) -> TranslationOutcome {
        self.executor().sleep(self.timing().iommu_hit).await;
        let (outcome, freshness) = match self.is_checked() {
            true => self.translate_checked(request).await,
            false => (self.translate_unchecked(request).await, None),
        };
        self.record(
            Source::Iommu,
            Kind::Translated {
                request,
                outcome,
                freshness,
            },
        );
        self.run_iommu();
        outcome
    }

    async fn translate_unchecked(&self, request: MemoryRequest) -> TranslationOutcome {
        let mut response = self.iommu().translate(&request);
        loop {
            match response {
                TranslationResponse::Answer(outcome) => return outcome,
                TranslationResponse::Fill(token) => {
                    self.executor().sleep(self.timing().iommu_memory_read).await;
                    response = self.iommu().complete_translation(token);
                    self.run_iommu();
                }
            }
        }
    }

    async fn translate_checked(&self, request: MemoryRequest) -> (TranslationOutcome, Option<Freshness>) {
        let mut samples = Vec::new();
        let mut observed = ObservedTranslation::default();
        let mut sampled = self.sample();
        let mut response = self.iommu().translate_observed(&request, &mut observed);
        let outcome = loop {
            match response {
                TranslationResponse::Answer(outcome) => break outcome,
                TranslationResponse::Fill(token) => {
                    samples.push((token.address(), sampled));
                    if let TableEntry::Pte { .. } = token.entry() {
                        self.with_checker(|checker| checker.reads_pte(token.address()));
                    }
                    self.executor().sleep(self.timing().iommu_memory_read).await;
                    sampled = self.sample();
                    response = self.iommu().complete_translation_observed(token, &mut observed);
                    self.run_iommu();
                }
            }
        };
        let freshness = self.with_checker(|checker| {
            checker.judge_translation(&request, &outcome, &observed, &samples, self.now())
        });
        (outcome, freshness)
    }

    pub(super) fn is_memory(&self, address: u64, len: u64) -> bool {
        address
            .checked_add(len)
            .is_some_and(|end| end <= self.memory().end())
    }
}

/// Reserved bits are ignored, as everywhere in a TLP.
pub(super) fn address_type(attributes: Attributes) -> AddressType {
    use sim_bridge::tlp::AddressType as At;
    match attributes.address_type {
        At::Untranslated | At::Reserved => AddressType::Untranslated,
        At::TranslationRequest => AddressType::TranslationRequest,
        At::Translated => AddressType::Translated,
    }
}

/// Where in memory a request begins that is not refused.
fn physical(request: &MemoryRequest, outcome: TranslationOutcome) -> Option<u64> {
    match outcome {
        TranslationOutcome::Forwarded => Some(request.address),
        TranslationOutcome::Translated(translation) => Some(translation.address),
        TranslationOutcome::Refused { .. } => None,
    }
}

/// The data of a translation completion. Only requests for one translation are answered.
fn translation(read: &MemRead, outcome: TranslationOutcome) -> Result<Vec<u8>, CompletionStatus> {
    if u64::from(read.length) * 4 != TRANSLATION_BYTES {
        return Err(CompletionStatus::UnsupportedRequest);
    }
    match outcome {
        TranslationOutcome::Translated(translation) => Ok(entry(&translation).to_be_bytes().into()),
        TranslationOutcome::Refused { reason, .. } if reason.is_page_fault() => {
            Ok(vec![0; TRANSLATION_BYTES as usize])
        }
        TranslationOutcome::Refused { .. } => Err(CompletionStatus::CompleterAbort),
        TranslationOutcome::Forwarded => Err(CompletionStatus::UnsupportedRequest),
    }
}

/// An entry of a translation completion, of 4 KiB: translated address 63:12, U 2, W 1, R 0 (PCIe Base spec 10.2.3).
fn entry(translation: &Translation) -> u64 {
    let bit = |set, n: u32| u64::from(set) << n;
    let attributes = translation.attributes;
    let permissions = attributes.permissions();
    translation.address & !0xfff
        | bit(attributes.untranslated_only(), 2)
        | bit(permissions.write(), 1)
        | bit(permissions.read(), 0)
}
