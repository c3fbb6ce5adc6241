use sim_bridge::RequesterId;

/// Under which requester ID a vector's message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RidMode {
    /// The device's own.
    #[default]
    Own,
    /// That of an entry of the requester-ID table; the own one where there is no such entry.
    TableEntry(u16),
    /// Any.
    Given(RequesterId),
    /// Those of the table's entries in turn, over all vectors in this mode.
    RoundRobin,
}

impl RidMode {
    /// As the policy registers have it ([`registers::rid_policy`](crate::registers::rid_policy)).
    pub const fn to_register(self) -> u32 {
        let (mode, value) = match self {
            Self::Own => (0, 0),
            Self::TableEntry(entry) => (1, entry),
            Self::Given(rid) => (2, rid.0),
            Self::RoundRobin => (3, 0),
        };
        mode << 16 | value as u32
    }
}

/// What an NTB is before software touches it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NtbConfig {
    /// Configuration offset 0x00.
    pub vendor_id: u16,
    /// Configuration offset 0x02.
    pub device_id: u16,
    /// 24 bits: base class, subclass, interface.
    pub class_code: u32,
    /// Subsystem vendor ID and subsystem ID; those of the device where it has none of its own.
    pub subsystem: Option<(u16, u16)>,
    /// Entries of the requester-ID table, at most 512.
    pub table_size: u16,
    /// Entry `i` of the table is devfn `table_first_devfn + i`, modulo 256.
    pub table_first_devfn: u8,
    /// Policy of every vector after reset.
    pub rid_mode: RidMode,
}

/// A Switchtec NTB without aliases.
impl Default for NtbConfig {
    fn default() -> Self {
        Self {
            vendor_id: 0x11f8,
            device_id: 0x8531,
            class_code: 0x06_8000,
            subsystem: None,
            table_size: 0,
            table_first_devfn: 0,
            rid_mode: RidMode::Own,
        }
    }
}

impl NtbConfig {
    /// As the model's plusargs.
    pub fn plusargs(&self) -> Vec<String> {
        let policy = self.rid_mode.to_register();
        let (subsystem_vendor_id, subsystem_id) = self.subsystem.unwrap_or((self.vendor_id, self.device_id));
        vec![
            format!("+vendor_id={:x}", self.vendor_id),
            format!("+device_id={:x}", self.device_id),
            format!("+class_code={:x}", self.class_code),
            format!("+subsystem_vendor_id={subsystem_vendor_id:x}"),
            format!("+subsystem_id={subsystem_id:x}"),
            format!("+table_size={}", self.table_size),
            format!("+table_first_devfn={:x}", self.table_first_devfn),
            format!("+rid_mode={:x}", policy >> 16),
            format!("+rid_value={:x}", policy & 0xffff),
        ]
    }
}
