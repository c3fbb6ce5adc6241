use sim_bridge::RequesterId;

use super::*;

const ALL: KernelVersion = KernelVersion::NEWEST;

fn version(text: &str) -> KernelVersion {
    text.parse().expect("a release")
}

fn endpoint(devfn: u8, vendor_device: (u16, u16)) -> Function {
    Function::endpoint(RequesterId::from_devfn(0x41, devfn), vendor_device, 0x06_80_00)
}

/// Names of the quirks for a device, in the order of their fixups.
fn names(vendor: u16, device: u16, kernel: KernelVersion) -> Vec<&'static str> {
    let function = endpoint(0, (vendor, device));
    [Fixup::Header, Fixup::Final]
        .into_iter()
        .flat_map(|fixup| Quirk::of(&function, fixup, kernel))
        .map(|quirk| quirk.name)
        .collect()
}

fn aliases(mut function: Function, kernel: KernelVersion) -> Vec<u8> {
    header_fixups(&mut function, None, kernel);
    function.dma_aliases.iter().collect()
}

/// All devices for which `kernel` has this quirk.
fn devices_of(name: &str, kernel: &str) -> usize {
    let all = QUIRKS.iter().flat_map(|quirk| quirk.devices);
    let mut ids: Vec<(u16, u16)> = all
        .flat_map(|row| row.ids.iter().map(|id| (row.vendor, *id)))
        .collect();
    ids.sort();
    ids.dedup();
    let kernel = version(kernel);
    ids.iter()
        .filter(|(vendor, device)| names(*vendor, *device, kernel).contains(&name))
        .count()
}

#[test]
fn quirks_are_found_by_vendor_and_device() {
    let cases = [
        (0x1180, 0xe476, "quirk_dma_func0_alias"),
        (0x6766, 0x3d41, "quirk_dma_func0_alias"),
        (0x1b4b, 0x9235, "quirk_dma_func1_alias"),
        (0x1103, 0x0645, "quirk_dma_func1_alias"),
        (0x197b, 0x2392, "quirk_dma_func1_alias"),
        (0x1c28, 0x0122, "quirk_dma_func1_alias"),
        (0x9005, 0x0285, "quirk_fixed_dma_alias"),
        (0x1b21, 0x1080, "quirk_use_pcie_bridge_dma_alias"),
        (0x10e3, 0x8113, "quirk_use_pcie_bridge_dma_alias"),
        (0x1283, 0x8893, "quirk_use_pcie_bridge_dma_alias"),
        (0x8086, 0x244e, "quirk_use_pcie_bridge_dma_alias"),
        (0x8086, 0x2264, "quirk_mic_x200_dma_alias"),
        (0x8086, 0x295a, "quirk_pex_vca_alias"),
        (0x14e4, 0x9084, "quirk_bridge_cavm_thrx2_pcie_root"),
        (0x1a03, 0x1150, "quirk_aspeed_pci_bridge_no_alias"),
        (0x11f8, 0x8536, "quirk_switchtec_ntb_dma_alias"),
        (0x11f8, 0x5528, "quirk_switchtec_ntb_dma_alias"),
        (0x1055, 0x1008, "quirk_switchtec_ntb_dma_alias"),
        (0x10b5, 0x87b1, "quirk_plx_ntb_dma_alias"),
    ];
    for (vendor, device, name) in cases {
        assert_eq!(names(vendor, device, ALL), [name], "{vendor:04x}:{device:04x}");
    }
    // Between devices of the tables, and devices of other vendors.
    for (vendor, device) in [
        (0x11f8, 0x8537),
        (0x11f8, 0x4001),
        (0x8086, 0x2957),
        (0x1b4b, 0x87b0),
    ] {
        assert_eq!(names(vendor, device, ALL), [""; 0], "{vendor:04x}:{device:04x}");
    }
}

#[test]
fn the_switchtec_quirk_is_the_only_final_one_and_asks_for_the_class() {
    for quirk in QUIRKS {
        let is_switchtec = quirk.effect == Effect::SwitchtecTable;
        assert_eq!(quirk.fixup == Fixup::Final, is_switchtec, "{}", quirk.name);
    }
    let mut function = endpoint(0, (0x11f8, 0x8536));
    assert_eq!(Quirk::of(&function, Fixup::Final, ALL).count(), 1);
    function.class = 0x05_80_00;
    assert_eq!(Quirk::of(&function, Fixup::Final, ALL).count(), 0);
}

#[test]
fn kernels_have_as_many_devices_as_their_sources_list() {
    let switchtec = "quirk_switchtec_ntb_dma_alias";
    let cases = [
        (switchtec, "5.10.262", 48),
        (switchtec, "6.1.192", 93 + 6),
        (switchtec, "6.12.117", 93 + 7),
        (switchtec, "7.2.13", 93 + 6),
        (switchtec, "7.3.4", 93 + 7),
        ("quirk_dma_func1_alias", "7.2.13", 19),
        ("quirk_pex_vca_alias", "7.2.13", 6),
        ("quirk_plx_ntb_dma_alias", "5.4.16", 0),
        ("quirk_plx_ntb_dma_alias", "5.10.262", 2),
        ("quirk_aspeed_pci_bridge_no_alias", "6.12.117", 0),
        ("quirk_aspeed_pci_bridge_no_alias", "7.2.13", 1),
    ];
    for (quirk, kernel, devices) in cases {
        assert_eq!(devices_of(quirk, kernel), devices, "{quirk} {kernel}");
    }
}

