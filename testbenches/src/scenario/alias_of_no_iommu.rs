use std::collections::BTreeSet;

use host_model::checker::FindingKind;
use host_model::driver::MsiMessage;
use host_model::linux::{Owner, TableIds};
use sim_bridge::RequesterId;

use super::reasons::{and_blocked_without_table, flushes_everything};
use super::{Expected, Parameter, Plan, Scenario};
use crate::rig::{Rig, ScenarioError};
use crate::run::Spec;
use crate::topology::kernel_version;

const IOMMU: Parameter = Parameter {
    name: "iommu",
    sentence: "for which IOMMU the IVRS table lists IDs that are aliases and no functions: 0 for none, 1 for another one",
    range: 0..=1,
    default: 0,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "alias-of-no-iommu",
    sentence: "an NTB is plugged in after start-up, and the IVRS table does not list its aliases for the NTB's IOMMU; it \
               sends a message under every ID, its interrupt is requested, it interrupts under every ID",
    parameters: &[IOMMU],
    plan,
    expected,
};

/// What a peer can send before there is an interrupt: the message of entry 0.
const FIRST: MsiMessage = MsiMessage {
    address: 0xfee0_0000,
    data: 0,
};

fn plan(plan: &mut Plan<'_>) {
    let owner = match plan.value(&IOMMU) {
        0 => None,
        _ => Some(Owner::Another),
    };
    plan.host.hot_plug = true;
    plan.host.ivrs_not_ours = not_ours(plan.spec).into_iter().map(|id| (id, owner)).collect();
    plan.step("the NTB sends a message under every ID", async |rig: &Rig| {
        rig.send_message_under(FIRST, rig.ids()).await;
        Ok(())
    });
    plan.step(
        "request the interrupt on CPU 1, and interrupt under every ID",
        async |rig: &Rig| match rig.request_ntb_irqs(1, 1).await {
            Err(ScenarioError::Irq(error)) if error.is_oops() => {
                rig.cpu.log(error.to_string());
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => rig.ring_under_every_id(0).await,
        },
    );
}

/// The NTB's IDs, those under which it sends and those that the kernel takes for its own, that are no function's and in
/// no alias entry.
fn not_ours(spec: &Spec) -> BTreeSet<RequesterId> {
    let topology = &spec.topology;
    let mut ids: BTreeSet<_> = topology.walk(kernel_version(&spec.profile)).into_iter().collect();
    ids.extend(topology.ids());
    let aliases = &topology.ivrs().aliases;
    let in_alias_entry: BTreeSet<_> = aliases
        .iter()
        .flat_map(|(device, alias)| [device, alias])
        .collect();
    ids.retain(|id| !topology.has(*id) && !in_alias_entry.contains(id));
    ids
}

/// Those of [`not_ours`] that the kernel learns of when it has probed all functions.
fn learned_late(spec: &Spec) -> BTreeSet<RequesterId> {
    let kernel = kernel_version(&spec.profile);
    let tree = spec.topology.tree(kernel);
    let mut cloned = spec.topology.walk_when_plugged_in(kernel);
    cloned.extend(tree.functions().flat_map(|function| tree.dma_aliases(function)));
    let mut late = not_ours(spec);
    late.retain(|id| spec.topology.walk(kernel).contains(id) && !cloned.contains(id));
    late
}

fn expected(spec: &Spec) -> Expected {
    if spec.profile.table_ids == TableIds::OwnAndIvrs {
        let coherent =
            Expected::coherent("the kernel has every DTE invalidated by the IOMMU of the function");
        return and_blocked_without_table(spec, coherent);
    }
    let late = learned_late(spec);
    if late.is_empty() {
        let coherent = Expected::coherent("clone_alias gave every alias the IOMMU of the function");
        return and_blocked_without_table(spec, coherent);
    }
    if spec.values.get(&IOMMU) == 0 {
        return Expected::finds(
            [FindingKind::Oops],
            "set_remap_table_entry_alias goes by the IOMMU of the alias, and nothing gives one to what final fixups find \
             after clone_alias",
        );
    }
    if flushes_everything(spec) {
        let coherent = Expected::coherent("the flush of the entry drops the DTEs of its aliases too");
        return and_blocked_without_table(spec, coherent);
    }
    let stale = late.iter().any(|id| spec.topology.ids().contains(id));
    let kinds = stale.then_some(FindingKind::Stale);
    let because = "set_remap_table_entry_alias invalidates the DTE of an alias on the IOMMU that the IVRS table lists it \
                   for, unless clone_alias has seen it; the IOMMU of the function keeps the one without a table";
    and_blocked_without_table(spec, Expected::finds(kinds, because))
}
