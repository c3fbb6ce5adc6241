//! `run --format json`: the verdicts, and the form in which they are told.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::command::finish;

/// Topology, the NTB's own ID, the other IDs that it sends under.
fn topologies() -> [(&'static str, &'static str, Vec<String>); 9] {
    let slot_8 = (0..4).map(|function| format!("41:08.{function}"));
    let vca = (0..32).flat_map(|slot| (0..5).map(move |function| format!("41:{slot:02x}.{function}")));
    let bus_41 = (1..256).map(|devfn| format!("41:{:02x}.{}", devfn / 8, devfn % 8));
    let named = |ids: &[&str]| ids.iter().copied().map(String::from).collect();
    [
        ("none", "41:00.0", vec![]),
        ("func1", "41:00.0", named(&["41:00.1"])),
        ("mic-x200", "41:00.0", named(&["41:10.0", "41:11.0", "41:12.3"])),
        ("switchtec:4", "41:00.0", slot_8.collect()),
        ("vca", "41:00.0", vca.skip(1).collect()),
        ("plx", "41:00.0", bus_41.collect()),
        ("pci-bridge", "03:04.0", named(&["03:00.0"])),
        ("ivrs-same-bus", "41:00.0", named(&["41:00.2"])),
        ("ivrs-other-bus", "03:04.0", named(&["02:01.0", "03:00.0"])),
    ]
}

const SCENARIOS: [&str; 4] = ["affinity-move", "mask-and-pending", "no-alias", "free-and-reuse"];
const KERNELS: [&str; 2] = ["6.12", "7.2"];

fn json(args: &[&str]) -> Vec<Value> {
    let args = [&["run", "--format", "json"], args].concat();
    serde_json::from_str(&finish(&args).results()).expect("an array")
}

/// `--link thread` starts fastest; that the results are the same is another test.
fn in_thread(args: &[&str]) -> Vec<Value> {
    json(&[&["--link", "thread"], args].concat())
}

fn one(args: &[&str]) -> Value {
    let runs = in_thread(args);
    assert_eq!(runs.len(), 1);
    runs[0].clone()
}

fn named(scenario: &str, kernel: &str, aliases: &str) -> Value {
    one(&[scenario, "--kernel", kernel, "--aliases", aliases])
}

fn verdict(run: &Value) -> (&str, &str, &str, &str) {
    let text = |key: &str| run[key].as_str().expect(key);
    (text("scenario"), text("kernel"), text("aliases"), text("verdict"))
}

fn count(run: &Value, key: &str) -> u64 {
    run["interrupts"][key].as_u64().expect(key)
}

/// Written down here once more, from what the kernels do: the fix came after 6.12, and leaves out an IVRS alias on another
/// bus.
fn should_be_stale(scenario: &str, kernel: &str, aliases: &str) -> bool {
    let left_out = match kernel {
        "6.12" => aliases != "none",
        _ => aliases == "ivrs-other-bus",
    };
    ["affinity-move", "free-and-reuse"].contains(&scenario) && left_out
}

fn assert_verdicts(scenarios: &[&str], runs: &[Value]) {
    let mut runs = runs.iter();
    for &scenario in scenarios {
        for kernel in KERNELS {
            for (aliases, ..) in topologies() {
                let stale = should_be_stale(scenario, kernel, aliases);
                let expected = if stale { "stale" } else { "coherent" };
                let run = runs.next().expect("a run for every combination");
                assert_eq!(verdict(run), (scenario, kernel, aliases, expected));
                assert_eq!(run["expected"], true, "{run}");
            }
        }
    }
    assert_eq!(runs.next(), None);
}

#[test]
fn without_arguments_everything_runs_and_has_the_verdict_of_its_kernel() {
    let runs = json(&[]);
    assert!(runs.iter().all(|run| run["expected"] == true));
    let known = |run: &&Value| SCENARIOS.contains(&verdict(run).0);
    let known: Vec<Value> = runs.iter().filter(known).cloned().collect();
    assert_verdicts(&SCENARIOS, &known);
}

#[test]
fn narrow_remapping_entries_have_the_same_verdicts() {
    // Without GASup the IVHD is of the old type, which tells of no IASup: enabling invalidates all 65536 IDs singly.
    let scenarios = ["affinity-move", "free-and-reuse"];
    let runs = in_thread(&[&scenarios[..], &["--irte", "32"]].concat());
    assert!(runs.iter().all(|run| run["irte"] == 32));
    assert_verdicts(&scenarios, &runs);
}

