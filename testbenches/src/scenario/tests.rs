//! What scenarios are made of, with the device in a thread.

use host_model::checker::{FindingKind, Verdict};
use host_model::linux::Profile;
use host_model::machine::RunError;
use host_model::trace::{Kind, Lock, Source};

use super::{Expected, Plan, Scenario};
use crate::device::{DeviceOptions, LinkKind};
use crate::rig::{Rig, ScenarioError};
use crate::run::tests::in_thread;
use crate::run::{SimulationError, Spec, run};
use crate::topology::Topology;

/// Two that begin together, between one before and one after.
const NOTES: Scenario = Scenario {
    name: "notes",
    sentence: "writes down who is there",
    parameters: &[],
    plan: |plan: &mut Plan<'_>| {
        plan.step("first", async |rig: &Rig| write_down(rig, "1"));
        plan.step("left", async |rig: &Rig| write_down(&rig.on(1), "l"));
        plan.meanwhile("right", async |rig: &Rig| write_down(&rig.on(2), "r"));
        plan.step("needs the NTB's interrupt", async |rig: &Rig| {
            write_down(rig, "2")?;
            rig.irq(0).map(drop)
        });
        plan.step("last", async |rig: &Rig| write_down(rig, "3"));
    },
    expected: |_| Expected::coherent("nothing happens"),
};

fn write_down(rig: &Rig, who: &str) -> Result<(), ScenarioError> {
    rig.cpu.log(who);
    Ok(())
}

fn spec(seed: u64, steps: &[usize]) -> Spec {
    Spec {
        seed,
        steps: Some(steps.iter().copied().collect()),
        ..Spec::new(NOTES, Profile::LINUX_7_2, "none".parse().expect("a topology"))
    }
}

fn written(seed: u64, steps: &[usize]) -> String {
    let outcome = in_thread(&spec(seed, steps)).expect("runs");
    let notes = outcome
        .events
        .iter()
        .filter_map(|event| match (&event.kind, event.source) {
            (Kind::KernelLog(line), Source::Cpu(_)) => Some(line.as_str()),
            _ => None,
        });
    notes.collect()
}

#[test]
fn steps_are_done_in_order_and_the_seed_orders_those_that_begin_together() {
    let orders: Vec<String> = (0..16).map(|seed| written(seed, &[1, 2, 3, 5])).collect();
    for order in ["1lr3", "1rl3"] {
        assert!(orders.iter().any(|o| o == order), "{order} in {orders:?}");
    }
    assert!(
        orders.iter().all(|o| ["1lr3", "1rl3"].contains(&o.as_str())),
        "{orders:?}"
    );
    assert_eq!(
        orders,
        (0..16)
            .map(|seed| written(seed, &[1, 2, 3, 5]))
            .collect::<Vec<_>>()
    );
}

#[test]
fn only_the_chosen_steps_are_done() {
    for (steps, order) in [(&[1, 5][..], "13"), (&[2], "l"), (&[3, 5], "r3"), (&[1, 3], "1r")] {
        for seed in 0..4 {
            assert_eq!(written(seed, steps), order);
        }
    }
}

#[test]
fn a_step_whose_needs_are_left_out_is_not_applicable() {
    assert!(matches!(
        in_thread(&spec(0, &[1, 4, 5])).map(drop),
        Err(SimulationError::Scenario(ScenarioError::NotApplicable(
            "an interrupt of the NTB"
        )))
    ));
}

#[test]
fn a_step_that_is_not_there_is_named() {
    for step in [0, 6] {
        let error = in_thread(&spec(0, &[1, step]))
            .map(drop)
            .expect_err("no such step");
        assert_eq!(
            error.to_string(),
            format!("scenario notes has no step {step}: its steps are 1 to 5")
        );
    }
}

/// An oops leaves `iommu_table_lock` held, and somebody else wants an interrupt.
const AFTER_AN_OOPS: Scenario = Scenario {
    name: "after-an-oops",
    plan: |plan: &mut Plan<'_>| {
        plan.host.hot_plug = true;
        let aliases = plan.spec.topology.ids()[1..].iter();
        plan.host.ivrs_not_ours = aliases.map(|id| (*id, None)).collect();
        plan.step("oops", async |rig: &Rig| {
            let requested = rig.request_ntb_irqs(1, 1).await;
            assert!(matches!(requested, Err(ScenarioError::Irq(error)) if error.is_oops()));
            Ok(())
        });
        plan.step("the neighbour's interrupt", async |rig: &Rig| {
            rig.on(3).request_neighbour_irq(2).await
        });
    },
    ..NOTES
};

#[test]
fn whoever_spins_for_the_lock_of_a_dead_task_ends_the_run_which_says_for_which_lock() {
    let topology: Topology = "switchtec:1".parse().expect("a topology");
    let spec = Spec::new(AFTER_AN_OOPS, Profile::LINUX_7_2, topology.clone());
    let device = DeviceOptions {
        topology,
        every_cycle: false,
        waves: None,
    };
    let failure = run(&spec, &LinkKind::Thread, &device).err().expect("a deadlock");
    assert!(
        matches!(
            failure.error,
            SimulationError::Run(RunError::Deadlock {
                cpu: 3,
                lock: Lock::IommuTable,
                held_by: 0,
                ..
            })
        ),
        "{}",
        failure.error
    );
    let findings = failure.recorded.expect("it began").findings;
    assert_eq!(Verdict::of(&findings), Verdict::Bad(FindingKind::Oops));
}

#[test]
fn every_scenario_has_a_name_of_its_own_and_parameters_within_their_ranges() {
    let mut names = Scenario::ALL.map(|scenario| scenario.name);
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    for scenario in Scenario::ALL {
        for parameter in scenario.parameters {
            let name = (scenario.name, parameter.name);
            assert!(parameter.range.contains(&parameter.default), "{name:?}");
        }
    }
}

#[test]
fn the_readmes_example_is_a_scenario_that_runs() {
    let (readme, example) = (
        include_str!("../../../README.md"),
        include_str!("mask_while_moving.rs"),
    );
    assert!(readme.contains(example), "as it stands in the file");
}
