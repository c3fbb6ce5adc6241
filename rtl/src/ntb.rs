use std::collections::VecDeque;
use std::path::Path;

use sim_bridge::SimTime;
use sim_bridge::tlp::Tlp;
use verilated::{Model, Options};

use crate::model::ntb::{Inputs, Outputs, Ports};
use crate::model::{ntb, ntb_trace};
use crate::stream::{self, Assembler, Beat};
use crate::{NtbConfig, NtbError};

/// A Verilated NTB.
pub struct Ntb {
    model: Model<Ports>,
    inputs: Inputs,
    outputs: Outputs,
    offered: VecDeque<Beat>,
    /// The first beat of `offered` is on the inputs and must stay there.
    presented: bool,
    hold_input: bool,
    assembler: Assembler,
}

impl Ntb {
    /// One that has just been reset, at time 0.
    ///
    /// # Errors
    ///
    /// The RTL refuses a setting; the message names its plusarg.
    pub fn new(config: &NtbConfig) -> Result<Self, NtbError> {
        Self::with_plusargs(config.plusargs())
    }

    /// [`new`](Self::new) with any plusargs; what they do not say is as the RTL's parameters have it.
    pub fn with_plusargs(args: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, NtbError> {
        Self::of(Model::new(&ntb::DESIGN, Options::new().plusargs(args))?)
    }

    /// One that writes an FST trace; several times slower.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new), or the file can't be written.
    pub fn with_waves(config: &NtbConfig, path: impl AsRef<Path>) -> Result<Self, NtbError> {
        let mut model = Model::new(&ntb_trace::DESIGN, Options::new().plusargs(config.plusargs()))?;
        model.open_trace(path)?;
        Self::of(model)
    }

    fn of(model: Model<Ports>) -> Result<Self, NtbError> {
        let mut ntb = Self {
            model,
            inputs: Inputs {
                tx_ready_i: true,
                ..Inputs::default()
            },
            outputs: Outputs::default(),
            offered: VecDeque::new(),
            presented: false,
            hold_input: false,
            assembler: Assembler::default(),
        };
        ntb.reset()?;
        Ok(ntb)
    }

    /// A reset, without time passing. What is offered and not taken, or sent in part, is lost.
    pub fn reset(&mut self) -> Result<(), NtbError> {
        self.offered.clear();
        self.presented = false;
        self.inputs.rx_valid_i = false;
        self.assembler = Assembler::default();
        // It is asynchronous: its edge is enough.
        for rst_ni in [true, false, true] {
            self.inputs.rst_ni = rst_ni;
            self.model.eval(&self.inputs, &mut self.outputs)?;
        }
        Ok(())
    }

    /// Queues a TLP for the input.
    pub fn offer(&mut self, tlp: &Tlp) -> Result<(), NtbError> {
        stream::split(tlp, &mut self.offered)
    }

    /// Queues the beats of one TLP, which may be malformed in any other way.
    pub fn offer_beats(&mut self, beats: &[Beat]) -> Result<(), NtbError> {
        stream::check_framing(beats)?;
        self.offered.extend(beats);
        Ok(())
    }

    /// While true, no further beat is put on the input. One that is there already stays until it is taken.
    pub fn hold_input(&mut self, hold: bool) {
        self.hold_input = hold;
    }

    /// Whether the host takes what the RTL sends; true at first.
    pub fn set_output_ready(&mut self, ready: bool) {
        self.inputs.tx_ready_i = ready;
    }

    /// One clock cycle with its rising edge at `time`, which must be later than the one before. The TLP is the one
    /// whose last beat was taken at that edge.
    pub fn cycle(&mut self, time: SimTime) -> Result<Option<Tlp>, NtbError> {
        match self.cycle_beat(time)? {
            Some(beat) => self.assembler.push(&beat),
            None => Ok(None),
        }
    }

    /// [`cycle`](Self::cycle) for TLPs that no [`Tlp`] stands for: the beat that was taken at the edge.
    #[inline]
    pub fn cycle_beat(&mut self, time: SimTime) -> Result<Option<Beat>, NtbError> {
        if !self.presented
            && !self.hold_input
            && let Some(beat) = self.offered.front()
        {
            self.inputs.rx_valid_i = true;
            self.inputs.rx_sop_i = beat.sop;
            self.inputs.rx_eop_i = beat.eop;
            self.inputs.rx_hdr_i = header_words(&beat.header);
            self.inputs.rx_data_i = data_words(&beat.data);
            self.presented = true;
        }
        self.model
            .cycle_at(time.as_ps(), &self.inputs, &mut self.outputs)?;
        if self.presented && self.outputs.rx_ready_o {
            self.offered.pop_front();
            self.presented = false;
            self.inputs.rx_valid_i = false;
        }
        let out = &self.outputs;
        Ok((out.tx_valid_o && self.inputs.tx_ready_i).then(|| Beat {
            sop: out.tx_sop_o,
            eop: out.tx_eop_o,
            header: header_bytes(out.tx_hdr_o),
            data: data_bytes(out.tx_data_o),
        }))
    }

    /// True when further clock cycles change nothing until something is offered: nothing is queued for the input, and
    /// the RTL was idle at the last edge.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.outputs.idle_o && self.offered.is_empty()
    }

    /// Brings the trace file up to date.
    ///
    /// # Errors
    ///
    /// No trace is open.
    pub fn flush_waves(&mut self) -> Result<(), NtbError> {
        Ok(self.model.flush_trace()?)
    }
}

/// Header byte 0 is the highest byte of the port, whose lowest word comes first.
fn header_words(bytes: &[u8; 16]) -> [u32; 4] {
    let value = u128::from_be_bytes(*bytes);
    [
        value as u32,
        (value >> 32) as u32,
        (value >> 64) as u32,
        (value >> 96) as u32,
    ]
}

fn header_bytes([a, b, c, d]: [u32; 4]) -> [u8; 16] {
    (u128::from(d) << 96 | u128::from(c) << 64 | u128::from(b) << 32 | u128::from(a)).to_be_bytes()
}

/// Payload byte `k` is bits `8 k + 7` to `8 k`.
fn data_words(bytes: &[u8; stream::BEAT_BYTES]) -> [u32; 8] {
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_le_bytes(words[i]))
}

fn data_bytes(words: [u32; 8]) -> [u8; stream::BEAT_BYTES] {
    std::array::from_fn(|i| words[i / 4].to_le_bytes()[i % 4])
}
