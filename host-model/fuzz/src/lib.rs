//! What software and devices may do to the IOMMU, as one fuzz target.
//!
//! An [`Input`] is made of arbitrary bytes: register writes of any size, bytes of tables, rings and commands, requests,
//! and the order in which steps and fills happen. [`run`] does it all and panics if the IOMMU panics, does not come to
//! an end, or writes to guest memory where neither the registers nor a command told it to.
//!
//! The tests run the corpus in `corpus/` and random bytes. `make fuzz TIME=60` lets libFuzzer search for more, and
//! `cargo run -p host-model-fuzz FILE` replays what it found.

mod input;
mod memory;
mod run;
mod setup;

pub use input::Input;
pub use run::run;

use arbitrary::{Arbitrary, Unstructured};

impl Input {
    /// As libFuzzer's; what is missing is 0.
    pub fn from_bytes(bytes: &[u8]) -> arbitrary::Result<Self> {
        Self::arbitrary_take_rest(Unstructured::new(bytes))
    }
}
