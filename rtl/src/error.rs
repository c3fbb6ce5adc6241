use sim_bridge::tlp::{DecodeError, EncodeError};

/// What can go wrong with the model of an NTB.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NtbError {
    /// The model refused its plusargs, an assertion of the RTL failed, or a trace can't be written.
    #[error("RTL: {0}")]
    Model(#[from] verilated::Error),
    /// The TLP offered has no encoding.
    #[error("TLP offered to the RTL: {0}")]
    Encode(#[from] EncodeError),
    /// The RTL sent what is no TLP, or one that no [`Tlp`](sim_bridge::tlp::Tlp) stands for.
    #[error("TLP sent by the RTL: {0}")]
    Decode(#[from] DecodeError),
    /// A TLP's beats are not one with `sop`, any number without flags, and one with `eop`.
    #[error("beat {beat} of a TLP {problem}")]
    Framing {
        /// Which, from 0.
        beat: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}
