//! Two simulators with scripts, and the trace that they must leave.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sim_bridge::link::{Link, LinkError, Port};
use sim_bridge::tlp::{Body, Tlp};
use sim_bridge::{RequesterId, SimTime};

/// What a side does on its own account: at a time, a TLP of some size, and how often it is answered to and fro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spontaneous {
    pub at: u64,
    pub answers: u8,
    pub bytes: u16,
}

/// What a side saw and did: time, whether received, number of the TLP.
pub type Trace = Vec<(u64, bool, u64)>;

/// A TLP that carries its number and how often it is still to be answered.
pub fn tlp(number: u64, answers: u8, bytes: u16) -> Tlp {
    let mut data = vec![number as u8; usize::from(bytes).clamp(16, 4096)];
    data[..8].copy_from_slice(&number.to_le_bytes());
    data[8] = answers;
    Tlp::mem_write(RequesterId(0x4100), 0x1000, &data).unwrap()
}

fn contents(tlp: &Tlp) -> (u64, u8, u16) {
    let Body::MemWrite(write) = &tlp.body else {
        panic!("{tlp}")
    };
    let number = u64::from_le_bytes(write.data[..8].try_into().unwrap());
    assert!(write.data[9..].iter().all(|&byte| byte == number as u8), "{tlp}");
    (number, write.data[8], write.data.len() as u16)
}

/// Time that a side takes to answer: anything, but always the same for the same TLP. Zero at times.
fn delay(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52 & 0x3ff
}

fn answer(number: u64) -> u64 {
    number + 1
}

/// One simulator on its link: everything before `end`, at which it ends if `ends`. `disturb` is called at odd moments.
pub fn simulate(
    link: &mut Port,
    script: &[Spontaneous],
    numbers: u64,
    ends: Option<u64>,
    mut disturb: impl FnMut(&mut Port) -> Result<(), LinkError>,
) -> Result<Trace, LinkError> {
    let mut trace = Trace::new();
    // Time, order of scheduling, number, answers, bytes.
    let mut local = BinaryHeap::new();
    for (i, s) in script.iter().enumerate() {
        local.push(Reverse((
            s.at,
            i as u64,
            numbers + i as u64 * 1000,
            s.answers,
            s.bytes,
        )));
    }
    let mut order = script.len() as u64;
    let mut done = None;
    loop {
        let next = local
            .peek()
            .map(|Reverse(event)| event.0)
            .into_iter()
            .chain(ends)
            .min();
        let next = next.map_or(SimTime::NEVER, SimTime::from_ps);
        disturb(link)?;
        let end = link.end_arrival().map(SimTime::as_ps);
        if let Some(at) = link.next_arrival().filter(|&at| at <= next) {
            let arrival = link.receive().unwrap();
            assert_eq!(arrival.at, at);
            assert!(
                done.is_none_or(|done| at > done),
                "arrived at {at}, had done {done:?}"
            );
            let (number, answers, bytes) = contents(&arrival.tlp);
            trace.push((at.as_ps(), true, number));
            if answers > 0 {
                local.push(Reverse((
                    at.as_ps() + delay(number),
                    order,
                    answer(number),
                    answers - 1,
                    bytes,
                )));
                order += 1;
            }
        } else if link.ended() && end.is_some_and(|end| next.as_ps() >= end) {
            return Ok(trace);
        } else if next < link.horizon() {
            done = Some(next);
            if ends == Some(next.as_ps()) {
                link.end(next)?;
                return Ok(trace);
            }
            let Reverse((at, _, number, answers, bytes)) = local.pop().unwrap();
            trace.push((at, false, number));
            link.send(next, &tlp(number, answers, bytes))?;
        } else {
            link.wait(next)?;
        }
    }
}

/// The same without a link: both sides in one queue of events, side 0 ending at `end`. Written without looking at how
/// the link works: this is what a single simulator of both would do.
pub fn reference(scripts: [&[Spontaneous]; 2], latency: u64, end: u64) -> [Trace; 2] {
    let mut traces = [Trace::new(), Trace::new()];
    // Time, arrivals first, order of scheduling, side, number, answers.
    let mut events = BinaryHeap::new();
    let mut order = 0;
    for (side, script) in scripts.iter().enumerate() {
        for (i, s) in script.iter().enumerate() {
            events.push(Reverse((
                s.at,
                true,
                order,
                side,
                NUMBERS[side] + i as u64 * 1000,
                s.answers,
            )));
            order += 1;
        }
    }
    while let Some(Reverse((at, local, _, side, number, answers))) = events.pop() {
        // Side 0 receives at its end and does nothing of its own any more; side 1 learns of it a latency later.
        let stop = if side == 0 { end } else { end + latency };
        if at > stop || local && at == stop {
            continue;
        }
        traces[side].push((at, !local, number));
        order += 1;
        if local {
            events.push(Reverse((at + latency, false, order, 1 - side, number, answers)));
        } else if answers > 0 {
            events.push(Reverse((
                at + delay(number),
                true,
                order,
                side,
                answer(number),
                answers - 1,
            )));
        }
    }
    traces
}

/// First TLP numbers of the two sides.
pub const NUMBERS: [u64; 2] = [1 << 32, 1 << 33];
