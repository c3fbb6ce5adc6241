//! The versions, newest first: each says how it differs from a newer one. And strategies for those who write the next
//! patch.
//!
//! 5.10, 6.1, 6.12 and 7.2 follow the releases' code. 5.4.16, 6.6, 6.12.74, 6.12.80 and 7.0 are what changelogs, the
//! patches before and after, and trees derived from them say.

use super::*;

/// Quirks alias a few functions (`quirk_dma_func1_alias`, `quirk_mic_x200_dma_alias`) or whole buses
/// (`quirk_pex_vca_alias` 160, `quirk_plx_ntb_dma_alias` 256): between them, and 32 tail writes take no longer than a
/// few passes of `wait_on_sem`.
const ALL_ABOVE: u16 = 32;

impl Profile {
    /// Linux 7.2.13, with "iommu/amd: Invalidate IRT cache for DMA aliases".
    pub const LINUX_7_2: Self = Self {
        name: "7.2",
        release: "7.2.13",
        about: "invalidates the IRT cache under every DMA alias",
        irt_flush: IrtFlush {
            ids: FlushedIds::DmaAliases,
            all_above: None,
            tail: TailWrites::EachCommand,
            sections: LockSections::One,
            irtcachedis: IrtCacheDisable::Honoured,
        },
        completion_wait: CompletionWait {
            number: WaitNumber::UnderLock,
            polls_under_lock: false,
            nothing_queued: NothingQueued::WaitForLast,
            satisfied_by: SatisfiedBy::AtLeast,
        },
        table_ids: TableIds::AllAliases,
        pci_segments: true,
        tables_of_2048: true,
        irq_entry_under_dte_lock: true,
        guest_update_flushes: false,
        clone_alias: CloneAlias::UpdatesEntry(CloneSource::Function),
        attach: Attach {
            stores: AttachStores::LockedAndFlushed,
            under_domain_lock: false,
            flushes_domain: false,
        },
        boot: Boot {
            early_event_log: false,
            early_guest_translation: true,
            loops_end_at_last_bdf: true,
        },
    };

    /// Linux 7.0.0.
    pub const LINUX_7_0: Self = Self {
        name: "7.0",
        release: "7.0.0",
        about: "invalidates the IRT cache under the function's own ID only",
        irt_flush: IrtFlush {
            ids: FlushedIds::OwnId,
            ..Self::LINUX_7_2.irt_flush
        },
        completion_wait: CompletionWait {
            nothing_queued: NothingQueued::Return,
            ..Self::LINUX_7_2.completion_wait
        },
        clone_alias: CloneAlias::UpdatesEntry(CloneSource::Walked),
        boot: Boot {
            early_event_log: true,
            ..Self::LINUX_7_2.boot
        },
        ..Self::LINUX_7_2
    };

    /// Linux 6.12.117.
    pub const LINUX_6_12: Self = Self {
        name: "6.12",
        release: "6.12.117",
        about: "invalidates the IRT cache under the function's own ID only",
        irt_flush: IrtFlush {
            ids: FlushedIds::OwnId,
            ..Self::LINUX_7_2.irt_flush
        },
        tables_of_2048: false,
        irq_entry_under_dte_lock: false,
        attach: Attach {
            stores: AttachStores::Plain,
            ..Self::LINUX_7_2.attach
        },
        ..Self::LINUX_7_2
    };

    /// Linux 6.12.117 with the patch of 7.2.
    pub const LINUX_6_12_FIX: Self = Self {
        name: "6.12+fix",
        about: "with the patch that invalidates the IRT cache under every DMA alias",
        irt_flush: Self::LINUX_7_2.irt_flush,
        ..Self::LINUX_6_12
    };

    /// Linux 6.12.80, between "iommu/amd: move wait_on_sem() out of spinlock" and "iommu/amd: serialize sequence
    /// allocation under concurrent TLB invalidations".
    pub const LINUX_6_12_80: Self = Self {
        name: "6.12.80",
        release: "6.12.80",
        about: "numbers waits before it takes the lock and polls after: concurrent ones can time out",
        completion_wait: CompletionWait {
            number: WaitNumber::BeforeLock,
            nothing_queued: NothingQueued::Return,
            ..Self::LINUX_6_12.completion_wait
        },
        clone_alias: CloneAlias::CopiesEntry(CloneSource::Walked),
        attach: Attach {
            under_domain_lock: true,
            ..Self::LINUX_6_12.attach
        },
        boot: Boot {
            early_event_log: true,
            ..Self::LINUX_6_12.boot
        },
        ..Self::LINUX_6_12
    };

    /// Linux 6.12.74.
    pub const LINUX_6_12_74: Self = Self {
        name: "6.12.74",
        release: "6.12.74",
        about: "numbers waits before it takes the lock and polls under it",
        completion_wait: CompletionWait {
            polls_under_lock: true,
            satisfied_by: SatisfiedBy::Equal,
            ..Self::LINUX_6_12_80.completion_wait
        },
        ..Self::LINUX_6_12_80
    };

