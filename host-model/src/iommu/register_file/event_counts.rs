//! What was reported, by code, whether or not the log took it.

use super::super::spec::event::Event;

/// Events since reset, by code. Those of a log that does not run or is full are among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCounts {
    /// ILLEGAL_DEV_TABLE_ENTRY.
    pub illegal_dev_table_entry: u64,
    /// IO_PAGE_FAULT.
    pub io_page_fault: u64,
    /// DEV_TAB_HARDWARE_ERROR: a device table outside of memory.
    pub dev_tab_hardware_error: u64,
    /// PAGE_TAB_HARDWARE_ERROR: page tables, an interrupt remapping table or a vAPIC backing page outside of memory.
    pub page_tab_hardware_error: u64,
    /// ILLEGAL_COMMAND_ERROR: commands that stopped the command buffer.
    pub illegal_command_error: u64,
    /// COMMAND_HARDWARE_ERROR: a command buffer or store outside of memory, which stopped the command buffer.
    pub command_hardware_error: u64,
    /// IOTLB_INV_TIMEOUT.
    pub iotlb_inv_timeout: u64,
    /// INVALID_DEVICE_REQUEST.
    pub invalid_device_request: u64,
    /// INVALID_PPR_REQUEST.
    pub invalid_ppr_request: u64,
    /// RMP_PAGE_FAULT and RMP_HARDWARE_ERROR, which an IOMMU without secure nested paging never has.
    pub reverse_map: u64,
}

impl EventCounts {
    pub(super) fn count(&mut self, event: &Event) {
        let counter = match event {
            Event::IllegalDevTableEntry { .. } => &mut self.illegal_dev_table_entry,
            Event::IoPageFault { .. } => &mut self.io_page_fault,
            Event::DevTabHardwareError { .. } => &mut self.dev_tab_hardware_error,
            Event::PageTabHardwareError { .. } => &mut self.page_tab_hardware_error,
            Event::IllegalCommandError { .. } => &mut self.illegal_command_error,
            Event::CommandHardwareError { .. } => &mut self.command_hardware_error,
            Event::IotlbInvTimeout { .. } => &mut self.iotlb_inv_timeout,
            Event::InvalidDeviceRequest { .. } => &mut self.invalid_device_request,
            Event::InvalidPprRequest { .. } => &mut self.invalid_ppr_request,
            Event::RmpPageFault { .. } | Event::RmpHardwareError { .. } => &mut self.reverse_map,
        };
        *counter += 1;
    }
}
