//! What Rust and C++ have in common; `cpp/verilated_rs.h` and `cpp/verilated_rs_model.h` are the other side.

use std::ffi::{c_char, c_int, c_void};

/// A simulation, owned by C++.
#[repr(C)]
pub struct Sim {
    _opaque: [u8; 0],
}

/// Bit of a call's result: the simulation has ended.
pub const ENDED: u32 = 1;
/// Bit of a call's result: the model has displayed something.
pub const TEXT: u32 = 2;

/// The entry points of one design.
#[repr(C)]
pub struct Vtable {
    pub(crate) inputs_size: usize,
    pub(crate) outputs_size: usize,
    pub(crate) create: unsafe extern "C" fn(c_int, *const *const c_char) -> *mut Sim,
    pub(crate) destroy: unsafe extern "C" fn(*mut Sim),
    pub(crate) cycle: unsafe extern "C" fn(*mut Sim, u64, u64, *const c_void, *mut c_void) -> u32,
    pub(crate) eval: unsafe extern "C" fn(*mut Sim, u64, *const c_void, *mut c_void) -> u32,
    pub(crate) finish: unsafe extern "C" fn(*mut Sim) -> u32,
    pub(crate) trace_open: Option<unsafe extern "C" fn(*mut Sim, *const c_char) -> bool>,
    pub(crate) trace_flush: Option<unsafe extern "C" fn(*mut Sim) -> u32>,
    pub(crate) trace_close: Option<unsafe extern "C" fn(*mut Sim) -> u32>,
}

/// Why a simulation ended, as `Kind` in `verilated_rs.h`.
pub(crate) mod kind {
    pub const FINISH: u32 = 1;
    pub const STOP: u32 = 2;
    pub const ASSERTION: u32 = 3;
}

#[repr(C)]
pub(crate) struct End {
    pub kind: u32,
    pub line: u32,
    pub file: *const c_char,
    pub file_len: usize,
    pub message: *const c_char,
    pub message_len: usize,
}

#[repr(C)]
pub(crate) struct Text {
    pub data: *const c_char,
    pub len: usize,
}

unsafe extern "C" {
    pub(crate) fn verilated_rs_flags(sim: *const Sim) -> u32;
    pub(crate) fn verilated_rs_end(sim: *const Sim, end: *mut End);
    pub(crate) fn verilated_rs_text(sim: *const Sim, text: *mut Text);
    pub(crate) fn verilated_rs_clear_text(sim: *mut Sim);
}