#[test]
fn other_seeds_have_the_same_verdicts() {
    for seed in [1, u64::MAX] {
        let runs = in_thread(&[&SCENARIOS[..], &["--seed", &seed.to_string()]].concat());
        assert!(runs.iter().all(|run| run["seed"] == seed));
        assert_verdicts(&SCENARIOS, &runs);
    }
}

#[test]
fn a_move_invalidates_one_id_without_the_fix_and_every_id_with_it() {
    for (aliases, _, others) in topologies() {
        for (kernel, invalidations) in [("6.12", 1), ("7.2", 1 + others.len())] {
            // Its own ID is one of the aliases, and Linux invalidates it once more.
            let again = usize::from(kernel == "7.2" && ["plx", "vca"].contains(&aliases));
            let left_out = usize::from(kernel == "7.2" && aliases == "ivrs-other-bus");
            let run = named("affinity-move", kernel, aliases);
            let expected = serde_json::json!({
                "COMPLETION_WAIT": 1,
                "INVALIDATE_INTERRUPT_TABLE": invalidations + again - left_out,
            });
            assert_eq!(run["commands_per_move"], expected, "{kernel} {aliases}");
        }
    }
}

#[test]
fn commands_per_move_is_null_without_a_move() {
    for run in in_thread(&[&SCENARIOS[..], &["--aliases", "func1"]].concat()) {
        let moves = ["affinity-move", "no-alias"].contains(&verdict(&run).0);
        assert_eq!(run["commands_per_move"].is_object(), moves, "{run}");
        assert_eq!(run["commands_per_move"].is_null(), !moves, "{run}");
    }
}

#[test]
fn every_interrupt_raised_ended_somewhere() {
    for run in in_thread(&[]) {
        let ends = ["delivered", "misrouted", "spurious", "blocked", "lost"];
        let ended: u64 = ends.iter().map(|key| count(&run, key)).sum();
        assert_eq!(count(&run, "raised"), ended, "{run}");
        // What a stale entry sends to a CPU that is gone is lost too.
        let may_lose = verdict(&run).3 == "lost" || run["scenario"] == "cpu-unplug";
        assert!(may_lose || count(&run, "lost") == 0, "{run}");
    }
}

#[test]
fn each_stale_alias_is_a_finding_that_names_the_invalidation_it_misses() {
    for scenario in ["affinity-move", "free-and-reuse"] {
        for (aliases, _, others) in topologies() {
            let run = named(scenario, "6.12", aliases);
            let findings = run["findings"].as_array().expect("an array");
            let ids: Vec<_> = findings.iter().map(|f| f["rid"].as_str().expect("rid")).collect();
            assert_eq!(ids, others, "{scenario} {aliases}");
            assert_eq!(count(&run, "stale"), others.len() as u64);
            for finding in findings {
                assert_eq!(finding["kind"], "stale");
                assert_eq!(
                    finding["missing_invalidations"],
                    serde_json::json!([finding["rid"]])
                );
            }
        }
    }
}

#[test]
fn a_moved_interrupt_goes_on_to_the_old_cpu_under_stale_aliases() {
    let run = named("affinity-move", "6.12", "func1");
    let finding = &run["findings"][0];
    assert_ne!(finding["cpu_got"], finding["cpu_expected"]);
    assert!(finding["cpu_got"].is_u64() && finding["cpu_expected"].is_u64());
    assert!(finding["vector_got"].is_u64() && finding["vector_expected"].is_u64());
    assert_eq!((count(&run, "spurious"), count(&run, "misrouted")), (1, 0));
}

#[test]
fn a_freed_interrupt_goes_to_another_devices_handler_under_stale_aliases() {
    let run = named("free-and-reuse", "6.12", "switchtec:4");
    for finding in run["findings"].as_array().expect("an array") {
        assert!(finding["cpu_got"].is_u64() && finding["vector_got"].is_u64());
        assert!(finding["cpu_expected"].is_null() && finding["vector_expected"].is_null());
    }
    assert_eq!((count(&run, "misrouted"), count(&run, "blocked")), (4, 1));
}

#[test]
fn a_freed_interrupt_is_blocked_under_every_dma_alias_with_the_fix() {
    let dma_aliases = topologies().into_iter().filter(|row| row.0 != "ivrs-other-bus");
    for (aliases, own, others) in dma_aliases {
        let run = named("free-and-reuse", "7.2", aliases);
        let ids = others.len() + 1;
        assert_eq!(count(&run, "blocked"), ids as u64, "{aliases} as {own}");
        assert_eq!(count(&run, "misrouted"), 0);
    }
}

