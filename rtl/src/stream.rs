//! TLPs as the beats of the RTL's streams: 128 bits of header, 256 bits of data.

use sim_bridge::tlp::{MAX_ENCODED, Tlp, decode, encode};

use crate::NtbError;

/// Payload bytes in a beat.
pub const BEAT_BYTES: usize = 32;

/// One beat, as `pcie_pkg::beat_t` in the RTL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beat {
    /// First of a TLP.
    pub sop: bool,
    /// Last of a TLP.
    pub eop: bool,
    /// Header in wire order; the last DW of a header of three is 0. Counts with `sop` only.
    pub header: [u8; 16],
    /// Payload in the order of memory. A digest follows the payload.
    pub data: [u8; BEAT_BYTES],
}

/// The beats of a TLP, appended to `beats`.
pub fn split(tlp: &Tlp, beats: &mut impl Extend<Beat>) -> Result<(), NtbError> {
    let mut bytes = Vec::with_capacity(16 + BEAT_BYTES);
    encode(tlp, &mut bytes)?;
    let (head, data) = bytes.split_at(tlp.header_len());
    let mut header = [0; 16];
    header[..head.len()].copy_from_slice(head);
    let count = data.len().div_ceil(BEAT_BYTES).max(1);
    beats.extend((0..count).map(|i| {
        let chunk = &data[i * BEAT_BYTES..data.len().min((i + 1) * BEAT_BYTES)];
        let mut beat = Beat {
            sop: i == 0,
            eop: i + 1 == count,
            header: [0; 16],
            data: [0; BEAT_BYTES],
        };
        if beat.sop {
            beat.header = header;
        }
        beat.data[..chunk.len()].copy_from_slice(chunk);
        beat
    }));
    Ok(())
}

/// Refuses beats that are not exactly one TLP's by their flags.
pub fn check_framing(beats: &[Beat]) -> Result<(), NtbError> {
    if beats.is_empty() {
        return Err(NtbError::Framing {
            beat: 0,
            problem: "is missing",
        });
    }
    for (i, beat) in beats.iter().enumerate() {
        let last = i + 1 == beats.len();
        let problem = match (beat.sop, beat.eop) {
            (false, _) if i == 0 => "has no sop",
            (true, _) if i != 0 => "has a second sop",
            (_, false) if last => "has no eop",
            (_, true) if !last => "has eop before the end",
            _ => continue,
        };
        return Err(NtbError::Framing { beat: i, problem });
    }
    Ok(())
}

/// Puts TLPs together from beats.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
    beats: usize,
}

impl Assembler {
    /// Takes a beat; the last one of a TLP gives that.
    pub fn push(&mut self, beat: &Beat) -> Result<Option<Tlp>, NtbError> {
        let index = self.beats;
        let error = |problem| Err(NtbError::Framing { beat: index, problem });
        match (beat.sop, index) {
            (false, 0) => return error("has no sop"),
            (true, 1..) => return error("has a second sop"),
            _ => {}
        }
        if beat.sop {
            let four_dw = beat.header[0] & 0x20 != 0;
            self.bytes
                .extend_from_slice(&beat.header[..if four_dw { 16 } else { 12 }]);
        }
        self.beats += 1;
        // A TLP without data has one beat all the same.
        let need = self.encoded_len();
        let have = (self.bytes.len() + BEAT_BYTES).min(need.max(self.bytes.len()));
        self.bytes
            .extend_from_slice(&beat.data[..have - self.bytes.len()]);
        if !beat.eop {
            if self.bytes.len() >= need {
                return error("is the last by the header's length, but has no eop");
            }
            return Ok(None);
        }
        let tlp = decode(&self.bytes)?;
        self.bytes.clear();
        self.beats = 0;
        Ok(Some(tlp))
    }

    /// True between the beats of a TLP.
    pub fn is_inside(&self) -> bool {
        self.beats != 0
    }

