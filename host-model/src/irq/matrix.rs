//! Which vectors of which CPU are free (Linux kernel/irq/matrix.c).

use std::collections::BTreeSet;

use super::CpuMask;

/// `FIRST_EXTERNAL_VECTOR`; once `IRQ_MOVE_CLEANUP_VECTOR`.
pub(super) const FIRST_VECTOR: u8 = 0x20;
/// `FIRST_SYSTEM_VECTOR`: from here on they are the kernel's own (Linux 6.12, `POSTED_MSI_NOTIFICATION_VECTOR`).
pub(super) const FIRST_SYSTEM_VECTOR: u8 = 0xeb;
/// `IA32_SYSCALL_VECTOR`.
const SYSCALL_VECTOR: u8 = 0x80;
/// `ISA_IRQ_VECTOR(PIC_CASCADE_IR)`: never used on machines with a PIC.
const CASCADE_VECTOR: u8 = 0x32;
/// `ISA_IRQ_VECTOR(0)`: the timer, the one legacy interrupt that keeps its vector, on the boot CPU.
const TIMER_VECTOR: u8 = 0x30;

/// Why no vector is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoVector {
    /// -EINVAL: the mask is empty.
    EmptyMask,
    /// -ENOSPC.
    Full,
}

/// `struct irq_matrix`: the vectors of all CPUs.
pub(super) struct Matrix {
    cpus: Vec<CpuMap>,
    global_available: u32,
    global_reserved: u32,
}

/// `struct cpumap`: the vectors of one CPU.
#[derive(Default)]
struct CpuMap {
    /// What `irq_matrix_alloc` can still give. Managed vectors are not among it, whether in use or not.
    available: u32,
    /// Vectors below are system vectors.
    first: u8,
    online: bool,
    allocated: BTreeSet<u8>,
    managed: BTreeSet<u8>,
}

impl Matrix {
    /// Nothing but what a kernel starts with is allocated; all CPUs are online.
    pub(super) fn new(cpus: u32) -> Self {
        let size = usable().count() as u32;
        let new = || CpuMap {
            available: size,
            first: FIRST_VECTOR,
            ..CpuMap::default()
        };
        let mut matrix = Self {
            cpus: (0..cpus).map(|_| new()).collect(),
            global_available: 0,
            global_reserved: 0,
        };
        (0..cpus).for_each(|cpu| matrix.online(cpu));
        if let Some(boot) = matrix.cpus.first_mut() {
            boot.allocated.insert(TIMER_VECTOR);
            boot.available -= 1;
            matrix.global_available -= 1;
        }
        matrix
    }

    /// `irq_matrix_assign_system` of the lowest vector, before anything is allocated.
    pub(super) fn keep_first_vector(&mut self) {
        for map in self.cpus.iter_mut().filter(|map| map.first == FIRST_VECTOR) {
            map.first += 1;
            map.available -= 1;
            self.global_available -= u32::from(map.online);
        }
    }

    /// `irq_matrix_online`.
    pub(super) fn online(&mut self, cpu: u32) {
        if let Some(map) = self.cpus.get_mut(cpu as usize)
            && !map.online
        {
            map.online = true;
            self.global_available += map.available;
        }
    }

    /// `irq_matrix_offline`.
    pub(super) fn offline(&mut self, cpu: u32) {
        if let Some(map) = self.cpus.get_mut(cpu as usize)
            && map.online
        {
            map.online = false;
            self.global_available -= map.available;
        }
    }

    /// `irq_matrix_reserve`: there is to be a vector when it is asked for. False where that may fail.
    pub(super) fn reserve(&mut self) -> bool {
        let room = self.global_reserved < self.global_available;
        self.global_reserved += 1;
        room
    }

    /// `irq_matrix_remove_reserved`.
    pub(super) fn remove_reserved(&mut self) {
        self.global_reserved -= 1;
    }

    /// `irq_matrix_alloc`: the lowest free vector of the CPU that has most available.
    pub(super) fn allocate(&mut self, mask: &CpuMask, reserved: bool) -> Result<(u32, u8), NoVector> {
        if mask.is_empty() {
            return Err(NoVector::EmptyMask);
        }
        let best = self.best(mask, |map| map.available).ok_or(NoVector::Full)?;
        let map = self.cpus.get_mut(best as usize).ok_or(NoVector::Full)?;
        let vector = map.free_area().ok_or(NoVector::Full)?;
        map.allocated.insert(vector);
        map.available -= 1;
        self.global_available -= 1;
        if reserved {
            self.global_reserved -= 1;
        }
        Ok((best, vector))
    }

