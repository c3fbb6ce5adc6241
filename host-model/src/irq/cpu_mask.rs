use std::collections::BTreeSet;
use std::fmt;

/// A set of CPUs: Linux's `cpumask`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CpuMask(BTreeSet<u32>);

impl CpuMask {
    /// The lowest CPU (`cpumask_first`).
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// Whether a CPU is in it.
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// Without CPUs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The CPUs that are in both.
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// Whether a CPU is in both.
    pub fn intersects(&self, other: &Self) -> bool {
        !self.0.is_disjoint(&other.0)
    }

    /// Adds a CPU.
    pub fn insert(&mut self, cpu: u32) {
        self.0.insert(cpu);
    }

    /// Takes a CPU out.
    pub fn remove(&mut self, cpu: u32) {
        self.0.remove(&cpu);
    }

    /// The CPUs, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

impl From<u32> for CpuMask {
    fn from(cpu: u32) -> Self {
        Self([cpu].into())
    }
}

impl From<&Self> for CpuMask {
    fn from(mask: &Self) -> Self {
        mask.clone()
    }
}

impl FromIterator<u32> for CpuMask {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

/// As in `smp_affinity_list`: `0-2,5`.
impl fmt::Display for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for cpu in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => runs.push((cpu, cpu)),
            }
        }
        for (n, (first, last)) in runs.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_read_as_in_smp_affinity_list() {
        for (cpus, expected) in [
            (&[][..], ""),
            (&[3], "3"),
            (&[0, 1, 2, 5], "0-2,5"),
            (&[7, 0, 4, 6], "0,4,6-7"),
        ] {
            let mask: CpuMask = cpus.iter().copied().collect();
            assert_eq!(mask.to_string(), expected);
        }
    }
}
