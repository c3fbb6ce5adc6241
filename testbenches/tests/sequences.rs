//! The interrupt sequence of every scenario, kernel profile and alias topology, as snapshots for review.

use host_model::linux::Profile;
use testbenches::device::{DeviceOptions, LinkKind};
use testbenches::run::{Outcome, Spec, run};
use testbenches::scenario::Scenario;
use testbenches::topology::Topology;
use testbenches::view;

fn outcome(scenario: Scenario, profile: Profile, topology: Topology) -> Outcome {
    let spec = Spec::new(scenario, profile, topology.clone());
    let device = DeviceOptions {
        topology,
        every_cycle: false,
        waves: None,
    };
    run(&spec, &LinkKind::Thread, &device).expect("the simulation runs")
}

/// Each with another reason for its aliases, and few of them, but for one.
const TOPOLOGIES: [&str; 6] = [
    "none",
    "func1",
    "switchtec:4",
    "plx",
    "pci-bridge",
    "ivrs-other-bus",
];

fn check_sequences(name: &str, topologies: &[&str]) {
    let scenario = Scenario::named(name).expect("a scenario");
    for profile in Profile::DEFAULT {
        for topology in topologies {
            let outcome = outcome(scenario, profile, topology.parse().expect("a topology"));
            assert!(
                outcome.is_expected(),
                "{name} {profile} {topology}: {}",
                outcome.verdict
            );
            let aliases = topology.replace(':', "-");
            insta::with_settings!({ omit_expression => true, snapshot_suffix => format!("{profile}-{aliases}") }, {
                insta::assert_snapshot!(name, view::sequence(&outcome.events));
            });
        }
    }
}

#[test]
fn affinity_move() {
    check_sequences("affinity-move", &TOPOLOGIES);
}

#[test]
fn free_and_reuse() {
    check_sequences("free-and-reuse", &TOPOLOGIES);
}

#[test]
fn mask_and_pending() {
    check_sequences("mask-and-pending", &TOPOLOGIES);
}

#[test]
fn no_alias() {
    check_sequences("no-alias", &TOPOLOGIES);
}

#[test]
fn alias_of_no_iommu() {
    check_sequences("alias-of-no-iommu", &["switchtec:4"]);
}

#[test]
fn two_ntbs() {
    check_sequences("two-ntbs", &["func1"]);
}

/// The only snapshot with times: another pipeline stage in the RTL changes this one alone.
#[test]
fn latencies() {
    let scenario = Scenario::named("affinity-move").expect("a scenario");
    let outcome = outcome(scenario, Profile::LINUX_7_2, "func1".parse().expect("a topology"));
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("latencies", view::latencies(&outcome.events));
    });
}
