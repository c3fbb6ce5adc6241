//! Builds, drives and traces [Verilator](https://verilator.org) 5 models.
//!
//! - Feature `build`: [`build::Model`], for `build.rs`, turns (System)Verilog into a static library and Rust types.
//! - Feature `run`: [`Model`] drives such a design, one call for each clock cycle. `fst` adds FST traces.
//!
//! The README shows both.

#[cfg(feature = "build")]
pub mod build;
#[cfg(feature = "run")]
mod run;

#[cfg(feature = "run")]
pub use run::{Design, Ended, Error, Model, Options, Output, Ports, ffi};

/// Includes a design that `build.rs` has built: a module of the design's name, with `Inputs`, `Outputs` and `DESIGN`.
#[cfg(feature = "run")]
#[macro_export]
macro_rules! include_model {
    ($name:literal) => {
        include!(concat!(env!("OUT_DIR"), "/verilated/", $name, "/model.rs"));
    };
}
