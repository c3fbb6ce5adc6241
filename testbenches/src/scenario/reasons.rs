//! Expectations that several scenarios share.

use host_model::checker::FindingKind;
use host_model::linux::{CloneAlias, FlushedIds, IrtCacheDisable, TableIds, WaitNumber};
use sim_bridge::RequesterId;

use super::Expected;
use crate::run::Spec;
use crate::topology::kernel_version;

/// Under which of the NTB's IDs the kernel remaps interrupts; those under others are blocked.
pub(super) fn remapped_ids(spec: &Spec) -> Vec<RequesterId> {
    let mut ids = spec.topology.ids_with_table(kernel_version(&spec.profile));
    if spec.profile.table_ids == TableIds::OwnAndIvrs {
        let (own, ivrs) = (spec.topology.ntb(), &spec.topology.ivrs().aliases);
        ids.retain(|id| *id == own || ivrs.get(&own) == Some(id));
    }
    ids
}

/// Under which IDs the kernel lets an NTB that was plugged in access memory.
pub(super) fn attached_when_plugged_in(spec: &Spec) -> Vec<RequesterId> {
    let topology = &spec.topology;
    let mut ids = topology.walk_when_plugged_in(kernel_version(&spec.profile));
    let ivrs = topology.ivrs_alias();
    if spec.profile.clone_alias == CloneAlias::OneAlias {
        let one = ivrs.or_else(|| ids.last().copied());
        ids = [topology.ntb()].into_iter().chain(one).collect();
    }
    ids.extend(ivrs);
    ids
}

/// INVALIDATE_INTERRUPT_TABLE commands of a flush: for which IDs. `None` for one INVALIDATE_IOMMU_ALL.
fn flushed_ids(spec: &Spec) -> Option<Vec<RequesterId>> {
    let flush = &spec.profile.irt_flush;
    let mut walk = spec.topology.walk(kernel_version(&spec.profile));
    if flush
        .all_above
        .is_some_and(|above| walk.len() > usize::from(above))
    {
        return None;
    }
    match flush.ids {
        FlushedIds::OwnId => walk.truncate(1),
        FlushedIds::DmaAliases => {}
        FlushedIds::DistinctAliases => {
            walk.sort();
            walk.dedup();
        }
    }
    Some(walk)
}

/// A flush is one INVALIDATE_IOMMU_ALL, which drops DTEs too.
pub(super) fn flushes_everything(spec: &Spec) -> bool {
    caches_entries(spec) && flushed_ids(spec).is_none()
}

/// Commands that fit into the ring: `CMD_BUFFER_ENTRIES` less the three slots that are never used.
pub(super) const RING: usize = 509;

/// Commands of a flush, the wait included; 0 where there is none.
pub(super) fn flush_commands(spec: &Spec) -> usize {
    if !caches_entries(spec) {
        return 0;
    }
    flushed_ids(spec).map_or(1, |ids| ids.len()) + 1
}

/// Those of [`remapped_ids`] under which a change of a remapping entry is not invalidated.
pub(super) fn unflushed_ids(spec: &Spec) -> Vec<RequesterId> {
    let Some(flushed) = flushed_ids(spec) else {
        return Vec::new();
    };
    let mut ids = remapped_ids(spec);
    ids.retain(|id| !flushed.contains(id));
    ids
}

/// The IOMMU caches remapping entries: not so with a kernel that switches that off, on hardware that can.
pub(super) fn caches_entries(spec: &Spec) -> bool {
    spec.profile.irt_flush.irtcachedis != IrtCacheDisable::Always
}

/// Why not.
pub(super) const NOTHING_CACHED: &str = "the IOMMU caches no remapping entries";

/// Of whatever changes an entry that no IOMMU has cached.
pub(super) fn nothing_cached(spec: &Spec) -> Expected {
    and_blocked_without_table(spec, Expected::coherent(NOTHING_CACHED))
}

/// Of whatever changes an entry that is cached under every ID.
pub(super) fn stale_where_not_flushed(spec: &Spec) -> Expected {
    if !caches_entries(spec) {
        return nothing_cached(spec);
    }
    stale_where_cached_and_not_flushed(spec)
}

/// The same, on hardware whose cache can't be switched off.
pub(super) fn stale_where_cached_and_not_flushed(spec: &Spec) -> Expected {
    let expected = match why_stale(spec) {
        None => Expected::coherent("the kernel invalidates under every ID that has a table"),
        Some(why) => Expected::finds([FindingKind::Stale], why),
    };
    and_blocked_without_table(spec, expected)
}

/// And, of whatever interrupts under every ID, what is refused under IDs that have no table.
pub(super) fn and_blocked_without_table(spec: &Spec, expected: Expected) -> Expected {
    if remapped_ids(spec).len() == spec.topology.ids().len() {
        return expected;
    }
    expected.and(
        FindingKind::Blocked,
        match spec.profile.table_ids {
            TableIds::OwnAndIvrs => {
                "the kernel gives a table to the function's own ID and its IVRS alias, and to no other alias"
            }
            TableIds::AllAliases => {
                "no quirk, bridge or IVRS entry tells the kernel that the function sends under this ID too"
            }
        },
    )
}

/// And, of two CPUs that flush at the same time, what some orders of numbers make them wait for.
pub(super) fn and_held_where_numbers_pass_each_other(spec: &Spec, expected: Expected) -> Expected {
    let wait = spec.profile.completion_wait;
    if wait.number == WaitNumber::BeforeLock && !wait.polls_under_lock {
        // Numbers that are queued out of order: who waits for the higher one times out if it looks too late.
        return expected.or_else([FindingKind::Held]);
    }
    expected
}

/// Why [`unflushed_ids`] has any; `None` if it has none.
pub(super) fn why_stale(spec: &Spec) -> Option<&'static str> {
    (!unflushed_ids(spec).is_empty()).then_some(match spec.profile.irt_flush.ids {
        FlushedIds::OwnId => {
            "the kernel invalidates under the function's own ID only: entries under its aliases stay cached"
        }
        FlushedIds::DmaAliases | FlushedIds::DistinctAliases => {
            "an IVRS alias on another bus shares the table, and is none of the DMA aliases that are invalidated"
        }
    })
}

/// Requested interrupts that the IOMMU refuses.
pub(super) fn blocked(because: &'static str) -> Expected {
    Expected::finds([FindingKind::Blocked], because)
}

/// Interrupts that another function's table delivers.
pub(super) fn stolen(because: &'static str) -> Expected {
    Expected::finds([FindingKind::Stolen], because)
}

/// What the driver knew of a function that is gone is used.
pub(super) fn used_after_release(because: &'static str) -> Expected {
    Expected::finds([FindingKind::UseAfterRelease], because)
}
