use std::fmt;

/// How one Linux version's AMD IOMMU driver behaves, as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// As users name it.
    pub name: &'static str,
    /// The release whose code it follows.
    pub release: &'static str,
    /// Which requester IDs a change of a remapping entry invalidates.
    pub irt_flush: IrtFlush,
    /// How attaching to a domain writes the function's own DTE.
    pub attach: Attach,
}

/// Which requester IDs a change of a remapping entry invalidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IrtFlush {
    /// The one that the entry was allocated for.
    OwnId,
    /// All of `pci_for_each_dma_alias`, since "iommu/amd: Invalidate IRT cache for DMA aliases".
    DmaAliases,
}

/// How attaching to a domain writes the function's own DTE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// Two 64-bit stores, and no command before the flush at the end.
    PlainStores,
    /// Two 128-bit stores under `dte_lock`, followed by their own invalidation.
    LockedAndFlushed,
}

impl Profile {
    /// Linux 6.12.117, without the alias fix.
    pub const LINUX_6_12: Self = Self {
        name: "6.12",
        release: "6.12.117",
        irt_flush: IrtFlush::OwnId,
        attach: Attach::PlainStores,
    };

    /// Linux 7.2.13, with it.
    pub const LINUX_7_2: Self = Self {
        name: "7.2",
        release: "7.2.13",
        irt_flush: IrtFlush::DmaAliases,
        attach: Attach::LockedAndFlushed,
    };

    /// What it is, for a list.
    pub fn sentence(&self) -> String {
        let flush = match self.irt_flush {
            IrtFlush::OwnId => "under the function's own ID only",
            IrtFlush::DmaAliases => "under every DMA alias",
        };
        format!("Linux {}: invalidates the IRT cache {flush}", self.release)
    }

    /// All profiles, oldest first.
    pub const ALL: [Self; 2] = [Self::LINUX_6_12, Self::LINUX_7_2];
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}
