//! A function that shares an alias with the NTB.

use host_model::pci::Function;
use sim_bridge::RequesterId;

use crate::run::Spec;
use crate::topology::kernel_version;

/// A function that is not the NTB's, and yet the NTB may send under its ID, or both under a bridge's.
pub(super) struct Sibling {
    /// Its ID.
    pub(super) id: RequesterId,
    /// Under which its messages arrive.
    pub(super) sends_as: RequesterId,
    /// Linux takes that for one of the NTB's DMA aliases.
    pub(super) shares: bool,
}

impl Sibling {
    /// The one that the topology has room for.
    pub(super) fn of(spec: &Spec) -> Self {
        let kernel = kernel_version(&spec.profile);
        let own = spec.topology.ntb();
        let mask = spec.topology.expected_ntb(kernel).dma_aliases;
        let quirk = mask.iter().find(|devfn| *devfn != own.devfn());
        if let Some(devfn) = quirk {
            let id = RequesterId::from_devfn(own.bus(), devfn);
            return Self {
                id,
                sends_as: id,
                shares: true,
            };
        }
        let ivrs = spec.topology.ivrs().aliases.get(&own);
        let walk = spec.topology.walk(kernel);
        let bridge = walk.into_iter().find(|id| *id != own && ivrs != Some(id));
        match bridge {
            Some(bridge) => Self {
                id: RequesterId::from_devfn(own.bus(), own.devfn().wrapping_add(8)),
                sends_as: bridge,
                shares: true,
            },
            None => {
                let id = RequesterId::from_devfn(own.bus(), own.devfn() ^ 1);
                Self {
                    id,
                    sends_as: id,
                    shares: false,
                }
            }
        }
    }

    /// As Linux finds it.
    pub(super) fn function(&self) -> Function {
        Function::endpoint(self.id, (0x144d, 0xa80a), 0x01_08_02)
    }
}