    /// Linux 6.6.
    pub const LINUX_6_6: Self = Self {
        name: "6.6",
        release: "6.6",
        about: "as 6.12.74; attaching flushes the domain too",
        attach: Attach {
            flushes_domain: true,
            ..Self::LINUX_6_12_74.attach
        },
        boot: Boot {
            early_guest_translation: false,
            ..Self::LINUX_6_12_74.boot
        },
        ..Self::LINUX_6_12_74
    };

    /// Linux 6.1.192.
    pub const LINUX_6_1: Self = Self {
        name: "6.1",
        release: "6.1.192",
        about: "takes the lock for the invalidation and again for the wait, and polls without it",
        irt_flush: IrtFlush {
            sections: LockSections::Two,
            irtcachedis: IrtCacheDisable::NotHonoured,
            ..Self::LINUX_6_6.irt_flush
        },
        completion_wait: Self::LINUX_7_2.completion_wait,
        guest_update_flushes: true,
        clone_alias: CloneAlias::CopiesEntry(CloneSource::Function),
        ..Self::LINUX_6_6
    };

    /// Linux 5.10.262.
    pub const LINUX_5_10: Self = Self {
        name: "5.10",
        release: "5.10.262",
        about: "takes the lock for the invalidation and again for the wait, and polls under it",
        irt_flush: IrtFlush {
            irtcachedis: IrtCacheDisable::Unknown,
            ..Self::LINUX_6_1.irt_flush
        },
        completion_wait: CompletionWait {
            polls_under_lock: true,
            nothing_queued: NothingQueued::Return,
            satisfied_by: SatisfiedBy::Equal,
            ..Self::LINUX_6_1.completion_wait
        },
        pci_segments: false,
        clone_alias: CloneAlias::CopiesEntry(CloneSource::Walked),
        boot: Boot {
            loops_end_at_last_bdf: false,
            ..Self::LINUX_6_1.boot
        },
        ..Self::LINUX_6_1
    };

    /// Linux 5.4.16, before "iommu/amd: Support multiple PCI DMA aliases in IRQ Remapping". Its flush is taken to be
    /// that of 5.4.17.
    pub const LINUX_5_4: Self = Self {
        name: "5.4.16",
        release: "5.4.16",
        about: "remaps a function's interrupts under its own ID and its IVRS alias only",
        completion_wait: CompletionWait {
            number: WaitNumber::One,
            satisfied_by: SatisfiedBy::NotZero,
            ..Self::LINUX_5_10.completion_wait
        },
        table_ids: TableIds::OwnAndIvrs,
        clone_alias: CloneAlias::OneAlias,
        ..Self::LINUX_5_10
    };

    /// One tail write for all commands of a flush.
    pub const ONE_TAIL_WRITE: Self = Self {
        name: "per-alias-one-tail-write",
        about: "with one tail write for all commands of an IRT flush",
        irt_flush: IrtFlush {
            tail: TailWrites::AtEnd,
            ..Self::LINUX_7_2.irt_flush
        },
        ..Self::LINUX_7_2
    };

    /// INVALIDATE_IOMMU_ALL for functions with many aliases.
    pub const THEN_ALL: Self = Self {
        name: "per-alias-then-all",
        about: "with one INVALIDATE_IOMMU_ALL for a function with more than N IDs",
        irt_flush: IrtFlush {
            all_above: Some(ALL_ABOVE),
            ..Self::LINUX_7_2.irt_flush
        },
        ..Self::LINUX_7_2
    };

    /// No IRT cache, where the hardware can do without.
    pub const IRTCACHEDIS: Self = Self {
        name: "irtcachedis",
        about: "with amd_iommu=irtcachedis",
        irt_flush: IrtFlush {
            irtcachedis: IrtCacheDisable::Always,
            ..Self::LINUX_7_2.irt_flush
        },
        ..Self::LINUX_7_2
    };

    /// The own ID is not invalidated twice where the alias mask has it.
    pub const UNIQUE_ALIASES: Self = Self {
        name: "unique-aliases",
        about: "with each ID invalidated once",
        irt_flush: IrtFlush {
            ids: FlushedIds::DistinctAliases,
            ..Self::LINUX_7_2.irt_flush
        },
        ..Self::LINUX_7_2
    };

    /// All versions, oldest first, then all strategies.
    pub const ALL: [Self; 14] = [
        Self::LINUX_5_4,
        Self::LINUX_5_10,
        Self::LINUX_6_1,
        Self::LINUX_6_6,
        Self::LINUX_6_12_74,
        Self::LINUX_6_12_80,
        Self::LINUX_6_12,
        Self::LINUX_7_0,
        Self::LINUX_7_2,
        Self::LINUX_6_12_FIX,
        Self::ONE_TAIL_WRITE,
        Self::THEN_ALL,
        Self::IRTCACHEDIS,
        Self::UNIQUE_ALIASES,
    ];

    /// Those to compare where nobody says which: without the patch, and with it.
    pub const DEFAULT: [Self; 2] = [Self::LINUX_6_12, Self::LINUX_7_2];
}
