//! No hot path of the IOMMU allocates, and its caches are small.

#[allow(dead_code, reason = "shared with benches")]
#[path = "../benches/workload/mod.rs"]
mod workload;

use std::hint::black_box;
use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use host_model::iommu::{CacheShape, Config, Iommu};

use workload::Workload;

/// Has done everything once, and every entry is cached that there is room for.
fn used(config: Config) -> Workload {
    let workload = Workload::new(config);
    let flush = workload::flush();
    workload.write_commands(&flush);
    workload.execute(flush.len());
    workload.warm(&workload::requests());
    workload.warm_translations(&workload::translations());
    workload
}

fn flush(workload: &Workload) -> AllocationInfo {
    let flush = workload::flush();
    workload.write_commands(&flush);
    measure(|| workload.execute(flush.len()))
}

#[track_caller]
fn assert_none(allocations: AllocationInfo) {
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}

#[test]
fn cached_remaps_do_not_allocate() {
    let (workload, requests) = (used(workload::roomy()), workload::requests());
    assert_none(measure(|| workload.warm(&requests)));
}

#[test]
fn cached_translations_do_not_allocate() {
    let (workload, requests) = (used(workload::roomy()), workload::translations());
    assert_none(measure(|| workload.warm_translations(&requests)));
}

#[test]
fn fills_and_evictions_do_not_allocate() {
    for shape in [CacheShape::TINY, CacheShape::DISABLED, CacheShape::default()] {
        let workload = used(Config::default().with_caches(shape));
        let (requests, translations) = (workload::requests(), workload::translations());
        assert_none(measure(|| workload.warm(&requests)));
        assert_none(measure(|| workload.warm_translations(&translations)));
        assert_none(measure(|| {
            for request in &requests {
                workload.ask_by_tokens(request);
            }
        }));
    }
}

#[test]
fn a_flush_of_257_requester_ids_does_not_allocate() {
    assert_none(flush(&used(workload::roomy())));
}

#[test]
fn filling_after_a_flush_does_not_allocate() {
    let (workload, requests) = (used(workload::roomy()), workload::requests());
    flush(&workload);
    assert_none(measure(|| workload.warm(&requests)));
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn default_caches_take_less_than_a_mebibyte() {
    let memory = Arc::clone(&Workload::new(Config::default()).memory);
    let mut iommu = None;
    let allocations = measure(|| iommu = Some(Iommu::new(Config::default(), memory)));
    let bytes = allocations.bytes_current.unsigned_abs() as usize + size_of_val(&iommu);
    assert!(bytes < 1 << 20, "{bytes} bytes");
}
