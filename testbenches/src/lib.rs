//! Scenarios for an NTB behind an AMD IOMMU: run, traced, judged and reported. The `ntb-cosim` command is
//! [`cli::main`].

pub mod cli;
pub mod device;
pub mod lock_limit;
pub mod matrix;
mod pool;
pub mod report;
pub mod rig;
pub mod run;
pub mod scenario;
pub mod seeds;
mod shorten;
pub mod topology;
pub mod trace_file;
pub mod view;
