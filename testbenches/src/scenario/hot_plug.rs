use super::affinity_move::steps;
use super::reasons::stale_where_not_flushed;
use super::{Plan, Scenario};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "hot-plug",
    sentence: "affinity-move with an NTB that is plugged in after start-up: it is probed before its final fixups",
    parameters: &[],
    plan,
    expected: stale_where_not_flushed,
};

fn plan(plan: &mut Plan<'_>) {
    plan.host.hot_plug = true;
    steps(plan, 2, 2);
}
