//! What outlives what: released functions, DTEs copied over others.

use super::sequences::{BEHIND_BRIDGE, behind_bridge};
use super::*;
use crate::iommu::spec::dte::DteInterrupts;
use crate::trace::Kind;

const TARGET: Target = Target {
    apic_id: 1,
    vector: 0x31,
};

/// An IOAPIC's entry is moved after the function with the IOAPIC's ID was released, and again after it came back: what
/// was sent, and how often what is gone was used.
fn moved_after_release(profile: Profile) -> [(String, usize); 2] {
    Setup::new(profile, &[0x40]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        let pin = Interrupts::IoApic { pin: 4 };
        let allocation = driver.allocate(&cpu, NTB, pin, TARGET).await.expect("room");
        driver.probe(&cpu, NTB).await.expect("probe");
        driver.release(&cpu, NTB).await.expect("release");
        let moved = async || {
            cpu.machine().trace().take();
            let moved = driver.set_affinity(&cpu, allocation.entries[0], TARGET).await;
            moved.expect("set_affinity");
            let events = cpu.machine().trace().take();
            let used = events.iter().filter(|event| match &event.kind {
                Kind::UsedAfterRelease { function, device, .. } => {
                    (*function, *device) == ("iommu_flush_irt_and_complete", NTB)
                }
                _ => false,
            });
            (notation(&events), used.count())
        };
        let released = moved().await;
        driver.probe(&cpu, NTB).await.expect("probe");
        [released, moved().await]
    })
}

#[test]
fn a_released_function_is_used_where_its_aliases_are_looked_up() {
    for profile in Profile::ALL {
        let used = usize::from(profile.flushes_aliases());
        let [released, back] = moved_after_release(profile);
        // IRTCacheDis is no bit that hardware must keep.
        assert_eq!(released.1, used, "{profile}");
        assert_eq!(back.1, 0, "{profile}");
        if profile.irt_flush.irtcachedis != IrtCacheDisable::Always {
            assert_eq!(released.0, "R200 W", "{profile}");
            let walked = if profile.flushes_aliases() {
                "R200 R240 W"
            } else {
                "R200 W"
            };
            assert_eq!(back.0, walked, "{profile}");
        }
    }
}

#[test]
fn who_released_a_function_and_when_is_told() {
    let (released, told) = Setup::new(Profile::LINUX_7_2, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        let pin = Interrupts::IoApic { pin: 4 };
        let allocation = driver.allocate(&cpu, NTB, pin, TARGET).await.expect("room");
        driver.probe(&cpu, NTB).await.expect("probe");
        let other = cpu.machine().cpu(3);
        driver.release(&other, NTB).await.expect("release");
        let released = cpu.machine().now();
        cpu.udelay(7).await;
        let moved = driver.set_affinity(&cpu, allocation.entries[0], TARGET).await;
        moved.expect("set_affinity");
        let events = cpu.machine().trace().take();
        let told = events.iter().find_map(|event| match event.kind {
            Kind::UsedAfterRelease {
                released_at,
                released_on,
                ..
            } => Some((released_at, released_on)),
            _ => None,
        });
        (released, told)
    });
    assert_eq!(told, Some((released, 3)));
}

/// The interrupt half of what the bridge's secondary bus sends under, after a function behind the bridge has a vector
/// and is attached once more: still its table, and the bridge's own.
fn attached_again(profile: Profile) -> (bool, DteInterrupts) {
    behind_bridge(profile, &[]).run(|cpu, driver, _| async move {
        start(&cpu, &driver).await;
        driver.probe(&cpu, BEHIND_BRIDGE).await.expect("probe");
        allocate(&cpu, &driver, BEHIND_BRIDGE, TARGET)
            .await
            .expect("room");
        driver.attach(&cpu, BEHIND_BRIDGE).await.expect("attach");
        let interrupts = |id| DteInterrupts::from_bits(driver.dte(&cpu, RequesterId(id))[2]);
        let (own, alias) = (interrupts(BEHIND_BRIDGE.0), interrupts(0x300));
        (own == alias, alias)
    })
}

#[test]
fn copying_the_bridges_dte_loses_the_table_of_the_alias() {
    for profile in Profile::ALL {
        let copies_bridge = profile.clone_alias == CloneAlias::CopiesEntry(CloneSource::Walked);
        let has_none = copies_bridge || profile.table_ids == TableIds::OwnAndIvrs;
        let (kept, alias) = attached_again(profile);
        assert_eq!(kept, !has_none, "{profile}");
        assert_eq!(alias.int_ctl() == 0, has_none, "{profile}");
    }
}

#[test]
fn the_bridges_translation_is_given_to_its_alias_in_7_0() {
    for (profile, expected) in [(Profile::LINUX_7_0, 0), (Profile::LINUX_7_2, 1)] {
        let domain = behind_bridge(profile, &[]).run(|cpu, driver, _| async move {
            start(&cpu, &driver).await;
            driver.probe(&cpu, BEHIND_BRIDGE).await.expect("probe");
            driver.dte(&cpu, RequesterId(0x300))[1]
        });
        assert_eq!(domain, expected, "{profile}");
    }
}

#[test]
fn a_function_that_is_plugged_in_later_is_probed_as_at_start() {
    const LATER: RequesterId = RequesterId(0x208);
    let call = |later: bool| {
        let setup = Setup::new(Profile::LINUX_7_2, &[]).add(Function::endpoint(LATER, (0, 0), 0));
        setup.run(move |cpu, driver, _| async move {
            driver.enable(&cpu).await.expect("enable");
            let first: &[RequesterId] = if later { &[] } else { &[LATER] };
            let call = driver.take_devices(&cpu, first);
            let ((), mut commands) = commands_of(&cpu, call).await;
            if later {
                commands = commands_of(&cpu, driver.probe(&cpu, LATER)).await.1;
            }
            (commands, driver.dte(&cpu, LATER))
        })
    };
    let (at_start, dte) = call(false);
    assert_eq!(at_start, "D208 W D208 W ALL W");
    assert_eq!(call(true), ("D208 W D208 W".to_owned(), dte));
}