    /// `irq_matrix_reserve_managed`: keeps one vector on each CPU of the mask, whichever; online or not.
    pub(super) fn reserve_managed(&mut self, mask: &CpuMask) -> Result<(), NoVector> {
        let mut done = CpuMask::default();
        for cpu in mask.iter() {
            let Some((map, vector)) = self
                .cpus
                .get_mut(cpu as usize)
                .and_then(|map| map.free_area().map(|vector| (map, vector)))
            else {
                self.remove_managed(&done);
                return Err(NoVector::Full);
            };
            map.managed.insert(vector);
            map.available -= 1;
            if map.online {
                self.global_available -= 1;
            }
            done.insert(cpu);
        }
        Ok(())
    }

    /// `irq_matrix_remove_managed`: gives up a kept vector on each CPU of the mask, one that is not in use.
    pub(super) fn remove_managed(&mut self, mask: &CpuMask) {
        for cpu in mask.iter() {
            let Some(map) = self.cpus.get_mut(cpu as usize) else {
                continue;
            };
            let Some(unused) = map.managed.difference(&map.allocated).next().copied() else {
                continue;
            };
            map.managed.remove(&unused);
            map.available += 1;
            if map.online {
                self.global_available += 1;
            }
        }
    }

    /// `irq_matrix_alloc_managed`: a kept vector of the CPU that uses fewest of its own, the last of such CPUs.
    pub(super) fn allocate_managed(&mut self, mask: &CpuMask) -> Result<(u32, u8), NoVector> {
        if mask.is_empty() {
            return Err(NoVector::EmptyMask);
        }
        let in_use = |map: &CpuMap| map.managed.intersection(&map.allocated).count();
        let best = mask
            .iter()
            .filter_map(|cpu| Some((cpu, self.cpus.get(cpu as usize)?)))
            .filter(|(_, map)| map.online)
            .min_by_key(|(cpu, map)| (in_use(map), std::cmp::Reverse(*cpu)))
            .map(|(cpu, _)| cpu)
            .ok_or(NoVector::Full)?;
        let map = self.cpus.get_mut(best as usize).ok_or(NoVector::Full)?;
        let vector = map.managed.difference(&map.allocated).next().copied();
        let vector = vector.ok_or(NoVector::Full)?;
        map.allocated.insert(vector);
        Ok((best, vector))
    }

    /// `irq_matrix_free`.
    pub(super) fn free(&mut self, (cpu, vector): (u32, u8), managed: bool) {
        let Some(map) = self.cpus.get_mut(cpu as usize) else {
            return;
        };
        if map.allocated.remove(&vector) && !managed {
            map.available += 1;
            if map.online {
                self.global_available += 1;
            }
        }
    }

    /// `irq_matrix_allocated`: how many vectors a CPU has in use.
    pub(super) fn allocated(&self, cpu: u32) -> u32 {
        self.cpus
            .get(cpu as usize)
            .map_or(0, |map| map.allocated.len() as u32)
    }

    /// `irq_matrix_available`: what is free on the other CPUs.
    pub(super) fn available_without(&self, cpu: u32) -> u32 {
        let own = self.cpus.get(cpu as usize).filter(|map| map.online);
        self.global_available - own.map_or(0, |map| map.available)
    }

    /// `irq_matrix_reserved`.
    pub(super) fn reserved(&self) -> u32 {
        self.global_reserved
    }

    /// Whether a vector is in use.
    #[cfg(test)]
    pub(super) fn is_allocated(&self, (cpu, vector): (u32, u8)) -> bool {
        self.cpus
            .get(cpu as usize)
            .is_some_and(|map| map.allocated.contains(&vector))
    }

    /// `matrix_find_best_cpu`: the first of those with most. A CPU with none is no candidate.
    fn best(&self, mask: &CpuMask, most: impl Fn(&CpuMap) -> u32) -> Option<u32> {
        let mut best = None;
        let mut so_far = 0;
        for cpu in mask.iter() {
            if let Some(map) = self.cpus.get(cpu as usize)
                && map.online
                && most(map) > so_far
            {
                best = Some(cpu);
                so_far = most(map);
            }
        }
        best
    }
}

