//! The RTL of an NTB (`sv/`), Verilated: [`Ntb`] takes and gives TLPs, one call for each clock cycle.
//!
//! [`device::run`] makes it one side of a [link](sim_bridge::link); [`registers`] has the register map.

mod config;
pub mod device;
mod error;
mod ntb;
pub mod registers;
pub mod stream;

pub use config::{NtbConfig, RidMode};
pub use error::NtbError;
pub use ntb::Ntb;

#[allow(
    unused_imports,
    reason = "both builds have the same ports, and one set of types is used"
)]
mod model {
    verilated::include_model!("ntb");
    verilated::include_model!("ntb_trace");
}
