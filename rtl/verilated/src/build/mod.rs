//! Builds models, from `build.rs`.

mod classes;
mod compile;
mod cxx;
mod error;
mod generate;
mod manifest;
mod messages;
mod model;
mod ports;
mod verilator;

pub use error::Error;
pub use messages::{Message, Severity};
pub use model::{Built, Model, Value};
pub use ports::{Direction, Port, PortError};
pub use verilator::{OLDEST, Verilator, VerilatorError, Version};