#[test]
fn the_table_of_a_switchtec_may_have_any_size() {
    // Of 256 entries one is the own ID, which is invalidated twice and never stale.
    for (entries, stale) in [(1, 1), (17, 17), (256, 255)] {
        let aliases = format!("switchtec:{entries}");
        let run = named("affinity-move", "7.2", &aliases);
        assert_eq!(verdict(&run).3, "coherent");
        assert_eq!(
            run["commands_per_move"]["INVALIDATE_INTERRUPT_TABLE"],
            entries + 1
        );
        let run = named("affinity-move", "6.12", &aliases);
        assert_eq!((verdict(&run).3, count(&run, "stale")), ("stale", stale));
    }
}

#[test]
fn a_topology_file_runs_under_its_path_in_two_processes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/example.toml");
    let runs = json(&["affinity-move", "--aliases", path]);
    let verdicts: Vec<_> = runs.iter().map(verdict).collect();
    assert_eq!(
        verdicts,
        KERNELS.map(|kernel| ("affinity-move", kernel, path, "stale"))
    );
    // The alias that only the IVRS range tells of, on another bus.
    assert_eq!(runs[1]["findings"][0]["rid"], "03:00.0");
    assert_eq!(count(&runs[1], "stale"), 1);
}

#[test]
fn only_what_is_named_runs_and_a_name_given_twice_runs_once() {
    let args = ["no-alias", "mask-and-pending", "no-alias", "--kernel", "7.2,7.2"];
    let more = ["--aliases", "plx,none", "--aliases", "plx", "--seed", "5,3,5"];
    let runs = in_thread(&[&args[..], &more].concat());
    let ran: Vec<_> = runs
        .iter()
        .map(|run| (verdict(run), run["seed"].as_u64().expect("a seed")))
        .collect();
    let expected: Vec<_> = ["mask-and-pending", "no-alias"]
        .into_iter()
        .flat_map(|scenario| ["plx", "none"].map(|aliases| (scenario, "7.2", aliases, "coherent")))
        .flat_map(|verdict| [(verdict, 5), (verdict, 3)])
        .collect();
    assert_eq!(ran, expected);
}

/// The form that is promised, key by key.
mod form {
    use serde::Deserialize;

    use super::BTreeMap;

    pub const RUN: [&str; 12] = [
        "aliases",
        "command",
        "commands",
        "commands_per_move",
        "expected",
        "findings",
        "interrupts",
        "irte",
        "kernel",
        "scenario",
        "seed",
        "verdict",
    ];
    pub const FINDING: [&str; 13] = [
        "cpu_expected",
        "cpu_got",
        "function",
        "history",
        "id",
        "index",
        "kind",
        "missing",
        "missing_invalidations",
        "rid",
        "sentence",
        "vector_expected",
        "vector_got",
    ];

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the types are what is tested")]
    pub struct Run {
        scenario: String,
        kernel: String,
        aliases: String,
        irte: u32,
        seed: u64,
        command: String,
        verdict: String,
        expected: bool,
        interrupts: Interrupts,
        commands: BTreeMap<String, u64>,
        commands_per_move: Option<BTreeMap<String, u64>>,
        findings: Vec<Finding>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the types are what is tested")]
    struct Interrupts {
        raised: u64,
        delivered: u64,
        misrouted: u64,
        spurious: u64,
        blocked: u64,
        lost: u64,
        stale: u64,
        in_flight: u64,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the types are what is tested")]
    struct Finding {
        id: String,
        kind: String,
        rid: Option<String>,
        index: Option<u16>,
        sentence: String,
        history: Vec<Moment>,
        missing: Option<String>,
        function: Option<String>,
        vector_got: Option<u8>,
        vector_expected: Option<u8>,
        cpu_got: Option<u32>,
        cpu_expected: Option<u32>,
        missing_invalidations: Vec<String>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the types are what is tested")]
    struct Moment {
        time_ps: u64,
        what: String,
    }
}

/// Sorted.
fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object.as_object().expect("an object").keys().collect();
    keys.sort();
    keys.into_iter().map(String::as_str).collect()
}

#[test]
fn every_run_is_an_object_with_the_promised_keys_and_types() {
    for run in in_thread(&[]) {
        assert_eq!(keys(&run), form::RUN);
        for finding in run["findings"].as_array().expect("an array") {
            assert_eq!(keys(finding), form::FINDING);
        }
        if let Err(error) = serde_json::from_value::<form::Run>(run) {
            panic!("{error}");
        }
    }
}
