use std::collections::{BTreeMap, HashMap};

use sim_bridge::RequesterId;

use super::descriptor::{Descriptor, IrqCounts};
use super::ratelimit::RateLimit;
use super::vectors::{VectorIrq, Vectors};
use super::{CpuMask, Irq, IrqError};
use crate::checker::Sender;
use crate::driver::MsiMessage;
use crate::iommu::InterruptRequest;
use crate::trace::Ending;

/// Vectors and interrupt descriptors: who expects what where.
pub struct IrqState {
    pub(super) vectors: Vectors,
    pub(super) descriptors: BTreeMap<Irq, Descriptor>,
    /// The function behind a requester ID.
    functions: HashMap<RequesterId, RequesterId>,
    next: u32,
    /// Of "No irq handler for vector".
    pub(super) no_handler: RateLimit,
    /// `pr_warn_once` of an interrupt that waits at an old vector.
    pub(super) warned_of_pending: bool,
}

/// The first interrupt that is no pin of an I/O APIC with 24 of them.
const FIRST_DYNAMIC: u32 = 24;

impl IrqState {
    /// Nothing is allocated on `cpus` CPUs, all online.
    pub fn new(cpus: u32) -> Self {
        Self {
            vectors: Vectors::new(cpus),
            descriptors: BTreeMap::new(),
            functions: HashMap::new(),
            next: FIRST_DYNAMIC,
            no_handler: RateLimit::default(),
            warned_of_pending: false,
        }
    }

    /// As before Linux 6.6: the old vector of a move is freed by `IRQ_MOVE_CLEANUP_VECTOR` at once, not by a timer. To be
    /// said before anything is allocated.
    pub fn clean_up_by_ipi(&mut self) {
        self.vectors.clean_up_by_ipi();
    }

    /// Says under which requester IDs a function sends.
    pub fn add_function(&mut self, function: RequesterId, ids: impl IntoIterator<Item = RequesterId>) {
        self.functions.extend(ids.into_iter().map(|id| (id, function)));
        self.functions.insert(function, function);
    }

    /// `cpu_online_mask`.
    pub fn online(&self) -> &CpuMask {
        self.vectors.online_mask()
    }

    /// CPU and vector where the interrupt arrives.
    pub fn slot(&self, irq: Irq) -> Option<(u32, u8)> {
        self.vectors.slot(irq)
    }

    /// The CPUs where the interrupt may arrive: `smp_affinity`.
    pub fn affinity(&self, irq: Irq) -> Option<&CpuMask> {
        Some(&self.descriptors.get(&irq)?.affinity)
    }

    /// The CPU where the interrupt does arrive: `effective_affinity`.
    pub fn effective_affinity(&self, irq: Irq) -> Option<u32> {
        self.slot(irq).map(|(cpu, _)| cpu)
    }

    /// `affinity_hint`: where the device's driver would like it.
    pub fn affinity_hint(&self, irq: Irq) -> Option<&CpuMask> {
        self.descriptors.get(&irq)?.affinity_hint.as_ref()
    }

    /// Where a move will take it that waits for the next interrupt.
    pub fn pending_affinity(&self, irq: Irq) -> Option<&CpuMask> {
        self.descriptors.get(&irq)?.pending_mask.as_ref()
    }

    /// The message that the interrupt's device sends.
    pub fn message(&self, irq: Irq) -> Option<MsiMessage> {
        Some(self.descriptors.get(&irq)?.message)
    }

    /// What has been counted of an interrupt.
    pub fn counts(&self, irq: Irq) -> Option<IrqCounts> {
        let descriptor = self.descriptors.get(&irq)?;
        Some(IrqCounts {
            taken: descriptor.counts.clone(),
            unhandled: descriptor.unhandled.unhandled,
        })
    }

    /// Whether interrupts that arrive are ignored because nobody cared for too many.
    pub fn is_disabled(&self, irq: Irq) -> bool {
        self.descriptors
            .get(&irq)
            .is_some_and(|descriptor| descriptor.disabled && descriptor.handler.is_some())
    }

    pub(super) fn get(&self, irq: Irq) -> Result<&Descriptor, IrqError> {
        self.descriptors.get(&irq).ok_or(IrqError::NoSuchIrq(irq))
    }

    pub(super) fn get_mut(&mut self, irq: Irq) -> Result<&mut Descriptor, IrqError> {
        self.descriptors.get_mut(&irq).ok_or(IrqError::NoSuchIrq(irq))
    }

    /// A number for a new interrupt.
    pub(super) fn new_irq(&mut self) -> Irq {
        let irq = Irq(self.next);
        self.next += 1;
        irq
    }

    /// Who sent a message, and whether anybody waits for it.
    pub(crate) fn sender(&self, request: &InterruptRequest) -> Sender {
        let function = self.functions.get(&request.requester).copied();
        let requested = self.descriptors.values().any(|descriptor| {
            Some(descriptor.chip.device()) == function
                && descriptor.message.data == request.data
                && descriptor.handler.is_some()
        });
        Sender { function, requested }
    }

    /// What it means that a request arrives at a CPU's vector.
    pub(crate) fn classify(&self, cpu: u32, vector: u8, request: &InterruptRequest) -> Ending {
        let VectorIrq::Irq(irq) = self.vectors.at((cpu, vector)) else {
            return Ending::Spurious { cpu, vector };
        };
        let Some(descriptor) = self.descriptors.get(&irq) else {
            return Ending::Spurious { cpu, vector };
        };
        let same_function = self.functions.get(&request.requester) == Some(&descriptor.chip.device());
        if same_function && descriptor.message.data == request.data {
            Ending::Delivered { cpu, vector }
        } else {
            Ending::Misrouted { cpu, vector }
        }
    }
}
