//! Which interrupt has which vector of which CPU (Linux arch/x86/kernel/apic/vector.c). Time never passes under
//! `vector_lock`, so that it needs no lock here.

use std::collections::BTreeMap;

use super::matrix::{FIRST_VECTOR, Matrix, NoVector};
use super::{CpuMask, Irq};
use crate::driver::Target;

/// A place where an interrupt can arrive: CPU and vector.
pub(super) type Slot = (u32, u8);

/// `MANAGED_IRQ_SHUTDOWN_VECTOR`: where an interrupt points that nobody has requested.
pub(super) const SHUTDOWN_VECTOR: u8 = 0xef;

/// An entry of a CPU's `vector_irq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum VectorIrq {
    /// `VECTOR_UNUSED`: an interrupt here is one too many.
    #[default]
    Unused,
    /// `VECTOR_SHUTDOWN`: the vector was freed; one late interrupt is no wonder.
    Shutdown,
    /// `VECTOR_RETRIGGERED`: what waited here was sent on to another CPU.
    Retriggered,
    Irq(Irq),
}

/// Why an interrupt gets no vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssignError {
    /// The matrix has none.
    No(NoVector),
    /// -EBUSY: the vector from before the last move is not free yet.
    Busy,
}

/// What is to be done about an old vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cleanup {
    /// Nothing, or a timer that runs already does it.
    Nothing,
    /// This CPU's timer is to run.
    StartTimer(u32),
    /// This CPU is to be interrupted.
    Interrupt(u32),
    /// It is free: that CPU went offline meanwhile.
    Offline(u32),
}

/// `struct apic_chip_data`.
#[derive(Debug, Clone, Default)]
struct ChipData {
    /// `cpu` and `vector`.
    slot: Option<Slot>,
    /// `prev_cpu` and `prev_vector`.
    previous: Option<Slot>,
    move_in_progress: bool,
    /// On its old CPU's `vector_cleanup` list.
    in_cleanup: bool,
    managed: bool,
    has_reserved: bool,
}

/// `struct vector_cleanup` of one CPU.
#[derive(Debug, Default)]
struct CleanupList {
    irqs: Vec<Irq>,
    timer_pending: bool,
}

/// All CPUs' vectors.
pub(super) struct Vectors {
    matrix: Matrix,
    online: CpuMask,
    by_cpu: Vec<BTreeMap<u8, VectorIrq>>,
    cleanup: Vec<CleanupList>,
    cleanup_by_ipi: bool,
    irqs: BTreeMap<Irq, ChipData>,
}

impl Vectors {
    /// All CPUs are online.
    pub(super) fn new(cpus: u32) -> Self {
        Self {
            matrix: Matrix::new(cpus),
            online: (0..cpus).collect(),
            by_cpu: (0..cpus).map(|_| BTreeMap::new()).collect(),
            cleanup: (0..cpus).map(|_| CleanupList::default()).collect(),
            cleanup_by_ipi: false,
            irqs: BTreeMap::new(),
        }
    }

    /// Old vectors are freed by an interrupt between CPUs, at a vector that is then nobody else's.
    pub(super) fn clean_up_by_ipi(&mut self) {
        self.cleanup_by_ipi = true;
        self.matrix.keep_first_vector();
    }

    /// The vector of that interrupt.
    pub(super) fn cleanup_vector(&self) -> Option<u8> {
        self.cleanup_by_ipi.then_some(FIRST_VECTOR)
    }

    /// `cpu_online_mask`.
    pub(super) fn online_mask(&self) -> &CpuMask {
        &self.online
    }

