//! What can go wrong with a link.

use std::io;
use std::time::Duration;

use crate::SimTime;
use crate::tlp::{DecodeError, EncodeError};

/// Why a link can't be opened, or went wrong. `place` is the path of a named link, otherwise what carries it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A setting that no link can have.
    #[error("link setting {setting} is {value}: must be {must_be}")]
    Setting {
        /// Name of the field of `LinkConfig`.
        setting: &'static str,
        /// As given.
        value: String,
        /// What it can be.
        must_be: &'static str,
    },
    /// The operating system refused.
    #[error("{place}: can't {action}: {source}")]
    Io {
        /// The link.
        place: String,
        /// What was to be done.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// What is there is no link of this program.
    #[error("{place} is not a link: {why}")]
    NotALink {
        /// The link.
        place: String,
        /// How that is known.
        why: String,
    },
    /// The file is shorter than its header says.
    #[error("{place}: the link is cut off: {have} bytes, must be {need}")]
    Truncated {
        /// The link.
        place: String,
        /// Length of the file in bytes.
        have: u64,
        /// Length that it should have.
        need: u64,
    },
    /// The other side speaks another version of the link.
    #[error("{place}: the other side has version {theirs} of the link, this side has version {ours}")]
    Version {
        /// The link.
        place: String,
        /// Version of the other side.
        theirs: u64,
        /// Version of this side.
        ours: u64,
    },
    /// Two sides use the link already, or another process creates one at the same path.
    #[error("{place}: the link is already in use")]
    InUse {
        /// The link.
        place: String,
    },
    /// The other side did not come.
    #[error("{place}: the other side did not come within {waited:?}{detail}")]
    TimedOut {
        /// The link.
        place: String,
        /// How long this side waited.
        waited: Duration,
        /// What was there instead; may be empty.
        detail: &'static str,
    },
    /// The other side was killed, panicked, or left without ending the link.
    #[error("{peer} died: the link broke without being ended")]
    PeerDied {
        /// Name of the other side.
        peer: String,
    },
    /// The shared memory holds what the other side can't have written.
    #[error("link to {peer}: the shared memory is corrupt: {what}{}", slot.map(|s| format!(" in slot {s}")).unwrap_or_default())]
    Corrupt {
        /// Name of the other side.
        peer: String,
        /// What is wrong.
        what: &'static str,
        /// Slot of the ring, counted from the start of the link, if it is about one.
        slot: Option<u64>,
    },
    /// What the other side sent is no TLP.
    #[error("link to {peer}: received what is no TLP: {source}")]
    Decode {
        /// Name of the other side.
        peer: String,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The TLP to send has no encoding.
    #[error("can't send the TLP: {0}")]
    Encode(#[from] EncodeError),
    /// The other side sent something that arrives earlier than it had promised.
    #[error("{peer} broke its promise: something arrives at {at}, nothing was to arrive before {promised}")]
    PeerBrokePromise {
        /// Name of the other side.
        peer: String,
        /// Time of arrival.
        at: SimTime,
        /// Earliest time of arrival that it had promised.
        promised: SimTime,
    },
    /// This side sends or ends earlier than it may.
    #[error("can't send at {now}: nothing was to be sent before {promised}")]
    OwnPromise {
        /// Time of sending.
        now: SimTime,
        /// What this side sent last or promised.
        promised: SimTime,
    },
    /// The time of arrival can't be expressed.
    #[error("can't send at {0}: simulated time ends there")]
    EndOfTime(SimTime),
    /// This side has ended the link already.
    #[error("this side has ended the link already")]
    Ended,
}