    /// Length that the header gives: header, payload and digest.
    fn encoded_len(&self) -> usize {
        let [fmt_type, _, flags, low, ..] = self.bytes[..] else {
            return 0;
        };
        let header = if fmt_type & 0x20 != 0 { 16 } else { 12 };
        let length = usize::from(flags & 3) << 8 | usize::from(low);
        let payload = match (fmt_type & 0x40 != 0, length) {
            (false, _) => 0,
            (true, 0) => 4096,
            (true, dw) => dw * 4,
        };
        let digest = if flags & 0x80 != 0 { 4 } else { 0 };
        (header + payload + digest).min(MAX_ENCODED)
    }
}

#[cfg(test)]
mod tests {
    use sim_bridge::RequesterId;

    use super::*;

    fn write(bytes: usize) -> Tlp {
        let data: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
        Tlp::mem_write(RequesterId(0x0100), 0x1_0000_0000, &data).unwrap()
    }

    #[test]
    fn header_byte_0_comes_first_and_payload_starts_in_the_first_beat() {
        let mut beats = Vec::new();
        split(&write(36), &mut beats).unwrap();
        assert_eq!(beats.len(), 2);
        assert_eq!(
            beats[0].header,
            [0x60, 0, 0, 9, 1, 0, 0, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]
        );
        assert_eq!(beats[0].data[..4], [0, 1, 2, 3]);
        assert_eq!(beats[1].data[..5], [32, 33, 34, 35, 0]);
        assert_eq!(
            beats.iter().map(|b| (b.sop, b.eop)).collect::<Vec<_>>(),
            [(true, false), (false, true)]
        );
    }

    #[test]
    fn beats_join_to_the_tlp_that_was_split() {
        let mut read = Tlp::mem_read(RequesterId(1), 5, 0x1000, 8).unwrap();
        read.attributes.digest = Some(0x0102_0304);
        for tlp in [write(1), write(32), write(64), write(4096), read] {
            let mut beats = Vec::new();
            split(&tlp, &mut beats).unwrap();
            check_framing(&beats).unwrap();
            let mut assembler = Assembler::default();
            let joined: Vec<_> = beats.iter().filter_map(|b| assembler.push(b).unwrap()).collect();
            assert_eq!(joined, [tlp]);
        }
    }

    #[test]
    fn wrong_flags_are_refused_with_the_beat() {
        let mut beats = Vec::new();
        split(&write(96), &mut beats).unwrap();
        let refused = |change: fn(&mut Vec<Beat>)| {
            let mut beats = beats.clone();
            change(&mut beats);
            check_framing(&beats).unwrap_err().to_string()
        };
        assert_eq!(refused(|b| b.clear()), "beat 0 of a TLP is missing");
        assert_eq!(refused(|b| b[0].sop = false), "beat 0 of a TLP has no sop");
        assert_eq!(refused(|b| b[1].sop = true), "beat 1 of a TLP has a second sop");
        assert_eq!(
            refused(|b| b[1].eop = true),
            "beat 1 of a TLP has eop before the end"
        );
        assert_eq!(refused(|b| b[2].eop = false), "beat 2 of a TLP has no eop");
    }

    #[test]
    fn a_tlp_sent_with_too_few_or_too_many_beats_is_refused() {
        let mut beats = Vec::new();
        split(&write(96), &mut beats).unwrap();
        beats[1].eop = true;
        let mut assembler = Assembler::default();
        assembler.push(&beats[0]).unwrap();
        assert!(matches!(assembler.push(&beats[1]), Err(NtbError::Decode(_))));

        let mut beats = Vec::new();
        split(&write(64), &mut beats).unwrap();
        beats[1].eop = false;
        let mut assembler = Assembler::default();
        assembler.push(&beats[0]).unwrap();
        assert!(matches!(assembler.push(&beats[1]), Err(NtbError::Framing { .. })));
    }
}
