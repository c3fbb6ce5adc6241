//! Aliases: which there are, and how their DTEs follow the function's (Linux drivers/iommu/amd/iommu.c,
//! `setup_aliases`, `clone_alias`, `get_alias`).

use std::convert::Infallible;
use std::iter;
use std::ops::ControlFlow;

use sim_bridge::RequesterId;

use super::LinuxDriver;
use super::profile::{CloneAlias, CloneSource};
use crate::driver::DriverError;
use crate::machine::Cpu;
use crate::pci::Function;

/// One callback of `pci_for_each_dma_alias`.
pub(super) struct AliasStep {
    /// The function, or the bridge that makes the alias.
    pub(super) due_to: RequesterId,
    pub(super) alias: RequesterId,
}

impl LinuxDriver {
    /// `pci_for_each_dma_alias`.
    pub(super) fn alias_steps(&self, function: &Function) -> Vec<AliasStep> {
        let mut steps = Vec::new();
        let walked = self
            .tree
            .borrow()
            .for_each_dma_alias::<Infallible>(function, |due_to, alias| {
                steps.push(AliasStep {
                    due_to: due_to.id,
                    alias,
                });
                ControlFlow::Continue(())
            });
        let ControlFlow::Continue(()) = walked;
        steps
    }

    /// The IDs of `pci_for_each_dma_alias`.
    pub(super) fn dma_aliases(&self, function: &Function) -> Vec<RequesterId> {
        self.tree.borrow().dma_aliases(function)
    }

    /// The function's alias by firmware, unless it is the function.
    pub(super) fn ivrs_alias(&self, id: RequesterId) -> Option<RequesterId> {
        Some(self.ivrs.alias(id)).filter(|alias| *alias != id)
    }

    /// `setup_aliases`, or in its place the choice of one.
    pub(super) async fn setup_aliases(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        if self.profile.clone_alias == CloneAlias::OneAlias {
            let one = self.one_alias(id)?;
            // What firmware doesn't list is set up here.
            if self.ivrs_alias(id).is_none() && self.rlookup(one).is_none() {
                self.set_rlookup(one, self.rlookup(id));
                self.copy_dte(cpu, id, one);
            }
            return Ok(());
        }
        self.add_ivrs_alias_on_bus(id);
        self.clone_aliases(cpu, id).await
    }

    fn add_ivrs_alias_on_bus(&self, id: RequesterId) {
        if let Some(alias) = self.ivrs_alias(id)
            && alias.bus() == id.bus()
            && let Some(function) = self.tree.borrow_mut().get_mut(id)
        {
            function.dma_aliases.insert(alias.devfn());
        }
    }

    /// `get_alias`: the last of `pci_for_each_dma_alias`, unless firmware says otherwise.
    pub(super) fn one_alias(&self, id: RequesterId) -> Result<RequesterId, DriverError> {
        let function = self.function(id)?;
        let last = self.dma_aliases(&function).pop().unwrap_or(id);
        match self.ivrs_alias(id) {
            None => Ok(last),
            Some(alias) if last == id => {
                self.add_ivrs_alias_on_bus(id);
                Ok(alias)
            }
            Some(alias) => Ok(alias),
        }
    }

    /// `clone_aliases`: the IVRS alias, which need not be a DMA alias, then all DMA aliases but the own ID.
    pub(super) async fn clone_aliases(&self, cpu: &Cpu, id: RequesterId) -> Result<(), DriverError> {
        let function = self.function(id)?;
        let ivrs = AliasStep {
            due_to: id,
            alias: self.ivrs.alias(id),
        };
        for step in iter::once(ivrs).chain(self.alias_steps(&function)) {
            self.clone_alias(cpu, id, step).await;
        }
        Ok(())
    }

    async fn clone_alias(&self, cpu: &Cpu, id: RequesterId, AliasStep { due_to, alias }: AliasStep) {
        let from = |source| match source {
            CloneSource::Function => id,
            CloneSource::Walked => due_to,
        };
        match self.profile.clone_alias {
            CloneAlias::OneAlias => {}
            CloneAlias::CopiesEntry(source) => {
                let from = from(source);
                if from != alias && self.set_owner_of_alias(from, alias) {
                    self.copy_dte(cpu, from, alias);
                }
            }
            CloneAlias::UpdatesEntry(source) => {
                let from = from(source);
                if from != alias && self.set_owner_of_alias(from, alias) {
                    self.find_dev_data(alias, |_| ());
                    let raw = self.dte(cpu, from);
                    self.update_dte256(cpu, alias, raw).await;
                }
            }
        }
    }

    /// An alias has the IOMMU of what its DTE is copied from. False where that has none, which ends it in versions that
    /// look.
    fn set_owner_of_alias(&self, from: RequesterId, alias: RequesterId) -> bool {
        let owner = self.rlookup(from);
        if self.profile.pci_segments && owner.is_none() {
            return false;
        }
        self.set_rlookup(alias, owner);
        true
    }

    /// The whole entry, by `memcpy`.
    fn copy_dte(&self, cpu: &Cpu, from: RequesterId, to: RequesterId) {
        let raw = self.dte(cpu, from);
        self.store_dte(cpu, to, 0, &raw, 1);
    }
}