impl CpuMap {
    /// `matrix_alloc_area`.
    fn free_area(&self) -> Option<u8> {
        let taken = |vector: &u8| self.allocated.contains(vector) || self.managed.contains(vector);
        usable().find(|vector| *vector >= self.first && !taken(vector))
    }
}

/// All but the system vectors.
fn usable() -> impl Iterator<Item = u8> {
    (FIRST_VECTOR..FIRST_SYSTEM_VECTOR).filter(|vector| !matches!(*vector, SYSCALL_VECTOR | CASCADE_VECTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 0xeb - 0x20 - 2;

    fn mask(cpus: &[u32]) -> CpuMask {
        cpus.iter().copied().collect()
    }

    #[test]
    fn the_cpu_with_most_available_gets_the_vector_and_of_equals_the_first() {
        let mut matrix = Matrix::new(4);
        let all = mask(&[0, 1, 2, 3]);
        // CPU 0 has the timer's less.
        let taken: Vec<_> = (0..5).map(|_| matrix.allocate(&all, false)).collect();
        let expected = [(1, 0x20), (2, 0x20), (3, 0x20), (0, 0x20), (1, 0x21)];
        assert_eq!(taken, expected.map(Ok));
        assert_eq!(matrix.allocate(&mask(&[0]), false), Ok((0, 0x21)));
        assert_eq!(matrix.allocate(&all, false), Ok((2, 0x21)));
    }

    #[test]
    fn a_full_cpu_refuses_and_system_vectors_are_never_given() {
        let mut matrix = Matrix::new(2);
        let one = mask(&[1]);
        let taken: Vec<u8> =
            std::iter::from_fn(|| matrix.allocate(&one, false).ok().map(|(_, vector)| vector)).collect();
        assert_eq!(taken.len() as u32, SIZE);
        assert!(taken.is_sorted());
        assert!(taken.iter().all(|vector| ![0x32, 0x80].contains(vector)));
        assert_eq!((taken[0], taken.last()), (0x20, Some(&0xea)));
        assert_eq!(matrix.allocate(&one, false), Err(NoVector::Full));
        assert_eq!(
            matrix.allocate(&CpuMask::default(), false),
            Err(NoVector::EmptyMask)
        );
        assert_eq!(matrix.allocate(&mask(&[7]), false), Err(NoVector::Full));
    }

    #[test]
    fn a_freed_vector_is_the_next_to_be_given() {
        let mut matrix = Matrix::new(2);
        let one = mask(&[1]);
        for _ in 0..3 {
            matrix.allocate(&one, false).expect("room");
        }
        matrix.free((1, 0x21), false);
        assert_eq!(matrix.allocate(&one, false), Ok((1, 0x21)));
    }

    #[test]
    fn offline_cpus_get_nothing_but_keep_what_is_managed() {
        let mut matrix = Matrix::new(3);
        matrix.offline(1);
        assert_eq!(matrix.allocate(&mask(&[1]), false), Err(NoVector::Full));
        matrix.reserve_managed(&mask(&[1, 2])).expect("room");
        assert_eq!(matrix.allocate_managed(&mask(&[1, 2])), Ok((2, 0x20)));
        matrix.online(1);
        assert_eq!(matrix.allocate_managed(&mask(&[1])), Ok((1, 0x20)));
        // Another gets what is not managed.
        assert_eq!(matrix.allocate(&mask(&[1]), false), Ok((1, 0x21)));
    }

    #[test]
    fn managed_vectors_are_reserved_on_all_cpus_or_none() {
        let mut matrix = Matrix::new(2);
        while matrix.allocate(&mask(&[1]), false).is_ok() {}
        let before = matrix.available_without(1);
        assert_eq!(matrix.reserve_managed(&mask(&[0, 1])), Err(NoVector::Full));
        assert_eq!(matrix.available_without(1), before);
    }

    #[test]
    fn reservations_are_counted_and_exceeding_them_is_told() {
        let mut matrix = Matrix::new(1);
        assert!((0..SIZE - 1).all(|_| matrix.reserve()));
        assert!(!matrix.reserve());
        assert_eq!(matrix.reserved(), SIZE);
        matrix.allocate(&mask(&[0]), true).expect("room");
        matrix.remove_reserved();
        assert_eq!(matrix.reserved(), SIZE - 2);
    }
}
