//! What runs, what overflowed, and what wants an interrupt.

use bitfield_struct::bitfield;

/// IOMMU Status register.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// Write 1 to clear: the event log had no room.
    pub event_overflow: bool,
    /// Write 1 to clear: an event was written.
    pub event_log_int: bool,
    /// Write 1 to clear: a COMPLETION_WAIT with its interrupt bit completed.
    pub com_wait_int: bool,
    /// Read-only: events are written.
    pub event_log_run: bool,
    /// Read-only: commands are fetched.
    pub cmd_buf_run: bool,
    /// Write 1 to clear: the PPR log had no room.
    pub ppr_overflow: bool,
    /// Write 1 to clear: a PPR was written.
    pub ppr_int: bool,
    /// Read-only: PPRs are written.
    pub ppr_log_run: bool,
    /// Read-only: GA log entries are written.
    pub ga_log_run: bool,
    /// Write 1 to clear: the GA log had no room.
    pub ga_log_overflow: bool,
    /// Write 1 to clear: a GA log entry was written.
    pub ga_log_int: bool,
    /// Write 1 to clear: PPR log B had no room.
    pub ppr_overflow_b: bool,
    /// Read-only: which of two PPR logs is written.
    pub ppr_log_active: bool,
    #[bits(2)]
    __: u8,
    /// Write 1 to clear: event log B had no room.
    pub event_overflow_b: bool,
    /// Read-only: which of two event logs is written.
    pub event_log_active: bool,
    /// Write 1 to clear: PPR log B will soon have no room.
    pub ppr_overflow_early_b: bool,
    /// Write 1 to clear: the PPR log will soon have no room.
    pub ppr_overflow_early: bool,
    #[bits(45)]
    __: u64,
}

impl Status {
    /// Bits that are cleared by writing 1. Those of second logs and early warnings are never set here.
    pub const WRITE_1_TO_CLEAR: u64 = 0x6_8e67;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_linux_reads_them() {
        // linux drivers/iommu/amd/amd_iommu_types.h MMIO_STATUS_*.
        let golden = [
            (Status::new().with_event_overflow(true), 0),
            (Status::new().with_event_log_int(true), 1),
            (Status::new().with_com_wait_int(true), 2),
            (Status::new().with_event_log_run(true), 3),
            (Status::new().with_cmd_buf_run(true), 4),
            (Status::new().with_ppr_overflow(true), 5),
            (Status::new().with_ppr_int(true), 6),
            (Status::new().with_ppr_log_run(true), 7),
            (Status::new().with_ga_log_run(true), 8),
            (Status::new().with_ga_log_overflow(true), 9),
            (Status::new().with_ga_log_int(true), 10),
        ];
        for (status, bit) in golden {
            assert_eq!(status.into_bits(), 1 << bit);
        }
    }

    #[test]
    fn what_runs_is_not_cleared_by_writing() {
        let read_only = Status::new()
            .with_event_log_run(true)
            .with_cmd_buf_run(true)
            .with_ppr_log_run(true)
            .with_ga_log_run(true)
            .with_ppr_log_active(true)
            .with_event_log_active(true);
        assert_eq!(read_only.into_bits() & Status::WRITE_1_TO_CLEAR, 0);
        // With those and two reserved bits, it is all there is up to bit 18.
        let rest = read_only.into_bits() | 3 << 13;
        assert_eq!(rest | Status::WRITE_1_TO_CLEAR, (1 << 19) - 1);
    }

    #[test]
    fn unknown_bits_survive_a_round_trip() {
        assert_eq!(Status::from_bits(u64::MAX).into_bits(), u64::MAX);
    }
}
