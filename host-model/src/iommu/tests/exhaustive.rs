//! All orders in which software, two requests and the IOMMU's own work can come, for two aliases and one entry.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::*;

const ALIASES: [RequesterId; 2] = [RequesterId(0x4100), RequesterId(0x4101)];

/// What happens at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Atom {
    /// Software's next store, or its next write of the tail register.
    Software,
    /// One step of the IOMMU.
    Step,
    /// The request under an alias begins, or its table read is back.
    Request(usize),
}

/// What software stores at once, or queues by one write of the tail register.
#[derive(Debug, Clone)]
enum Software {
    /// A number is destination and vector of the entry; the entry is in this table.
    Entry(u64, u8),
    /// Both aliases get this table.
    Dtes(u64),
    Commands(Vec<[u64; 2]>),
}

#[derive(Debug, Clone)]
struct Scenario {
    config: Config,
    /// Whether both aliases have used the entry before.
    warm: bool,
    program: Vec<Software>,
}

enum Request<'a> {
    ToCome,
    Fill(FillToken<'a>),
    Answered(u8),
}

/// Somewhere on the way.
struct World<'a> {
    rig: &'a Rig,
    program: &'a [Software],
    requests: [Request<'a>; 2],
    /// The number of the last COMPLETION_WAIT that has stored.
    told: u8,
}

impl<'a> World<'a> {
    fn new(rig: &'a Rig, scenario: &'a Scenario) -> Self {
        let world = Self {
            rig,
            program: &scenario.program,
            requests: [Request::ToCome, Request::ToCome],
            told: 0,
        };
        world.software(&Software::Dtes(TABLE));
        world.software(&Software::Entry(TABLE, 0));
        if scenario.warm {
            ALIASES.iter().for_each(|alias| {
                rig.ask(&Rig::message(*alias, 0));
            });
        }
        world
    }

    fn software(&self, operation: &Software) {
        match operation {
            Software::Entry(table, number) => {
                let irte = irte32(*number, *number);
                self.rig.memory.write_obj(irte, GuestAddress(*table)).unwrap();
            }
            Software::Dtes(table) => {
                ALIASES
                    .iter()
                    .for_each(|alias| self.rig.set_dte(*alias, dte_remap(*table, 9)));
            }
            Software::Commands(commands) => self.rig.queue_all(commands),
        }
    }

