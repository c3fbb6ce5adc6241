use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use sim_bridge::RequesterId;

use crate::driver::{Entry, MsiMessage};
use crate::exec::{Signal, SpinLock};
use crate::iommu::InterruptRequest;
use crate::machine::Cpu;
use crate::trace::Ending;

/// An interrupt's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Irq(pub u32);

/// A device driver's interrupt handler.
pub type Handler = Rc<dyn Fn(Cpu) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A place where an interrupt can arrive.
pub(super) type Slot = (u32, u8);

/// Vectors and interrupt descriptors: who expects what where.
pub struct IrqState {
    /// By CPU and vector: Linux's per-CPU `vector_irq`.
    vectors: Vec<BTreeMap<u8, Irq>>,
    pub(super) descriptors: BTreeMap<Irq, Descriptor>,
    /// The function behind a requester ID.
    functions: HashMap<RequesterId, RequesterId>,
    next: u32,
}

/// Linux's `irq_desc` with its chip data.
pub(super) struct Descriptor {
    pub(super) device: RequesterId,
    /// Number in the device's MSI-X table.
    pub(super) msi_index: u16,
    pub(super) entry: Entry,
    pub(super) message: MsiMessage,
    /// Where it arrives once it is requested.
    pub(super) slot: Option<Slot>,
    /// Where it arrived before it was moved, until that vector is freed.
    pub(super) previous: Option<Slot>,
    pub(super) handler: Option<Handler>,
    pub(super) running: Rc<Running>,
    /// `irq_desc->lock`.
    pub(super) lock: Rc<SpinLock<()>>,
}

/// How many times an interrupt's handler runs now: Linux's `IRQD_IRQ_INPROGRESS`.
#[derive(Default)]
pub(crate) struct Running {
    handlers: Cell<u32>,
    ended: Signal,
}

impl Running {
    /// Runs a handler.
    pub(crate) async fn run(&self, handler: Handler, cpu: Cpu) {
        self.handlers.set(self.handlers.get() + 1);
        handler(cpu).await;
        self.handlers.set(self.handlers.get() - 1);
        self.ended.notify();
    }

    /// `__synchronize_irq`.
    pub(super) async fn wait_for_end(&self) {
        self.ended.wait_until(|| self.handlers.get() == 0).await;
    }
}

impl IrqState {
    /// `FIRST_EXTERNAL_VECTOR`.
    const FIRST_VECTOR: u8 = 0x20;
    /// `ISA_IRQ_VECTOR(0)` to `ISA_IRQ_VECTOR(15)`, kept for the legacy interrupts.
    const ISA_VECTORS: std::ops::RangeInclusive<u8> = 0x30..=0x3f;
    /// `int80`.
    const SYSCALL_VECTOR: u8 = 0x80;
    /// The first vector that the kernel has for itself.
    const FIRST_SYSTEM_VECTOR: u8 = 0xec;

    /// Nothing is allocated on `cpus` CPUs.
    pub fn new(cpus: u32) -> Self {
        let vectors = (0..cpus).map(|_| BTreeMap::new()).collect();
        Self {
            vectors,
            descriptors: BTreeMap::new(),
            functions: HashMap::new(),
            next: 24,
        }
    }

    /// Says under which requester IDs a function sends.
    pub fn add_function(&mut self, function: RequesterId, ids: impl IntoIterator<Item = RequesterId>) {
        self.functions.extend(ids.into_iter().map(|id| (id, function)));
        self.functions.insert(function, function);
    }

    /// CPU and vector where the interrupt arrives.
    pub fn slot(&self, irq: Irq) -> Option<(u32, u8)> {
        self.descriptors.get(&irq)?.slot
    }

    /// The message that the interrupt's device sends.
    pub fn message(&self, irq: Irq) -> Option<MsiMessage> {
        Some(self.descriptors.get(&irq)?.message)
    }

    /// Takes the lowest free vector of a CPU.
    pub(super) fn allocate_vector(&mut self, cpu: u32, irq: Irq) -> Option<Slot> {
        let used = self.vectors.get_mut(cpu as usize)?;
        let vector = (Self::FIRST_VECTOR..Self::FIRST_SYSTEM_VECTOR).find(|v| {
            *v != Self::SYSCALL_VECTOR && !Self::ISA_VECTORS.contains(v) && !used.contains_key(v)
        })?;
        used.insert(vector, irq);
        Some((cpu, vector))
    }

