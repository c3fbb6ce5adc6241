use host_model::iommu::IrtCacheDis;
use host_model::linux::IrtCacheDisable;

use super::affinity_move::steps;
use super::reasons::{nothing_cached, stale_where_cached_and_not_flushed, stale_where_not_flushed};
use super::{Expected, Plan, Scenario};
use crate::run::Spec;

pub(super) const KEPT: Scenario = Scenario {
    name: "irtcachedis-kept",
    sentence: "affinity-move with amd_iommu=irtcachedis on hardware that keeps the bit",
    parameters: &[],
    plan: |plan| with(plan, IrtCacheDis::Sticky),
    expected: kept,
};

pub(super) const DROPPED: Scenario = Scenario {
    name: "irtcachedis-dropped",
    sentence: "affinity-move with amd_iommu=irtcachedis on hardware that drops the bit",
    parameters: &[],
    plan: |plan| with(plan, IrtCacheDis::Ignored),
    expected: stale_where_cached_and_not_flushed,
};

fn with(plan: &mut Plan<'_>, hardware: IrtCacheDis) {
    plan.host.options.irtcachedis = true;
    plan.host.iommu.policies.irt_cache_dis = hardware;
    steps(plan, 2, 2);
}

fn kept(spec: &Spec) -> Expected {
    match spec.profile.irt_flush.irtcachedis {
        IrtCacheDisable::Unknown => stale_where_not_flushed(spec),
        IrtCacheDisable::NotHonoured | IrtCacheDisable::Honoured | IrtCacheDisable::Always => {
            nothing_cached(spec)
        }
    }
}