    fn enabled(&self) -> Vec<Atom> {
        let software = (!self.program.is_empty()).then_some(Atom::Software);
        let step = self.rig.iommu.has_work().then_some(Atom::Step);
        let request =
            |n: usize| (!matches!(self.requests[n], Request::Answered(_))).then_some(Atom::Request(n));
        [software, step, request(0), request(1)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn apply(&mut self, atom: Atom) {
        match atom {
            Atom::Software => {
                let (next, rest) = self.program.split_first().expect("it is enabled");
                self.software(next);
                self.program = rest;
            }
            Atom::Step => {
                let step = self.rig.iommu.step().expect("it has work");
                if let Step::CompletionStored { data, .. } = step {
                    self.told = data as u8;
                }
            }
            Atom::Request(n) => {
                let iommu = &self.rig.iommu;
                let response = match std::mem::replace(&mut self.requests[n], Request::ToCome) {
                    Request::ToCome => iommu.request(&Rig::message(ALIASES[n], 0)),
                    Request::Fill(token) => iommu.complete(token),
                    Request::Answered(_) => panic!("it is not enabled"),
                };
                self.requests[n] = match response {
                    Response::Fill(token) => Request::Fill(token),
                    Response::Answer(Outcome::Remapped(interrupt)) => Request::Answered(interrupt.vector()),
                    Response::Answer(outcome) => panic!("{outcome:?}"),
                };
            }
        }
    }

    /// Equal only for what has an equal future.
    fn signature(&self) -> u64 {
        let Iommu {
            irt_cache,
            irt_generations,
            dte_cache,
            in_flight,
            command_pointers,
            state,
            ..
        } = &self.rig.iommu;
        let requests = self.requests.each_ref().map(|request| match request {
            Request::ToCome => "to come".to_owned(),
            Request::Fill(token) => format!("{token:?}"),
            Request::Answered(number) => number.to_string(),
        });
        let generations = ALIASES.map(|alias| irt_generations.of(alias));
        let caches = format!("{irt_cache:?} {dte_cache:?} {generations:?}");
        let work = format!("{in_flight:?} {command_pointers:?} {state:?}");
        let mut hasher = DefaultHasher::new();
        (self.program.len(), self.told, requests, caches, work).hash(&mut hasher);
        hasher.finish()
    }
}

/// What all orders came to.
struct Explored {
    /// Of all, one after the other.
    memory: Arc<GuestMemoryMmap>,
    /// Orders from each state that was seen to the end.
    orders: HashMap<u64, u64>,
    /// The answers to both requests.
    answers: BTreeSet<[u8; 2]>,
    /// Aliases that were answered with something older than software had been told of.
    late: BTreeSet<usize>,
    /// Aliases that are in the end.
    stale: BTreeSet<usize>,
}

impl Explored {
    fn all(scenario: &Scenario) -> (u64, Self) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let mut explored = Self {
            memory: Arc::new(memory),
            orders: HashMap::new(),
            answers: BTreeSet::new(),
            late: BTreeSet::new(),
            stale: BTreeSet::new(),
        };
        let orders = explored.begin(scenario, &[]);
        (orders, explored)
    }

    /// The number of orders that begin like this.
    fn begin(&mut self, scenario: &Scenario, path: &[Atom]) -> u64 {
        let rig = Rig::on(&self.memory, scenario.config.clone(), RUN);
        let mut world = World::new(&rig, scenario);
        path.iter().for_each(|atom| world.apply(*atom));
        self.go_on(scenario, path.to_vec(), world)
    }

    /// The world is at the end of the path.
    fn go_on(&mut self, scenario: &Scenario, mut path: Vec<Atom>, mut world: World) -> u64 {
        if let Some(Atom::Request(n)) = path.last()
            && let Request::Answered(number) = world.requests[*n]
            && number < world.told
        {
            self.late.insert(*n);
        }
        let Some((last, others)) = world.enabled().split_last().map(|(l, o)| (*l, o.to_vec())) else {
            self.end(&world);
            return 1;
        };
        let signature = world.signature();
        if let Some(orders) = self.orders.get(&signature) {
            return *orders;
        }
        let mut orders = 0;
        path.push(last);
        for other in others {
            *path.last_mut().expect("it was pushed") = other;
            orders += self.begin(scenario, &path);
        }
        *path.last_mut().expect("it was pushed") = last;
        world.apply(last);
        orders += self.go_on(scenario, path, world);
        self.orders.insert(signature, orders);
        orders
    }

    fn end(&mut self, world: &World) {
        assert_eq!(world.told, 2);
        let answers = world.requests.each_ref().map(|request| match request {
            Request::Answered(number) => *number,
            _ => panic!("unanswered"),
        });
        self.answers.insert(answers);
        // The one that may be stale first: where there is one way, the other takes its place.
        for (n, alias) in ALIASES.iter().enumerate().rev() {
            if target(&world.rig.ask(&Rig::message(*alias, 0))).1 < 2 {
                self.stale.insert(n);
            }
        }
    }
}

/// Two updates of the entry, each invalidated under these aliases.
fn updates(invalidated: &[RequesterId]) -> Vec<Software> {
    let update = |number: u8| {
        let mut commands: Vec<_> = invalidated.iter().map(|alias| invalidate_irt(*alias)).collect();
        commands.push(completion_wait(number.into()));
        [Software::Entry(TABLE, number), Software::Commands(commands)]
    };
    [1, 2].into_iter().flat_map(update).collect()
}

/// An update of the entry, and a new table.
fn new_table() -> Vec<Software> {
    let table = TABLE + 0x1000;
    let mut program = updates(&ALIASES);
    program.truncate(2);
    let mut commands: Vec<_> = ALIASES.map(invalidate_dte).to_vec();
    commands.extend(ALIASES.map(invalidate_irt));
    commands.push(completion_wait(2));
    program.extend([
        Software::Entry(table, 2),
        Software::Dtes(table),
        Software::Commands(commands),
    ]);
    program
}

/// Each with whether both aliases have used the entry before.
fn configs() -> [(&'static str, Config, bool); 4] {
    let tiny = Config::default().with_caches(CacheShape::TINY);
    let one_way = CacheShape::new(1, 1).unwrap();
    let one_bit = Config {
        generation_bits: 1,
        ..tiny.clone()
    };
    [
        ("two ways", tiny, false),
        ("one way", Config::default().with_caches(one_way), true),
        ("generations of one bit", one_bit, true),
        (
            "disabled",
            Config::default().with_caches(CacheShape::DISABLED),
            true,
        ),
    ]
}

fn every_number_for_both() -> BTreeSet<[u8; 2]> {
    (0..3).flat_map(|a| (0..3).map(move |b| [a, b])).collect()
}

/// The number of orders, in none of which an answer is older than what software has been told.
fn never_stale(config: Config, warm: bool, program: Vec<Software>) -> u64 {
    let scenario = Scenario {
        config,
        warm,
        program,
    };
    let (orders, explored) = Explored::all(&scenario);
    assert!(
        explored.late.is_empty() && explored.stale.is_empty(),
        "{scenario:?}"
    );
    // Nothing was left out: a request may come at any time.
    assert_eq!(explored.answers, every_number_for_both(), "{scenario:?}");
    orders
}

#[test]
fn no_order_answers_with_an_entry_that_software_knows_is_gone() {
    let orders = configs().map(|(_, config, warm)| never_stale(config, warm, updates(&ALIASES)));
    // Whatever the caches do, each read of memory takes place in each order that it can have.
    assert!(orders[0] > 1_000_000 && orders[3] > 1_000_000, "{orders:?}");
    assert!(orders.iter().all(|orders| *orders > 10_000), "{orders:?}");
}

#[test]
fn no_order_answers_by_a_table_that_software_knows_is_gone() {
    let (_, config, warm) = configs()[2].clone();
    let orders = never_stale(config, warm, new_table());
    assert!(orders > 10_000, "{orders}");
}

#[test]
fn only_the_alias_that_is_not_invalidated_is_answered_with_what_is_gone() {
    for (name, config, warm) in configs() {
        let disabled = config.irt_cache == CacheShape::DISABLED;
        let scenario = Scenario {
            config,
            warm,
            program: updates(&ALIASES[..1]),
        };
        let (_, explored) = Explored::all(&scenario);
        // Software is told while the other alias's lookup is unanswered.
        assert!(explored.late.iter().eq(&[1]), "{name}: {:?}", explored.late);
        let stale: &[usize] = if disabled { &[] } else { &[1] };
        assert!(explored.stale.iter().eq(stale), "{name}: {:?}", explored.stale);
    }
}

/// The search finds what there is to be found.
#[test]
fn some_order_catches_each_fault() {
    let faults = [
        Faults {
            fill_races_invalidation: true,
            ..Faults::default()
        },
        Faults {
            wait_before_invalidate: true,
            ..Faults::default()
        },
    ];
    for faults in faults {
        let scenario = Scenario {
            config: Config {
                faults: faults.clone(),
                ..Config::default().with_caches(CacheShape::TINY)
            },
            warm: false,
            program: updates(&ALIASES),
        };
        let (_, explored) = Explored::all(&scenario);
        let caught = explored.late.union(&explored.stale).count();
        assert_ne!(caught, 0, "{faults:?}");
    }
}
