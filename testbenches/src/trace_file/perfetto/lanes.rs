//! Slices of one track that overlap without one being inside the other go to lanes: tracks of the same name, which the
//! viewer shows as one.

use std::collections::BTreeMap;

use sim_bridge::SimTime;

use super::plan::{Slice, Track};

/// A time, and the number of the event: which of what is simultaneous is written first.
type Moment = (SimTime, usize);

/// Gives each slice the first lane in which it has room. They are in the order of writing.
pub(super) fn assign(slices: &mut [Slice]) {
    // By track and lane, the ends of slices that may not have ended, the outermost first.
    let mut lanes = BTreeMap::<Track, Vec<Vec<Moment>>>::new();
    for slice in slices {
        let (begin, end) = ((slice.begin, slice.opened), (slice.end, slice.closed));
        let lanes = lanes.entry(slice.track).or_default();
        let has_room = |lane: &mut Vec<Moment>| {
            while lane.last().is_some_and(|&open| open <= begin) {
                lane.pop();
            }
            lane.last().is_none_or(|&open| slice.track.nests() && end <= open)
        };
        slice.lane = lanes.iter_mut().position(has_room).unwrap_or(lanes.len());
        if slice.lane == lanes.len() {
            lanes.push(Vec::new());
        }
        lanes[slice.lane].push(end);
    }
}
