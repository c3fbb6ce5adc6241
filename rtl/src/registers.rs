//! Register map: byte offsets in configuration space and in BAR0.

/// Configuration space (Type 0; capabilities at fixed places).
pub mod config {
    /// Vendor ID, device ID.
    pub const ID: u16 = 0x00;
    /// Command \[15:0\], status \[31:16\].
    pub const COMMAND: u16 = 0x04;
    /// Revision \[7:0\], class code \[31:8\].
    pub const CLASS: u16 = 0x08;
    /// BAR0, low half: 64 bits, not prefetchable, 128 KiB.
    pub const BAR0: u16 = 0x10;
    /// BAR0, high half.
    pub const BAR0_HIGH: u16 = 0x14;
    /// Subsystem vendor ID, subsystem ID.
    pub const SUBSYSTEM: u16 = 0x2c;
    /// Offset of the first capability.
    pub const CAPABILITIES: u16 = 0x34;
    /// Interrupt line \[7:0\]; the pin is 0.
    pub const INTERRUPT: u16 = 0x3c;

    /// PCI Express capability.
    pub const PCIE: u16 = 0x40;
    /// Device Control \[15:0\], Device Status \[31:16\].
    pub const DEVICE_CONTROL: u16 = 0x48;

    /// MSI capability; Message Control in \[31:16\].
    pub const MSI: u16 = 0x80;
    /// Message address, low half.
    pub const MSI_ADDRESS: u16 = 0x84;
    /// Message address, high half.
    pub const MSI_ADDRESS_HIGH: u16 = 0x88;
    /// Message data \[15:0\].
    pub const MSI_DATA: u16 = 0x8c;
    /// Mask bits.
    pub const MSI_MASK: u16 = 0x90;
    /// Pending bits.
    pub const MSI_PENDING: u16 = 0x94;

    /// MSI-X capability; Message Control in \[31:16\].
    pub const MSIX: u16 = 0xa0;
    /// Table offset and BIR.
    pub const MSIX_TABLE: u16 = 0xa4;
    /// PBA offset and BIR.
    pub const MSIX_PBA: u16 = 0xa8;
}

/// Bytes of BAR0.
pub const BAR0_SIZE: u64 = 0x2_0000;
/// MSI-X vectors and doorbell bits.
pub const VECTORS: usize = 64;
/// Vectors of the MSI capability.
pub const MSI_VECTORS: usize = 32;
/// Scratchpad registers.
pub const SCRATCHPADS: usize = 16;
/// Most entries of the requester-ID table.
pub const MAX_TABLE_SIZE: usize = 512;

/// Reads [`IDENTIFICATION_VALUE`].
pub const IDENTIFICATION: u64 = 0x0000;
/// "NTB1".
pub const IDENTIFICATION_VALUE: u32 = 0x4e54_4231;
/// Version of the register map: 1.
pub const VERSION: u64 = 0x0004;
/// MSI-X vectors \[7:0\], MSI vectors \[15:8\], requester-ID table entries \[31:16\].
pub const CAPACITY: u64 = 0x0008;
/// \[0\]: idle, apart from this very read.
pub const IDLE: u64 = 0x000c;
/// Malformed TLPs dropped.
pub const MALFORMED: u64 = 0x0010;
/// Requests refused: unsupported, or against the programming model of BAR0.
pub const REFUSED: u64 = 0x0014;
/// Memory writes sent: MSI-X, MSI and the message block.
pub const SENT: u64 = 0x0018;
/// Completions that nobody asked for.
pub const UNEXPECTED_COMPLETIONS: u64 = 0x001c;
/// Poisoned TLPs dropped.
pub const POISONED: u64 = 0x0020;

/// Doorbell, write 1 to set, 64 bits. Bit `i` rings vector `i`.
pub const DOORBELL_SET: u64 = 0x0100;
/// Doorbell status, write 1 to clear, 64 bits.
pub const DOORBELL_STATUS: u64 = 0x0108;
/// Doorbell mask, 64 bits.
pub const DOORBELL_MASK: u64 = 0x0110;

/// Message block: address, low half.
pub const MESSAGE_ADDRESS: u64 = 0x0300;
/// Address, high half.
pub const MESSAGE_ADDRESS_HIGH: u64 = 0x0304;
/// Data.
pub const MESSAGE_DATA: u64 = 0x0308;
/// Requester ID \[15:0\].
pub const MESSAGE_REQUESTER_ID: u64 = 0x030c;
/// Write 1 to send; reads 1 while the message has not been sent.
pub const MESSAGE_SEND: u64 = 0x0310;

/// Own partition in \[15:8\] (Switchtec: byte 0x10001).
pub const TABLE_PARTITION: u64 = 0x1_0000;
/// Endpoint map: bit 1, the one peer partition.
pub const TABLE_ENDPOINT_MAP: u64 = 0x1_0004;
/// Entries of the requester-ID table \[15:0\].
pub const TABLE_SIZE: u64 = 0x1_601c;

/// Scratchpad `n`.
pub const fn scratchpad(n: usize) -> u64 {
    assert!(n < SCRATCHPADS);
    0x0200 + 4 * n as u64
}

/// Requester-ID policy of a vector: value \[15:0\], mode \[17:16\]
/// ([`RidMode::to_register`](crate::RidMode::to_register)).
pub const fn rid_policy(vector: usize) -> u64 {
    assert!(vector < VECTORS);
    0x0400 + 4 * vector as u64
}

/// MSI-X table entry of a vector: address, address high, data, vector control.
pub const fn msix_entry(vector: usize) -> u64 {
    assert!(vector < VECTORS);
    0x8000 + 16 * vector as u64
}

/// MSI-X pending bits, 64.
pub const MSIX_PENDING: u64 = 0x9000;

/// Entry of the requester-ID table: requester ID \[31:16\], proxy devfn \[8:1\], enable \[0\].
pub const fn table_entry(n: usize) -> u64 {
    assert!(n < MAX_TABLE_SIZE);
    0x1_6400 + 4 * n as u64
}
