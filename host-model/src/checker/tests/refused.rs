//! Memory requests that are refused though software lets the device make them.

use sim_bridge::tlp::Tlp;

use super::*;

const ALIAS: RequesterId = RequesterId(RID.0 + 8);
const BUFFER: u64 = 0x70_0000;
/// V, TV, IR, IW.
const PASSES: u64 = 3 << 61 | 3;

/// The device may write to [`BUFFER`]; its own ID is attached, the alias is not. What is found of a write.
fn found(requester: RequesterId, address: u64) -> Vec<Finding> {
    run(move |rig| async move {
        let dte = |id: RequesterId| DEVICE_TABLE + 32 * u64::from(id.0);
        for (id, low) in [(RID, PASSES), (ALIAS, 3)] {
            rig.cpu
                .call("probe", async |cpu| cpu.store(dte(id), &low.to_le_bytes()))
                .await;
        }
        let machine = rig.cpu.machine();
        machine.with_checker(|checker| checker.map(RID, &[RID, ALIAS], BUFFER..BUFFER + 0x1000));
        let write = Tlp::mem_write(requester, address, &[1, 2, 3, 4]).expect("in a page");
        rig.device.send_at(machine.now(), write);
        assert!(machine.wait_for_writes(0, 1, SimTime::from_us(10)).await);
        machine
            .with_checker(|checker| checker.findings())
            .unwrap_or_default()
    })
}

#[test]
fn a_write_that_an_aliass_dte_refuses_is_a_finding() {
    let findings = found(ALIAS, BUFFER + 0xffc);
    let [finding] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!(
        (finding.kind, finding.subject),
        (FindingKind::Blocked, Subject::Device(ALIAS))
    );
    let Mistake::Refused(refused) = &finding.mistake else {
        panic!("{finding:?}")
    };
    assert_eq!(refused.function, RID);
    assert_eq!(refused.dte.and_then(|dte| dte.by), Some("probe"));
    assert_eq!(
        refused.words,
        ["0 IW 0", "1 IW 1"].map(|allowed| format!("domain 0, untranslated, IR {allowed}"))
    );
}

#[test]
fn what_nobody_has_allowed_and_what_passes_is_no_finding() {
    for (requester, address) in [
        (ALIAS, BUFFER - 4),
        (ALIAS, BUFFER + 0x1000),
        (RequesterId(RID.0 + 9), BUFFER),
        (RID, BUFFER),
    ] {
        assert_eq!(found(requester, address), [], "{requester} {address:#x}");
    }
}
