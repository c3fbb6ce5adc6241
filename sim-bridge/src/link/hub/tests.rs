//! A hub with several others around it, each run a step at a time in an order that the test picks: what all of them see
//! depends on their scripts alone, and nobody waits for ever or for nothing.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::promises::{Promise, Promises};
use super::*;
use crate::RequesterId;
use crate::tlp::Body;

/// What is on its way.
enum Message {
    Promise(Promise),
    Tlp(SimTime, u64, Tlp),
}

type Queue = Rc<RefCell<VecDeque<Message>>>;

/// An end of a link within one thread: waiting takes what has come and returns.
struct End {
    promises: Promises,
    inbox: VecDeque<Arrival>,
    from: Queue,
    to: Queue,
    /// Messages sent or taken by all.
    moved: Rc<Cell<u64>>,
    /// Promises sent to the other end.
    told: Rc<Cell<u64>>,
}

/// Both ends, and how many promises each sends.
fn pair(latency: u64, moved: &Rc<Cell<u64>>) -> ([End; 2], [Rc<Cell<u64>>; 2]) {
    let queues = [Queue::default(), Queue::default()];
    let told: [Rc<Cell<u64>>; 2] = Default::default();
    let end = |side: usize| End {
        promises: Promises::new(SimTime::from_ps(latency)),
        inbox: VecDeque::new(),
        from: queues[1 - side].clone(),
        to: queues[side].clone(),
        moved: moved.clone(),
        told: told[side].clone(),
    };
    ([end(0), end(1)], told.clone())
}

impl End {
    fn put(&self, message: Message) {
        self.moved.set(self.moved.get() + 1);
        self.to.borrow_mut().push_back(message);
    }

    fn drain(&mut self) {
        for message in self.from.take() {
            self.moved.set(self.moved.get() + 1);
            match message {
                Message::Promise(promise) => self.promises.promised(promise).expect("kept"),
                Message::Tlp(at, consumed, tlp) => {
                    self.promises.came(at, consumed).expect("kept");
                    self.inbox.push_back(Arrival { at, tlp });
                }
            }
        }
    }
}

impl Link for End {
    fn latency(&self) -> SimTime {
        self.promises.latency()
    }

    fn send(&mut self, now: SimTime, tlp: &Tlp) -> Result<(), LinkError> {
        let at = self.promises.may_send(now)?;
        self.put(Message::Tlp(at, self.promises.taken(), tlp.clone()));
        self.promises.sent(now);
        Ok(())
    }

    fn next_arrival(&self) -> Option<SimTime> {
        self.inbox.front().map(|arrival| arrival.at)
    }

    fn receive(&mut self) -> Option<Arrival> {
        let arrival = self.inbox.pop_front()?;
        self.promises.took(arrival.at);
        Some(arrival)
    }

    fn horizon(&self) -> SimTime {
        self.promises.horizon()
    }

    fn promise(&mut self, next: SimTime) -> Result<(), LinkError> {
        if let Some(promise) = self.promises.promise(next) {
            self.told.set(self.told.get() + 1);
            self.put(Message::Promise(promise));
            self.promises.said(promise);
        }
        self.drain();
        Ok(())
    }

    fn wait(&mut self, next: SimTime) -> Result<(), LinkError> {
        self.promise(next)
    }

    fn ended(&self) -> bool {
        false
    }

    fn end(&mut self, now: SimTime) -> Result<(), LinkError> {
        self.promises.may_end(now, false).map(drop)
    }
}

/// What a side does of its own account: when, to which of its links, and how often that is handed on.
type Spontaneous = (u64, usize, u8);

/// What a side saw and did: when, on which link, whether it came, which number.
type Trace = Vec<(u64, usize, bool, u64)>;

/// Time, order of scheduling, link, number, how often to hand it on.
type Local = Reverse<(u64, u64, usize, u64, u8)>;

/// How long a side takes to hand on what came. Zero at times.
fn delay(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53 & 0x1ff
}

/// To which of so many links.
fn way(number: u64, links: usize) -> usize {
    (number.wrapping_mul(0xd134_2543_de82_ef95) >> 40) as usize % links
}

