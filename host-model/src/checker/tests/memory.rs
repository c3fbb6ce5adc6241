//! Memory requests on a machine: their device table entries and translations.

use sim_bridge::tlp::Tlp;

use super::*;
use crate::iommu::spec::command::PageRange;
use crate::trace::Kind;

const ROOT: u64 = 0x60_0000;
const LEAF: u64 = 0x61_0000;
const FRAMES: [u64; 2] = [0x70_0000, 0x71_0000];
const READ: u64 = 1 << 61;
const WRITE: u64 = 1 << 62;
const DOMAIN: u16 = 0x5e;
/// The device's page 1.
const PAGE: u64 = 0x1000;

const INVALIDATE_PAGES: u64 = 3 << 60 | (DOMAIN as u64) << 32;

impl Rig {
    /// [`RID`] gets a domain with [`PAGE`] at the first frame.
    async fn map(&self) {
        let dte = [3 | READ | WRITE | 2 << 9 | ROOT, DOMAIN.into()];
        self.cpu
            .store(ROOT, &(READ | WRITE | 1 << 9 | LEAF | 1).to_le_bytes());
        self.set_page("map", FRAMES[0] | READ | WRITE | 1).await;
        self.set_dte("attach", dte).await;
    }

    async fn set_page(&self, call: &'static str, entry: u64) {
        self.cpu
            .call(call, async |cpu| cpu.store(LEAF + 8, &entry.to_le_bytes()))
            .await;
    }

    async fn set_dte(&self, call: &'static str, words: [u64; 2]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.cpu
            .call(call, async |cpu| {
                cpu.store(DEVICE_TABLE + 32 * u64::from(RID.0), &bytes)
            })
            .await;
    }

    async fn commands(&self, low: u64, high: u64) {
        let at = self.tail.get();
        let words = [low.to_le_bytes(), high.to_le_bytes()].concat();
        self.cpu.store(COMMANDS + u64::from(at), &words);
        self.tail.set((at + 16) % 8192);
        self.cpu.writel(IOMMU_MMIO + 0x2008, self.tail.get()).await;
        self.cpu.udelay(1).await;
    }

    /// Writes to [`PAGE`]: how that was judged.
    async fn dma(&self) -> Freshness {
        let machine = self.cpu.machine();
        machine.trace().take();
        let write = Tlp::mem_write(RID, PAGE, &[1, 2, 3, 4]).expect("in a page");
        self.device.send_at(machine.now(), write);
        self.cpu.udelay(5).await;
        let events = machine.trace().take();
        let judged = events.iter().find_map(|event| match event.kind {
            Kind::Translated { freshness, .. } => Some(freshness.expect("it is checked")),
            _ => None,
        });
        judged.expect("it was translated")
    }
}

#[test]
fn a_page_that_was_unmapped_and_not_invalidated_is_stale() {
    let (judged, findings) = run(|rig| async move {
        rig.map().await;
        let filled = rig.dma().await;
        rig.set_page("unmap", 0).await;
        ((filled, rig.dma().await), rig.findings())
    });
    assert_eq!(judged, (Freshness::Fresh, Freshness::Stale));
    let [finding] = &findings[..] else {
        panic!("{findings:?}");
    };
    let subject = Subject::Page {
        requester: RID,
        address: PAGE,
    };
    assert_eq!((finding.kind, finding.subject), (FindingKind::Stale, subject));
    assert_eq!(changed(finding), ("page", Some("unmap")));
    let command = Command::InvalidateIommuPages {
        domain: DOMAIN,
        pasid: 0,
        range: PageRange::new(PAGE, 12),
        directory: false,
        guest: false,
    };
    assert_eq!(finding.missing, [command]);
}

