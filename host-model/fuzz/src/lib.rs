//! What software and devices may do to the IOMMU, as one fuzz target.
//!
//! An [`Input`] is made of arbitrary bytes: register writes of any size, bytes of tables, rings and commands, requests,
//! and the order in which steps and fills happen. [`run`] does it all and panics if the IOMMU panics, does not come to
//! an end, or writes to guest memory where neither the registers nor a command told it to.
//!
//! The tests run the corpus in `corpus/` and random bytes. `make fuzz TIME=60` lets libFuzzer search for more, from
//! what it has in `target/fuzz/corpus` on, and `cargo run -p host-model-fuzz FILE` replays what it found.
//!
//! A file of the corpus means something else when an input is made of its bytes in another way. What libFuzzer has in
//! the end is then brought back by its options `-set_cover_merge=1 -use_counters=0`.

mod input;
mod memory;
mod run;
mod setup;

pub use input::Input;
pub use run::run;

use arbitrary::{Arbitrary, Unstructured};

impl Input {
    /// As libFuzzer does it; an error if the bytes do not suffice.
    pub fn from_bytes(bytes: &[u8]) -> arbitrary::Result<Self> {
        Self::arbitrary(&mut Unstructured::new(bytes))
    }
}