fn scheduled(side: usize, script: &[Spontaneous], links: usize) -> Vec<(u64, u64, usize, u64, u8)> {
    let number = |n: usize| (side as u64 + 1) << 32 | (n as u64) << 8;
    let scripted = script.iter().enumerate();
    let local = scripted.map(|(n, &(at, link, hops))| (at, n as u64, link % links, number(n), hops));
    local.collect()
}

struct Side {
    hub: Hub,
    links: usize,
    local: BinaryHeap<Local>,
    order: u64,
    now: u64,
    trace: Trace,
}

impl Side {
    fn new(side: usize, script: &[Spontaneous], ends: Vec<End>) -> Self {
        let links = ends.len();
        let boxed = ends.into_iter().map(|end| Box::new(end) as Box<dyn Link>);
        Self {
            hub: Hub::new(boxed.collect()),
            links,
            local: scheduled(side, script, links).into_iter().map(Reverse).collect(),
            order: script.len() as u64,
            now: 0,
            trace: Trace::new(),
        }
    }

    fn next(&self) -> SimTime {
        let next = self.local.peek();
        next.map_or(SimTime::NEVER, |Reverse(local)| SimTime::from_ps(local.0))
    }

    /// One turn of a simulator's loop; false if it waits.
    fn step(&mut self) -> bool {
        let (next, local) = (self.hub.next(), self.next());
        if next.is_known && next.at <= local {
            let arrival = self.hub.receive(next.link).expect("known");
            assert_eq!(arrival.at, next.at);
            let Body::MemWrite(write) = &arrival.tlp.body else {
                panic!("{}", arrival.tlp)
            };
            let (number, hops) = (
                u64::from_le_bytes(write.data[..8].try_into().expect("8 bytes")),
                write.data[8],
            );
            self.done(arrival.at.as_ps(), next.link, true, number);
            if hops > 0 {
                let at = arrival.at.as_ps() + delay(number);
                let number = number + 1;
                let link = way(number, self.links);
                self.local.push(Reverse((at, self.order, link, number, hops - 1)));
                self.order += 1;
            }
            return true;
        }
        if local < next.at {
            let Reverse((at, _, link, number, hops)) = self.local.pop().expect("there is a next");
            self.done(at, link, false, number);
            let data = [&number.to_le_bytes()[..], &[hops]].concat();
            let tlp = Tlp::mem_write(RequesterId(0), 0x1000, &data).expect("a few bytes");
            self.hub.send(link, local, &tlp).expect("not promised otherwise");
            return true;
        }
        self.hub.wait(local).expect("nobody dies");
        false
    }

    fn done(&mut self, at: u64, link: usize, came: bool, number: u64) {
        assert!(at >= self.now, "{at} after {}", self.now);
        self.now = at;
        self.trace.push((at, link, came, number));
    }
}

/// What a run leaves.
struct Run {
    traces: Vec<Trace>,
    /// Promises to the hub, and from it, by link.
    told: Vec<[u64; 2]>,
}

/// Side 0 is the hub, with a link to each of the others. `turns` says whose turn it is, over and over.
fn run(scripts: &[Vec<Spontaneous>], latencies: &[u64], turns: &[usize]) -> Run {
    let moved = Rc::new(Cell::new(0));
    let mut hub = Vec::new();
    let (mut sides, mut told) = (Vec::new(), Vec::new());
    for (n, script) in scripts.iter().enumerate().skip(1) {
        let ([near, far], [by_hub, to_hub]) = pair(latencies[n - 1], &moved);
        hub.push(near);
        sides.push(Side::new(n, script, vec![far]));
        told.push([to_hub, by_hub]);
    }
    sides.insert(0, Side::new(0, &scripts[0], hub));
    let mut turns = turns.iter().cycle();
    let mut idle = 0;
    // With every side having had many turns without anything moving, nothing ever will.
    while idle < 64 * sides.len() {
        let before = moved.get();
        let turn = turns.next().expect("a cycle") % sides.len();
        let worked = sides[turn].step();
        idle = match worked || moved.get() != before {
            true => 0,
            false => idle + 1,
        };
    }
    for (n, side) in sides.iter().enumerate() {
        assert_eq!(
            side.next(),
            SimTime::NEVER,
            "side {n} waits for ever: {:?}",
            side.hub.next()
        );
        assert!(!side.hub.next().is_known, "side {n} takes no more");
    }
    Run {
        traces: sides.into_iter().map(|side| side.trace).collect(),
        told: told
            .iter()
            .map(|both| both.each_ref().map(|told| told.get()))
            .collect(),
    }
}