#[test]
fn an_invalidation_that_covers_the_page_makes_it_fresh_and_others_do_not() {
    let everything = 0x7fff_ffff_ffff_f003;
    for (low, high, expected) in [
        (INVALIDATE_PAGES, PAGE, Freshness::Fresh),
        (INVALIDATE_PAGES, everything, Freshness::Fresh),
        (INVALIDATE_ALL, 0, Freshness::Fresh),
        (INVALIDATE_PAGES, 0x2000, Freshness::Stale),
        (INVALIDATE_PAGES ^ 1 << 32, everything, Freshness::Stale),
        (invalidate_dte(RID), 0, Freshness::Stale),
    ] {
        let (judged, findings) = run(move |rig| async move {
            rig.map().await;
            rig.dma().await;
            rig.set_page("unmap", FRAMES[1] | READ | WRITE | 1).await;
            rig.commands(low, high).await;
            (rig.dma().await, rig.findings())
        });
        assert_eq!(judged, expected, "{low:#x} {high:#x}");
        assert_eq!(findings.len(), usize::from(expected == Freshness::Stale));
    }
}

#[test]
fn a_page_is_in_flight_while_the_call_that_unmaps_it_runs() {
    let (judged, findings) = run(|rig| async move {
        rig.map().await;
        rig.dma().await;
        let inner = rig.clone();
        let during = rig
            .cpu
            .call("unmap", async |cpu| {
                cpu.store(LEAF + 8, &0u64.to_le_bytes());
                let during = inner.dma().await;
                inner.commands(INVALIDATE_PAGES, PAGE).await;
                during
            })
            .await;
        ((during, rig.dma().await), rig.findings())
    });
    assert_eq!(judged, (Freshness::InFlight, Freshness::Fresh));
    assert_eq!(findings, []);
}

#[test]
fn permissions_that_are_added_leave_a_page_fresh_and_those_taken_do_not() {
    let both = READ | WRITE;
    for (before, after, expected) in [(WRITE, both, Freshness::Fresh), (both, WRITE, Freshness::Stale)] {
        let judged = run(move |rig| async move {
            rig.map().await;
            rig.set_page("map", FRAMES[0] | before | 1).await;
            rig.dma().await;
            rig.set_page("protect", FRAMES[0] | after | 1).await;
            rig.dma().await
        });
        assert_eq!(judged, expected);
    }
}

#[test]
fn a_page_by_page_tables_that_the_dte_no_longer_names_is_stale_by_the_dtes_change() {
    let (judged, findings) = run(|rig| async move {
        rig.map().await;
        rig.dma().await;
        // Other tables, the same domain, and only the DTE is invalidated.
        let root = ROOT + 0x1000;
        rig.set_dte("attach", [3 | READ | WRITE | 2 << 9 | root, DOMAIN.into()])
            .await;
        rig.command(invalidate_dte(RID)).await;
        (rig.dma().await, rig.findings())
    });
    assert_eq!(judged, Freshness::Stale);
    assert_eq!(changed(&findings[0]), ("page", Some("attach")));
    assert!(history(&findings[0]).moved_away);
}

#[test]
fn a_dte_whose_memory_half_changed_is_stale_for_memory_and_fresh_for_interrupts() {
    let (memory, interrupt, findings) = run(|rig| async move {
        rig.map().await;
        rig.write(0, irte(0x31)).await;
        rig.dma().await;
        rig.interrupt(RID, 0).await;
        rig.set_dte("attach", [3, 0]).await;
        let memory = rig.dma().await;
        (memory, rig.interrupt(RID, 0).await.0, rig.findings())
    });
    assert_eq!((memory, interrupt), (Freshness::Stale, Freshness::Fresh));
    let stale: Vec<_> = findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Stale)
        .collect();
    let [finding] = &stale[..] else {
        panic!("{findings:?}");
    };
    assert_eq!(finding.subject, Subject::Device(RID));
    assert_eq!(changed(finding), ("DTE", Some("attach")));
    assert_eq!(finding.missing, [Command::InvalidateDevtabEntry(RID)]);
}

#[test]
fn what_was_not_mapped_needs_no_invalidation() {
    let judged = run(|rig| async move {
        rig.map().await;
        rig.set_page("unmap", 0).await;
        let refused = rig.dma().await;
        rig.set_page("map", FRAMES[1] | READ | WRITE | 1).await;
        (refused, rig.dma().await)
    });
    assert_eq!(judged, (Freshness::Fresh, Freshness::Fresh));
}