    pub(super) fn free_vector(&mut self, (cpu, vector): Slot) {
        if let Some(used) = self.vectors.get_mut(cpu as usize) {
            used.remove(&vector);
        }
    }

    pub(super) fn add(&mut self, descriptor: impl FnOnce(Irq) -> Descriptor) -> Irq {
        let irq = Irq(self.next);
        self.next += 1;
        self.descriptors.insert(irq, descriptor(irq));
        irq
    }

    /// The handler installed at a CPU's vector.
    pub(crate) fn handler(&self, cpu: u32, vector: u8) -> Option<(Handler, Rc<Running>)> {
        let descriptor = self.at(cpu, vector)?;
        Some((descriptor.handler.clone()?, descriptor.running.clone()))
    }

    pub(super) fn is_requested(&self, irq: Irq) -> bool {
        self.descriptors
            .get(&irq)
            .is_some_and(|descriptor| descriptor.handler.is_some())
    }

    fn at(&self, cpu: u32, vector: u8) -> Option<&Descriptor> {
        let irq = self.vectors.get(cpu as usize)?.get(&vector)?;
        self.descriptors.get(irq)
    }

    /// What it means that a request arrives at a CPU's vector.
    pub(crate) fn classify(&self, cpu: u32, vector: u8, request: &InterruptRequest) -> Ending {
        let Some(descriptor) = self.at(cpu, vector) else {
            return Ending::Spurious { cpu, vector };
        };
        let same_function = self.functions.get(&request.requester) == Some(&descriptor.device);
        if same_function && descriptor.message.data == request.data {
            Ending::Delivered { cpu, vector }
        } else {
            Ending::Misrouted { cpu, vector }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Lock;

    const NTB: RequesterId = RequesterId(0x4100);
    const ALIAS: RequesterId = RequesterId(0x4101);
    const OTHER: RequesterId = RequesterId(0x4200);

    fn state_with_one_irq() -> (IrqState, Slot) {
        let mut state = IrqState::new(2);
        state.add_function(NTB, [ALIAS]);
        state.add_function(OTHER, []);
        let irq = state.add(|irq| Descriptor {
            device: NTB,
            msi_index: 0,
            entry: Entry {
                device: NTB,
                index: 3,
            },
            message: MsiMessage {
                address: 0xfee0_0000,
                data: 3,
            },
            slot: None,
            previous: None,
            handler: None,
            running: Rc::default(),
            lock: Rc::new(SpinLock::new(Lock::IrqDesc(irq.0), ())),
        });
        let slot = state.allocate_vector(1, irq).expect("a vector");
        (state, slot)
    }

    fn request(requester: RequesterId, data: u32) -> InterruptRequest {
        InterruptRequest {
            requester,
            address: 0xfee0_0000,
            data,
        }
    }

    #[test]
    fn own_message_is_delivered_under_every_alias() {
        let (state, (cpu, vector)) = state_with_one_irq();
        for id in [NTB, ALIAS] {
            assert_eq!(
                state.classify(cpu, vector, &request(id, 3)),
                Ending::Delivered { cpu, vector }
            );
        }
    }

    #[test]
    fn anothers_or_another_message_is_misrouted() {
        let (state, (cpu, vector)) = state_with_one_irq();
        for request in [request(OTHER, 3), request(NTB, 4)] {
            assert_eq!(
                state.classify(cpu, vector, &request),
                Ending::Misrouted { cpu, vector }
            );
        }
    }

    #[test]
    fn a_free_vector_is_spurious() {
        let (mut state, slot) = state_with_one_irq();
        state.free_vector(slot);
        let (cpu, vector) = slot;
        assert_eq!(
            state.classify(cpu, vector, &request(NTB, 3)),
            Ending::Spurious { cpu, vector }
        );
    }

    #[test]
    fn a_freed_vector_is_the_next_to_be_taken() {
        let (mut state, slot) = state_with_one_irq();
        state.free_vector(slot);
        assert_eq!(state.allocate_vector(1, Irq(99)), Some(slot));
    }

    #[test]
    fn a_full_cpu_has_no_vector_and_reserved_ones_are_never_taken() {
        let mut state = IrqState::new(1);
        let taken: Vec<_> = std::iter::from_fn(|| state.allocate_vector(0, Irq(1))).collect();
        assert_eq!(taken.len(), 0xec - 0x20 - 16 - 1);
        assert!(
            taken
                .iter()
                .all(|(_, v)| *v != 0x80 && !(0x30..=0x3f).contains(v))
        );
    }
}
