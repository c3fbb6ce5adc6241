//! The TLP codec.

mod golden;
mod properties;
