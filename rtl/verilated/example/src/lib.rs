//! A design other than the NTB under the crate `verilated`: its test bed.

// What this declares is documented by whoever generates it.
verilated::include_model!("widths");
verilated::include_model!("widths_traced");
