//! Interrupts that the kernel spreads over the CPUs (Linux lib/group_cpus.c, kernel/irq/affinity.c).

use super::CpuMask;

/// `group_cpus_evenly` without NUMA nodes and hyperthreads: the CPUs for each of `vectors` interrupts, as evenly as can
/// be. No more interrupts than CPUs.
pub(super) fn spread(vectors: u32, cpus: u32) -> Vec<CpuMask> {
    let vectors = vectors.min(cpus);
    let (each, more) = match vectors {
        0 => return Vec::new(),
        _ => (cpus / vectors, cpus % vectors),
    };
    let mut next = 0;
    (0..vectors)
        .map(|n| {
            let size = each + u32::from(n < more);
            let mask = (next..next + size).collect();
            next += size;
            mask
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_spread_evenly_the_first_get_one_more() {
        for (vectors, cpus, expected) in [
            (1, 4, &["0-3"][..]),
            (3, 8, &["0-2", "3-5", "6-7"]),
            (4, 4, &["0", "1", "2", "3"]),
            (8, 2, &["0", "1"]),
            (0, 4, &[]),
        ] {
            let masks: Vec<String> = spread(vectors, cpus).iter().map(CpuMask::to_string).collect();
            assert_eq!(masks, expected, "{vectors} over {cpus}");
        }
    }
}