/// The same in one queue of events, without links: what one simulator of all sides would do.
fn reference(scripts: &[Vec<Spontaneous>], latencies: &[u64]) -> Vec<Trace> {
    let mut traces = vec![Trace::new(); scripts.len()];
    let links = |side: usize| if side == 0 { latencies.len() } else { 1 };
    // Time, arrivals first and by link, order, side, link, number, hops.
    let mut events = BinaryHeap::new();
    let mut order = 0;
    for (side, script) in scripts.iter().enumerate() {
        for (at, _, link, number, hops) in scheduled(side, script, links(side)) {
            events.push(Reverse((at, usize::MAX, order, side, link, number, hops)));
            order += 1;
        }
    }
    while let Some(Reverse((at, rank, _, side, link, number, hops))) = events.pop() {
        let came = rank != usize::MAX;
        traces[side].push((at, link, came, number));
        order += 1;
        if came {
            if hops > 0 {
                let (at, number) = (at + delay(number), number + 1);
                let link = way(number, links(side));
                events.push(Reverse((at, usize::MAX, order, side, link, number, hops - 1)));
            }
            continue;
        }
        let (to, on, latency) = match side {
            0 => (link + 1, 0, latencies[link]),
            leaf => (0, leaf - 1, latencies[leaf - 1]),
        };
        events.push(Reverse((at + latency, on, order, to, on, number, hops)));
    }
    traces
}

fn script() -> impl Strategy<Value = Vec<Spontaneous>> {
    vec((0..6_000u64, 0..3usize, 0..10u8), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn all_see_what_one_simulator_of_all_would_do_whoever_is_faster(
        scripts in vec(script(), 2..5),
        latencies in vec(prop_oneof![Just(1u64), 1..800u64], 3),
        turns in vec(0..4usize, 0..200),
    ) {
        let latencies = &latencies[..scripts.len() - 1];
        // Everybody has a turn.
        let turns: Vec<usize> = turns.into_iter().chain(0..4).collect();
        let run = run(&scripts, latencies, &turns);
        prop_assert_eq!(run.traces, reference(&scripts, latencies));
    }
}

const LATENCY: u64 = 500;

/// A hub with two others, in turns.
fn run_two(scripts: [Vec<Spontaneous>; 3]) -> Run {
    run(&scripts, &[LATENCY, LATENCY], &[0, 1, 2])
}

#[test]
fn what_arrives_at_the_same_time_comes_in_the_order_of_the_links() {
    let script = vec![(1000, 0, 0); 2];
    let came = run_two([vec![], script.clone(), script]).traces.swap_remove(0);
    let links: Vec<usize> = came.iter().map(|&(_, link, ..)| link).collect();
    assert_eq!(links, [0, 0, 1, 1]);
}

#[test]
fn an_idle_side_is_told_nothing_while_the_hub_talks_to_another() {
    let exchanges = 1000;
    let script = (1..=exchanges).map(|n| (n * 1_000_000, 0, 1)).collect();
    let Run { told, .. } = run_two([script, vec![], vec![]]);
    let [_, by_hub] = told[1];
    assert!(by_hub <= 1, "{by_hub} promises");
    let [to_hub, by_hub] = told[0];
    assert!(
        to_hub + by_hub <= 4 * (exchanges + 1),
        "{to_hub} + {by_hub} promises"
    );
}

#[test]
fn time_in_which_nobody_has_anything_to_do_is_not_walked_through_in_steps() {
    let far = 1_000_000_000 * LATENCY;
    let Run { traces, told } = run_two([
        vec![(3 * far, 0, 0)],
        vec![(far, 0, 2), (2 * far + 1, 0, 2)],
        vec![(far + 1, 0, 2), (2 * far, 0, 2)],
    ]);
    assert!(traces[0].len() > 8);
    let told: u64 = told.iter().flatten().sum();
    assert!(told < 100, "{told} promises");
}

#[test]
fn a_hub_without_links_never_has_to_wait() {
    let hub = Hub::default();
    assert_eq!(hub.next().at, SimTime::NEVER);
    assert_eq!(hub.ended(), None);
}
