//! The RTL, through its TLP streams.

mod configuration;
mod device;
mod errors;
mod harness;
mod interrupts;
mod malformed;
mod message_block;
mod msi;
mod parameters;
mod properties;
mod registers;
mod requester_ids;
mod wave;
