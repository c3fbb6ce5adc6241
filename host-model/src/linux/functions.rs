//! The driver's functions by their names in the kernel's source.

use super::Profile;
use super::profile::{CloneAlias, LockSections};
use crate::driver::Role;

impl Profile {
    /// Whose IOMMU an ID is.
    pub(super) fn rlookup_table(&self) -> &'static str {
        match self.pci_segments {
            true => "rlookup_table",
            false => "amd_iommu_rlookup_table",
        }
    }

    /// The function that does this.
    pub(super) fn function(&self, role: Role) -> Option<&'static str> {
        Some(match role {
            Role::FlushIrte => match self.irt_flush.sections {
                LockSections::Two => "iommu_flush_irt",
                LockSections::One => "iommu_flush_irt_and_complete",
            },
            Role::FlushDte => "device_flush_dte",
            Role::FlushPages if BEFORE_RENAMING.iter().any(|old| self.release.starts_with(old)) => {
                "domain_flush_pages"
            }
            Role::FlushPages => "amd_iommu_domain_flush_pages",
            Role::CloneDte => match self.clone_alias {
                CloneAlias::OneAlias => "get_alias",
                CloneAlias::CopiesEntry(_) | CloneAlias::UpdatesEntry(_) => "clone_aliases",
            },
            Role::SetTable => "set_remap_table_entry",
            Role::Call(call) => {
                return CALLS
                    .iter()
                    .find(|(name, _)| *name == call)
                    .map(|(_, function)| *function);
            }
        })
    }
}

/// Versions whose function for a domain has the old name.
const BEFORE_RENAMING: [&str; 4] = ["5.4", "5.10", "6.1.", "6.6"];

/// Calls of the driver, and what the kernel calls for them.
const CALLS: [(&str, &str); 14] = [
    ("enable", "early_enable_iommus"),
    ("take_devices", "amd_iommu_init_pci"),
    ("probe", "amd_iommu_probe_device"),
    ("allocate", "irq_remapping_alloc"),
    ("activate", "irq_remapping_activate"),
    ("set_affinity", "amd_ir_set_affinity"),
    ("deactivate", "irq_remapping_deactivate"),
    ("free", "irq_remapping_free"),
    ("release", "amd_iommu_release_device"),
    ("activate_guest_mode", "amd_iommu_activate_guest_mode"),
    ("deactivate_guest_mode", "amd_iommu_deactivate_guest_mode"),
    ("update_guest", "amd_iommu_update_ga"),
    ("suspend", "amd_iommu_suspend"),
    ("resume", "amd_iommu_resume"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_the_names_of_their_version() {
        let rows = [
            ("6.1", Role::FlushIrte, Some("iommu_flush_irt")),
            ("6.12", Role::FlushIrte, Some("iommu_flush_irt_and_complete")),
            ("6.1", Role::FlushPages, Some("domain_flush_pages")),
            ("6.12", Role::FlushPages, Some("amd_iommu_domain_flush_pages")),
            ("7.2", Role::FlushDte, Some("device_flush_dte")),
            ("5.4.16", Role::CloneDte, Some("get_alias")),
            ("6.12", Role::CloneDte, Some("clone_aliases")),
            ("7.2", Role::SetTable, Some("set_remap_table_entry")),
            ("7.2", Role::Call("set_affinity"), Some("amd_ir_set_affinity")),
            ("7.2", Role::Call("something else"), None),
        ];
        for (name, role, expected) in rows {
            let profile: Profile = name.parse().expect("a profile");
            assert_eq!(profile.function(role), expected, "{name} {role:?}");
        }
    }
}