#[test]
fn header_fixups_fill_the_mask() {
    let of = |devfn, vendor, device| aliases(endpoint(devfn, (vendor, device)), ALL);
    assert_eq!(of(0x1b, 0x1180, 0xe832), [0x18]);
    assert_eq!(of(0x18, 0x1b4b, 0x9123), [0x19]);
    // The function itself is not its alias here, but it is below.
    assert_eq!(of(0x19, 0x1b4b, 0x9123), [0; 0]);
    assert_eq!(of(0x00, 0x8086, 0x2260), [0x80, 0x88, 0x93]);
    assert_eq!(of(0x00, 0x10b5, 0x87b0), Vec::from_iter(0..=0xff));
    let vca = of(0x00, 0x8086, 0x2954);
    assert_eq!(vca.len(), 160);
    assert_eq!(vca[..6], [0x00, 0x01, 0x02, 0x03, 0x04, 0x08]);
    assert_eq!(vca[159], 0xfc);
    // The table of a Switchtec is read later.
    assert_eq!(of(0x00, 0x11f8, 0x8531), [0; 0]);
}

#[test]
fn the_fixed_alias_asks_for_the_subsystem() {
    for (subsystem, expected) in [
        ((0x9005, 0x02bb), &[0x08][..]),
        ((0x9005, 0x02bc), &[0x08]),
        ((0x9005, 0x0285), &[]),
        ((0, 0), &[]),
    ] {
        let function = Function {
            subsystem,
            ..endpoint(0x70, (0x9005, 0x0285))
        };
        assert_eq!(aliases(function, ALL), expected, "{subsystem:04x?}");
    }
}

#[test]
fn before_5_6_the_last_device_function_number_is_left_out() {
    for (kernel, last) in [("5.4.16", 0xfe), ("5.10.262", 0xff)] {
        let mut function = endpoint(0, (0x11f8, 0x8531));
        add_proxy_ids(&mut function, 0..=0xff, version(kernel));
        assert_eq!(function.dma_aliases.iter().last(), Some(last), "{kernel}");
    }
}

fn bridge(at: &str, kind: BridgeKind, secondary: u8, vendor_device: (u16, u16)) -> Function {
    let id = at.parse().expect("a requester ID");
    Function {
        vendor_device,
        ..Function::bridge(id, kind, secondary, 9)
    }
}

/// The flags of the bridge 02:00.0 below a bridge of this kind.
fn flags(above: BridgeKind, kind: BridgeKind, vendor_device: (u16, u16), kernel: &str) -> BridgeFlags {
    let mut tree = PciTree::default();
    for bridge in [
        bridge("00:01.0", above, 2, (0, 0)),
        bridge("02:00.0", kind, 3, vendor_device),
    ] {
        tree.add(bridge).expect("fits");
    }
    tree.header_fixups(version(kernel));
    tree.bridge_to(3).expect("just added").1.flags
}

#[test]
fn the_pcie_bridge_alias_needs_a_bridge_without_a_capability_right_below_pcie() {
    use BridgeKind::*;
    let cases = [
        (PciePort, Conventional, true),
        (PciToPcie, Conventional, true),
        (PcieToPci, Conventional, false),
        (Conventional, Conventional, false),
        (PciePort, PcieToPci, false),
        (Vmd, Conventional, false),
    ];
    for (above, kind, expected) in cases {
        let flags = flags(above, kind, (0x1b21, 0x1080), "7.2.13");
        assert_eq!(flags.pcie_bridge_alias, expected, "{kind:?} below {above:?}");
    }
    let mut tree = PciTree::default();
    let on_root_bus = bridge("00:01.0", Conventional, 3, (0x8086, 0x244e));
    tree.add(on_root_bus).expect("fits");
    tree.header_fixups(ALL);
    assert_eq!(
        tree.bridge_to(3).expect("just added").1.flags,
        BridgeFlags::default()
    );
}

#[test]
fn flags_are_set_by_the_kernels_that_know_them() {
    use BridgeKind::*;
    let no_alias = BridgeFlags {
        no_alias: true,
        ..Default::default()
    };
    let xlate_root = BridgeFlags {
        xlate_root: true,
        ..Default::default()
    };
    let cases = [
        (PcieToPci, (0x1a03, 0x1150), "7.2.13", no_alias),
        (PcieToPci, (0x1a03, 0x1150), "6.12.117", BridgeFlags::default()),
        (PciePort, (0x14e4, 0x9000), "5.4.16", xlate_root),
        (PciePort, (0x14e4, 0x9001), "7.2.13", BridgeFlags::default()),
    ];
    for (kind, ids, kernel, expected) in cases {
        assert_eq!(
            flags(PciePort, kind, ids, kernel),
            expected,
            "{ids:04x?} {kernel}"
        );
    }
}
