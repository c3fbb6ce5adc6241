//! Drives models.

mod error;
#[doc(hidden)]
pub mod ffi;
mod model;
mod options;

pub use error::{Ended, Error};
pub use model::{Design, Model, Ports};
pub use options::{Options, Output};