    /// What is installed at a CPU's vector.
    pub(super) fn at(&self, (cpu, vector): Slot) -> VectorIrq {
        self.by_cpu
            .get(cpu as usize)
            .and_then(|vectors| vectors.get(&vector))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn set(&mut self, (cpu, vector): Slot, what: VectorIrq) {
        if let Some(vectors) = self.by_cpu.get_mut(cpu as usize) {
            vectors.insert(vector, what);
        }
    }

    /// Where the interrupt arrives.
    pub(super) fn slot(&self, irq: Irq) -> Option<Slot> {
        self.irqs.get(&irq)?.slot
    }

    /// `irq_cfg`: where its remapping entry is to point.
    pub(super) fn target(&self, irq: Irq) -> Target {
        match self.slot(irq) {
            Some((apic_id, vector)) => Target { apic_id, vector },
            None => self.shutdown_target(),
        }
    }

    /// `vector_assign_managed_shutdown`: where an entry points that has no vector.
    pub(super) fn shutdown_target(&self) -> Target {
        Target {
            apic_id: self.online.first().unwrap_or(0),
            vector: SHUTDOWN_VECTOR,
        }
    }

    /// `x86_vector_alloc_irqs`: reserves a vector, on each CPU of the mask where it is managed. False where the kernel
    /// warns that there may be none when it is needed.
    pub(super) fn allocate(&mut self, irq: Irq, managed: Option<&CpuMask>) -> Result<bool, NoVector> {
        let room = match managed {
            Some(mask) => self.matrix.reserve_managed(mask).map(|()| true)?,
            None => self.matrix.reserve(),
        };
        let data = ChipData {
            managed: managed.is_some(),
            has_reserved: managed.is_none(),
            ..ChipData::default()
        };
        self.irqs.insert(irq, data);
        Ok(room)
    }

    /// `x86_vector_activate` of an interrupt that is to be used: gives it a vector on a CPU of `affinity`, or where those
    /// have none of any online CPU.
    pub(super) fn activate(&mut self, irq: Irq, affinity: &CpuMask) -> Result<(), AssignError> {
        let first = affinity.and(&self.online);
        if self.irqs.get(&irq).is_some_and(|data| data.managed) {
            return self.assign(irq, &first);
        }
        self.assign(irq, &first)
            .or_else(|_| self.assign(irq, &self.online.clone()))?;
        if let Some(data) = self.irqs.get_mut(&irq) {
            data.has_reserved = false;
        }
        Ok(())
    }

    /// `assign_vector_locked` and `assign_managed_vector`: a vector on one CPU of the mask, all of which are online. One
    /// that it has on such a CPU stays.
    pub(super) fn assign(&mut self, irq: Irq, mask: &CpuMask) -> Result<(), AssignError> {
        let Some(data) = self.irqs.get(&irq) else {
            return Err(AssignError::No(NoVector::EmptyMask));
        };
        if data
            .slot
            .is_some_and(|(cpu, _)| self.online.contains(cpu) && mask.contains(cpu))
        {
            return Ok(());
        }
        if data.move_in_progress || data.in_cleanup {
            return Err(AssignError::Busy);
        }
        let slot = if data.managed {
            self.matrix.allocate_managed(mask)
        } else {
            self.matrix.allocate(mask, data.has_reserved)
        };
        self.update(irq, slot.map_err(AssignError::No)?);
        Ok(())
    }

    /// `apic_update_vector`.
    fn update(&mut self, irq: Irq, new: Slot) {
        let Some(data) = self.irqs.get_mut(&irq) else {
            return;
        };
        data.previous = None;
        if let Some(old) = data.slot {
            if self.online.contains(old.0) {
                data.previous = Some(old);
                data.move_in_progress = true;
            } else {
                self.matrix.free(old, data.managed);
            }
        }
        data.slot = Some(new);
        self.set(new, VectorIrq::Irq(irq));
    }

    /// `vector_schedule_cleanup`: interrupts arrive at the new vector from now on.
    pub(super) fn schedule_cleanup(&mut self, irq: Irq) -> Cleanup {
        let Some(data) = self.irqs.get_mut(&irq).filter(|data| data.move_in_progress) else {
            return Cleanup::Nothing;
        };
        data.move_in_progress = false;
        let Some((cpu, _)) = data.previous else {
            return Cleanup::Nothing;
        };
        if !self.online.contains(cpu) {
            self.free_moved(irq);
            return Cleanup::Offline(cpu);
        }
        data.in_cleanup = true;
        match self.cleanup.get_mut(cpu as usize) {
            Some(list) => {
                list.irqs.push(irq);
                if self.cleanup_by_ipi {
                    Cleanup::Interrupt(cpu)
                } else if std::mem::replace(&mut list.timer_pending, true) {
                    Cleanup::Nothing
                } else {
                    Cleanup::StartTimer(cpu)
                }
            }
            None => Cleanup::Nothing,
        }
    }

    /// `vector_cleanup_callback`, once `irq_move_cleanup`: frees the old vectors of a CPU at which no interrupt waits. Returns the interrupts for
    /// which the timer runs again.
    pub(super) fn clean_up(&mut self, cpu: u32, is_pending: impl Fn(u8) -> bool) -> Vec<Irq> {
        let mut kept = Vec::new();
        let Some(list) = self.cleanup.get_mut(cpu as usize) else {
            return kept;
        };
        for irq in std::mem::take(&mut list.irqs) {
            let vector = self
                .irqs
                .get(&irq)
                .and_then(|data| data.previous)
                .map(|(_, vector)| vector);
            if vector.is_some_and(&is_pending) {
                kept.push(irq);
            } else {
                self.free_moved(irq);
            }
        }
        if let Some(list) = self.cleanup.get_mut(cpu as usize) {
            list.irqs.clone_from(&kept);
            list.timer_pending = !kept.is_empty();
        }
        kept
    }

    /// Whether a CPU's timer is still to run.
    pub(super) fn is_timer_pending(&self, cpu: u32) -> bool {
        self.cleanup
            .get(cpu as usize)
            .is_some_and(|list| list.timer_pending)
    }

    /// `irq_force_complete_move` on a CPU that goes offline: an old vector is free at once. True where a move was still
    /// under way.
    pub(super) fn force_complete_move(&mut self, irq: Irq, cpu: u32) -> Option<(bool, u8)> {
        let data = self.irqs.get(&irq)?;
        let (previous_cpu, vector) = data.previous?;
        if previous_cpu != cpu && data.slot.is_none_or(|(current, _)| current != cpu) {
            return None;
        }
        let under_way = data.move_in_progress;
        self.free_moved(irq);
        Some((under_way, vector))
    }

    /// `free_moved_vector`.
    fn free_moved(&mut self, irq: Irq) {
        let Some(data) = self.irqs.get_mut(&irq) else {
            return;
        };
        let Some(previous) = data.previous.take() else {
            return;
        };
        data.move_in_progress = false;
        self.matrix.free(previous, data.managed);
        self.leave_cleanup(irq, previous.0);
        self.set(previous, VectorIrq::Unused);
    }

    fn leave_cleanup(&mut self, irq: Irq, cpu: u32) {
        if let Some(data) = self.irqs.get_mut(&irq) {
            data.in_cleanup = false;
        }
        if let Some(list) = self.cleanup.get_mut(cpu as usize) {
            list.irqs.retain(|other| *other != irq);
        }
    }

    /// `x86_vector_deactivate`: the vectors are free, and a reservation is left.
    pub(super) fn deactivate(&mut self, irq: Irq) {
        let Some(data) = self.irqs.get_mut(&irq) else {
            return;
        };
        if data.has_reserved {
            return;
        }
        let managed = data.managed;
        data.has_reserved = !managed;
        self.clear(irq);
        if !managed {
            self.matrix.reserve();
        }
    }

    /// `clear_irq_vector`.
    fn clear(&mut self, irq: Irq) {
        let Some(data) = self.irqs.get_mut(&irq) else {
            return;
        };
        let (managed, current, previous) = (data.managed, data.slot.take(), data.previous.take());
        data.move_in_progress = false;
        for slot in current.into_iter().chain(previous) {
            self.matrix.free(slot, managed);
            self.set(slot, VectorIrq::Shutdown);
        }
        if let Some((cpu, _)) = previous {
            self.leave_cleanup(irq, cpu);
        }
    }

    /// `x86_vector_free_irqs`.
    pub(super) fn free(&mut self, irq: Irq, affinity: &CpuMask) {
        self.clear(irq);
        if let Some(data) = self.irqs.remove(&irq) {
            if data.has_reserved {
                self.matrix.remove_reserved();
            }
            if data.managed {
                self.matrix.remove_managed(affinity);
            }
        }
    }

    /// `lapic_can_unplug_cpu`: the vectors that the CPU has, and what the others have left; then what is reserved.
    pub(super) fn unplug_balance(&self, cpu: u32) -> (u32, u32, u32) {
        (
            self.matrix.allocated(cpu),
            self.matrix.available_without(cpu),
            self.matrix.reserved(),
        )
    }

    /// `remove_cpu_from_maps`: nothing is assigned to the CPU any more.
    pub(super) fn leave_online_mask(&mut self, cpu: u32) {
        self.online.remove(cpu);
    }

    /// `lapic_offline`.
    pub(super) fn offline(&mut self, cpu: u32) {
        let waiting = self.cleanup.get_mut(cpu as usize).map(std::mem::take);
        for irq in waiting.unwrap_or_default().irqs {
            self.free_moved(irq);
        }
        self.matrix.offline(cpu);
    }

    /// `lapic_online`: the CPU is online, with nothing installed.
    pub(super) fn online(&mut self, cpu: u32) {
        self.matrix.online(cpu);
        self.online.insert(cpu);
        if let Some(vectors) = self.by_cpu.get_mut(cpu as usize) {
            vectors.clear();
        }
    }

    /// The vectors of a CPU where an interrupt is installed, lowest first.
    pub(super) fn installed(&self, cpu: u32) -> Vec<(u8, Irq)> {
        let vectors = self.by_cpu.get(cpu as usize).into_iter().flatten();
        vectors
            .filter_map(|(vector, what)| match what {
                VectorIrq::Irq(irq) => Some((*vector, *irq)),
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "tests/vectors.rs"]
mod tests;
