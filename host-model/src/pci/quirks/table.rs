//! Linux 7.2's quirks.c, with what other releases are known to lack or have.

use super::{Devices, Effect, Fixup, Quirk};
use crate::pci::KernelVersion;
use crate::pci::kernel_version::Since;

/// "Other bridge".
const CLASS_BRIDGE_OTHER: u32 = 0x06_80;

const fn devices(vendor: u16, ids: &'static [u16]) -> Devices {
    Devices {
        vendor,
        ids,
        since: Since::ALWAYS,
    }
}

const fn devices_since(since: Since, vendor: u16, ids: &'static [u16]) -> Devices {
    Devices { vendor, ids, since }
}

const fn header(name: &'static str, effect: Effect, devices: &'static [Devices]) -> Quirk {
    Quirk {
        name,
        fixup: Fixup::Header,
        effect,
        class: None,
        devices,
    }
}

/// All quirks.
pub const QUIRKS: &[Quirk] = &[
    header(
        "quirk_dma_func0_alias",
        Effect::FunctionOfSlot(0),
        &[
            devices(0x1180, &[0xe832, 0xe476]),
            devices(0x6766, &[0x3d40, 0x3d41]),
        ],
    ),
    header(
        "quirk_dma_func1_alias",
        Effect::FunctionOfSlot(1),
        &[
            devices(
                0x1b4b,
                &[
                    0x9120, 0x9123, 0x9125, 0x9128, 0x9130, 0x9170, 0x9172, 0x917a, 0x9182, 0x9183, 0x91a0,
                    0x9215, 0x9220, 0x9230, 0x9235,
                ],
            ),
            devices(0x1103, &[0x0642, 0x0645]),
            devices(0x197b, &[0x2392]),
            devices(0x1c28, &[0x0122]),
        ],
    ),
    header(
        "quirk_fixed_dma_alias",
        Effect::DevfnOfSubsystems(0x08, &[(0x9005, 0x02bb), (0x9005, 0x02bc)]),
        &[devices(0x9005, &[0x0285])],
    ),
    header(
        "quirk_use_pcie_bridge_dma_alias",
        Effect::PcieBridgeAlias,
        &[
            devices(0x1b21, &[0x1080]),
            devices(0x10e3, &[0x8113]),
            devices(0x1283, &[0x8892, 0x8893]),
            devices(0x8086, &[0x244e]),
        ],
    ),
    header(
        "quirk_mic_x200_dma_alias",
        Effect::Devfns(&[0x80, 0x88, 0x93]),
        &[devices(0x8086, &[0x2260, 0x2264])],
    ),
    header(
        "quirk_pex_vca_alias",
        Effect::FunctionsOfAllSlots(4),
        &[devices_since(
            VCA,
            0x8086,
            &[0x2954, 0x2955, 0x2956, 0x2958, 0x2959, 0x295a],
        )],
    ),
    header(
        "quirk_bridge_cavm_thrx2_pcie_root",
        Effect::XlateRoot,
        &[devices(0x14e4, &[0x9000, 0x9084])],
    ),
    header(
        "quirk_aspeed_pci_bridge_no_alias",
        Effect::NoAlias,
        &[devices_since(Since::mainline(7, 2), 0x1a03, &[0x1150])],
    ),
    Quirk {
        name: "quirk_switchtec_ntb_dma_alias",
        fixup: Fixup::Final,
        effect: Effect::SwitchtecTable,
        class: Some(CLASS_BRIDGE_OTHER),
        devices: &[
            devices(0x11f8, SWITCHTEC_GEN3),
            devices_since(Since::mainline(5, 6), 0x11f8, SWITCHTEC_GEN4),
            devices_since(Since::mainline(6, 1), 0x11f8, SWITCHTEC_GEN4_AUTOMOTIVE),
            devices_since(Since::mainline(6, 1), 0x11f8, SWITCHTEC_GEN5),
            devices_since(PCI100X, 0x1055, &[0x1001, 0x1002, 0x1003, 0x1004, 0x1005, 0x1006]),
            devices_since(PCI1008, 0x1055, &[0x1008]),
        ],
    },
    header(
        "quirk_plx_ntb_dma_alias",
        Effect::AllDevfns,
        &[devices_since(Since::mainline(5, 6), 0x10b5, &[0x87b0, 0x87b1])],
    ),
];

const VCA: Since = Since {
    mainline: (5, 5),
    stable: &[KernelVersion::new(5, 4, 17)],
};
/// The stable releases are those that are known to have it.
const PCI100X: Since = Since {
    mainline: (6, 14),
    stable: &[KernelVersion::new(6, 1, 192), KernelVersion::new(6, 12, 74)],
};
/// Likewise.
const PCI1008: Since = Since {
    mainline: (7, 3),
    stable: &[KernelVersion::new(6, 12, 117)],
};

/// PFX, PSX, PAX, PFX-L, PFX-I with 24 to 96 lanes.
const SWITCHTEC_GEN3: &[u16] = &[
    0x8531, 0x8532, 0x8533, 0x8534, 0x8535, 0x8536, 0x8541, 0x8542, 0x8543, 0x8544, 0x8545, 0x8546, 0x8551,
    0x8552, 0x8553, 0x8554, 0x8555, 0x8556, 0x8561, 0x8562, 0x8563, 0x8564, 0x8565, 0x8566, 0x8571, 0x8572,
    0x8573, 0x8574, 0x8575, 0x8576,
];

/// PFX, PSX, PAX with 100, 84, 68, 52, 36, 28 lanes.
const SWITCHTEC_GEN4: &[u16] = &[
    0x4000, 0x4084, 0x4068, 0x4052, 0x4036, 0x4028, 0x4100, 0x4184, 0x4168, 0x4152, 0x4136, 0x4128, 0x4200,
    0x4284, 0x4268, 0x4252, 0x4236, 0x4228,
];

/// PFX-A, PSX-A, PAX-A with 52, 36, 28 lanes.
const SWITCHTEC_GEN4_AUTOMOTIVE: &[u16] = &[
    0x4352, 0x4336, 0x4328, 0x4452, 0x4436, 0x4428, 0x4552, 0x4536, 0x4528,
];

/// PFX, PSX, PAX, PFX-A, PSX-A, PAX-A with 100, 84, 68, 52, 36, 28 lanes.
const SWITCHTEC_GEN5: &[u16] = &[
    0x5000, 0x5084, 0x5068, 0x5052, 0x5036, 0x5028, 0x5100, 0x5184, 0x5168, 0x5152, 0x5136, 0x5128, 0x5200,
    0x5284, 0x5268, 0x5252, 0x5236, 0x5228, 0x5300, 0x5384, 0x5368, 0x5352, 0x5336, 0x5328, 0x5400, 0x5484,
    0x5468, 0x5452, 0x5436, 0x5428, 0x5500, 0x5584, 0x5568, 0x5552, 0x5536, 0x5528,
];
