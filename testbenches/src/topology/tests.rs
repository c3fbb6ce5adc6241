use std::fmt::Write as _;

use super::*;

fn topology(name: &str) -> Topology {
    name.parse().expect("a topology")
}

fn ids(text: &str) -> Vec<RequesterId> {
    text.split_whitespace()
        .map(|id| id.parse().expect("a requester ID"))
        .collect()
}

#[test]
fn names_are_parsed_as_they_are_shown() {
    for topology in Topology::built_in()
        .iter()
        .cloned()
        .chain([topology("switchtec:256")])
    {
        assert_eq!(topology.to_string().parse(), Ok(topology));
    }
    assert_ne!(topology("switchtec:4"), topology("switchtec:5"));
}

#[test]
fn wrong_names_say_what_is_wrong() {
    for name in [
        "switchtec",
        "switchtec:0",
        "switchtec:257",
        "switchtec:four",
        "switchtec:",
    ] {
        let refused = name.parse::<Topology>();
        assert_eq!(refused, Err(ParseTopologyError::Entries(name.to_owned())));
    }
    for name in ["plxx", "", "plx:4"] {
        let refused = name.parse::<Topology>();
        assert_eq!(refused, Err(ParseTopologyError::Unknown(name.to_owned())));
    }
    let error = "no/such/file.toml"
        .parse::<Topology>()
        .expect_err("there is none");
    assert_eq!(
        error.to_string(),
        "can't read no/such/file.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn the_ntb_sends_as_its_kind_its_bridges_and_firmware_say() {
    let slot_8 = "41:00.0 41:08.0 41:08.1 41:08.2 41:08.3";
    let cases = [
        ("none", "41:00.0"),
        ("func1", "41:00.0 41:00.1"),
        ("mic-x200", "41:00.0 41:10.0 41:11.0 41:12.3"),
        ("switchtec:4", slot_8),
        ("pci-bridge", "03:04.0 03:00.0"),
        ("ivrs-same-bus", "41:00.0 41:00.2"),
        ("ivrs-other-bus", "03:04.0 03:00.0 02:01.0"),
    ];
    for (name, expected) in cases {
        assert_eq!(topology(name).ids(), ids(expected), "{name}");
    }
    for (name, count) in [("vca", 160), ("plx", 256), ("switchtec:256", 256)] {
        assert_eq!(topology(name).ids().len(), count, "{name}");
    }
}

#[test]
fn what_an_old_kernel_does_not_know_is_sent_all_the_same() {
    let plx = topology("plx");
    let aliases = |kernel: &str| {
        let kernel = kernel.parse().expect("a release");
        plx.expected_ntb(kernel).dma_aliases.iter().count()
    };
    assert_eq!((aliases("5.4.16"), aliases("5.10.262")), (0, 256));
    assert_eq!(plx.ids().len(), 256);
}

#[test]
fn a_table_is_sent_under_even_if_linux_does_not_read_it() {
    let file = include_str!("../../topologies/switchtec.toml").replace("11f8:8531", "1234:5678");
    let topology = Topology::parse("own", &file).expect("a topology");
    assert_eq!(topology.ids(), topology_ids_of_switchtec());
    assert_eq!(
        topology
            .expected_ntb(KernelVersion::NEWEST)
            .dma_aliases
            .iter()
            .count(),
        0
    );
}

fn topology_ids_of_switchtec() -> Vec<RequesterId> {
    topology("switchtec:4").ids().to_vec()
}

#[test]
fn the_rtl_is_told_to_send_under_an_id_in_the_way_that_the_device_has() {
    let plx_rid = RequesterId::new(0x41, 8, 0);
    let cases = [
        ("switchtec:4", "41:00.0", RidMode::Own),
        ("switchtec:4", "41:08.3", RidMode::TableEntry(3)),
        ("switchtec:4", "41:08.4", RidMode::Given(RequesterId(0x4144))),
        ("plx", "41:08.0", RidMode::Given(plx_rid)),
        ("ivrs-other-bus", "02:01.0", RidMode::Given(RequesterId(0x0208))),
    ];
    for (name, id, mode) in cases {
        assert_eq!(topology(name).rid_mode(ids(id)[0]), mode, "{name} {id}");
    }
}

/// The rows of Linux 6.12 and 7.2 for an NTB behind a PCIe-to-PCI bridge, with no IVRS alias, one on the same bus, one on
/// another: what the walk comes to, own ID first.
#[test]
fn the_walk_comes_to_an_ivrs_alias_on_the_same_bus_only() {
    let kernel = KernelVersion::new(6, 12, 117);
    let file = include_str!("../../topologies/ivrs-other-bus.toml");
    let bridge = |to: &str| file.replace("to = \"02:01.0\"", &format!("to = \"{to}\""));
    let cases = [
        ("03:04.0", "03:04.0 03:00.0", "03:04.0 03:00.0"),
        ("03:00.0", "03:04.0 03:00.0 03:00.0", "03:04.0 03:00.0"),
        ("02:01.0", "03:04.0 03:00.0", "03:04.0 03:00.0 02:01.0"),
    ];
    for (alias, walk, with_table) in cases {
        let topology = Topology::parse(alias, &bridge(alias)).expect("a topology");
        assert_eq!(topology.walk(kernel), ids(walk), "{alias}");
        assert_eq!(topology.ids_with_table(kernel), ids(with_table), "{alias}");
    }
    assert_eq!(topology("ivrs-same-bus").walk(kernel), ids("41:00.0 41:00.2"));
}

#[test]
fn the_walk_of_a_kind_that_has_its_own_id_among_its_aliases_repeats_it() {
    for (name, callbacks) in [
        ("plx", 257),
        ("vca", 161),
        ("switchtec:256", 257),
        ("mic-x200", 4),
    ] {
        assert_eq!(
            topology(name).walk(KernelVersion::NEWEST).len(),
            callbacks,
            "{name}"
        );
    }
}

#[test]
fn every_profiles_release_is_known() {
    for profile in Profile::ALL {
        assert_eq!(profile.release.parse(), Ok(kernel_version(&profile)), "{profile}");
    }
}

#[test]
fn the_readmes_file_is_a_topology() {
    let readme = include_str!("../../../README.md");
    let file = readme
        .split_once("```toml\n")
        .and_then(|(_, rest)| rest.split_once("```"));
    let (file, _) = file.expect("a file in the README");
    let topology = Topology::parse("README.md", file).expect("a topology");
    assert_eq!(topology.ids().len(), 256);
}

const EXAMPLE: &str = include_str!("../../topologies/example.toml");

#[test]
fn the_example_is_what_it_says() {
    let topology = Topology::parse("example", EXAMPLE).expect("a topology");
    // The fixed alias of the device, the bridge of Linux's quirk, the alias of the range.
    assert_eq!(topology.ids(), ids("04:04.0 04:01.0 04:00.0 03:00.0"));
    assert_eq!(topology.neighbours(), ids("40:01.0"));
    assert_eq!(topology.last_bdf(), ids("40:1f.7")[0]);
    assert_eq!(topology.ivrs().aliases.len(), 256);
    assert_eq!(topology.ivrs().ioapics, [(33, ids("00:14.0")[0])].into());
    assert_eq!(topology.ivrs().hpets, [(0, ids("00:14.0")[0])].into());
    assert_eq!(topology.rtl().subsystem, Some((0x9005, 0x02bb)));
}

#[test]
fn given_aliases_replace_what_is_worked_out() {
    let file = include_str!("../../topologies/plx.toml");
    let file = file.replace(
        "role = \"ntb\"",
        "role = \"ntb\"\naliases = [\"41:00.7\", \"40:00.0\"]",
    );
    let topology = Topology::parse("two", &file).expect("a topology");
    assert_eq!(topology.ids(), ids("41:00.0 41:00.7 40:00.0"));
}

/// One mistake in the example each: what is replaced by what.
const MISTAKES: &[(&str, &str)] = &[
    ("kind = \"root-port\"", "kind = \"root-prot\""),
    ("kind = \"root-port\"", "knid = \"root-port\""),
    ("[[bus]]", "[[buss]]"),
    ("sentence = ", "sentence "),
    ("id = \"01:00.0\"", "id = \"01:20.0\""),
    ("id = \"01:00.0\"\n", ""),
    ("id = \"01:00.0\"", "id = 100"),
    ("id = \"01:00.0\"", "id = \"00:01.1\""),
    ("id = \"01:00.0\"", "id = \"06:00.0\""),
    ("id = \"01:00.0\"", "id = \"00:00.0\""),
    ("device = \"9005:0285\"", "device = \"9005-0285\""),
    ("device = \"9005:0285\"", "device = \"ffff:ffff\""),
    ("class = 0x068000", "class = 0x1068000"),
    ("class = 0x068000", "class = -1"),
    ("class = 0x068000", "table = 513"),
    ("class = 0x068000", "first = \"08.0\""),
    ("class = 0x068000", "table = 4\nfirst = \"8\""),
    ("class = 0x068000", "aliases = [\"04:01.0\", \"04:01.0\"]"),
    ("class = 0x068000", "aliases = [\n  \"04:01.0\",\n  \"4:1\",\n]"),
    ("class = 0x068000", "secondary = 5"),
    ("class = 0x010802", "table = 4"),
    ("secondary = 0x04\n", ""),
    ("secondary = 0x04", "secondary = 0x104"),
    // A loop: to its own bus, to one above.
    ("secondary = 0x04", "secondary = 0x03"),
    ("secondary = 0x04", "secondary = 0x01"),
    ("secondary = 0x04", "secondary = 0x04\nsubordinate = 0x05"),
    ("subordinate = 0x04", "subordinate = 0x02"),
    ("subordinate = 0x04", "subordinate = 0x06"),
    ("number = 0x05", "number = 0x04"),
    ("number = 0x40", "number = 0x03"),
    ("parent = 0x02", "parent = 0x05"),
    ("role = \"ntb\"", "role = \"neighbour\""),
    ("role = \"neighbour\"", "role = \"ntb\""),
    ("role = \"neighbour\"\n", ""),
    ("kind = \"pci-to-pci\"", "kind = \"pci-to-pci\"\nrole = \"ntb\""),
    ("id = \"04:04.0\"", "id = \"04:04.1\""),
    ("id = \"04:04.0\"", "id = \"07:04.0\""),
    ("to = \"03:00.0\"", "handle = 3"),
    ("last = \"04:1f.7\"", "last = \"03:1f.7\""),
    ("kind = \"alias-range\"", "kind = \"alias\""),
    ("handle = 33", "handle = 256"),
    ("handle = 33\n", ""),
    ("kind = \"hpet\"\nhandle = 0", "kind = \"ioapic\"\nhandle = 33"),
];

#[test]
fn mistakes_are_told_with_file_line_and_key() {
    let mut told = String::new();
    for (right, wrong) in MISTAKES {
        let file = EXAMPLE.replacen(right, wrong, 1);
        assert_ne!(file, EXAMPLE, "{right}");
        let error = Topology::parse("x.toml", &file).expect_err(wrong);
        writeln!(told, "{right:?} -> {wrong:?}\n    {error}").expect("a string");
    }
    insta::assert_snapshot!(told);
}

/// The lines to which the errors point have the mistake.
#[test]
fn the_line_is_that_of_the_mistake() {
    for (right, wrong) in MISTAKES {
        let file = EXAMPLE.replacen(right, wrong, 1);
        let error = Topology::parse("x.toml", &file).expect_err(wrong);
        let before = file.bytes().zip(EXAMPLE.bytes()).take_while(|(a, b)| a == b);
        let changed = 1 + before.filter(|(a, _)| *a == b'\n').count();
        // What is missing is told where the row begins or ends; what clashes with another, at one of both.
        let tolerance = 7;
        let whole = matches!(error.problem, Problem::NoRole(_) | Problem::SecondNtb(_));
        let clash = matches!(error.problem, Problem::Tree(_));
        assert!(
            whole || clash || error.line.abs_diff(changed) <= tolerance,
            "{wrong:?}: changed line {changed}, {error}"
        );
    }
}
