//! What each operation sends, by profile and topology: commands with the numbers that COMPLETION_WAIT stores (counted
//! from the operation's start; `W=1` where it is always 1), tail writes, and the locks that are held while commands
//! are queued and while a wait is not yet answered.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::sequences::{BEHIND_BRIDGE, behind_bridge};
use super::*;
use crate::iommu::Step;
use crate::iommu::spec::registers::offset;
use crate::trace::{Kind, LockStep, Source};

const FIRST: Target = Target {
    apic_id: 1,
    vector: 0x31,
};
const SECOND: Target = Target {
    apic_id: 2,
    vector: 0x41,
};

/// A command, and what counts up when it is repeated.
#[derive(Clone, PartialEq, Eq)]
struct Token {
    name: String,
    number: Option<u64>,
}

impl Token {
    fn follows(&self, first: &Self, steps: u64) -> bool {
        self.name == first.name && self.number == first.number.map(|number| number + steps)
    }

    fn text(&self) -> String {
        match (self.name.as_str(), self.number) {
            ("W", Some(number)) => format!("W{number}"),
            (name, Some(number)) => format!("{name}{number:x}"),
            (name, None) => name.to_owned(),
        }
    }
}

fn token(command: Command, before: u64, counts: bool) -> Token {
    let (name, number) = match command {
        Command::InvalidateDevtabEntry(id) => ("D", Some(id.0.into())),
        Command::InvalidateInterruptTable(id) => ("R", Some(id.0.into())),
        Command::CompletionWait { data, .. } if counts => ("W", Some(data - before)),
        Command::CompletionWait { data: 1, .. } => ("W=1", None),
        other => {
            return Token {
                name: short(other),
                number: None,
            };
        }
    };
    Token {
        name: name.to_owned(),
        number,
    }
}

/// Three or more in a row, or three or more pairs, are folded.
fn fold(tokens: &[Token]) -> String {
    let mut items = Vec::new();
    let mut rest = tokens;
    while !rest.is_empty() {
        let folded = [1, 2].into_iter().find_map(|period| {
            let first = rest.get(..period)?;
            let repeats = rest
                .chunks_exact(period)
                .zip(0..)
                .take_while(|(chunk, steps)| {
                    chunk.iter().zip(first).all(|(token, first)| {
                        token.follows(first, *steps) || first.number.is_none() && token == first
                    })
                })
                .count();
            (repeats >= 3).then_some((period, repeats))
        });
        let (period, repeats) = folded.unwrap_or((1, 1));
        let text = |at: usize| {
            let texts: Vec<_> = rest[at..at + period].iter().map(Token::text).collect();
            texts.join(" ")
        };
        items.push(match repeats {
            1 => text(0),
            _ => format!("[{} .. {}]", text(0), text(period * (repeats - 1))),
        });
        rest = &rest[period * repeats..];
    }
    items.join(" ")
}

/// Which locks are held how often.
#[derive(Default)]
struct HeldLocks {
    counts: Vec<(String, usize)>,
}

impl HeldLocks {
    fn count(&mut self, held: &[Lock]) {
        // Without whose.
        let names = held
            .iter()
            .map(|lock| lock.to_string().split(' ').next().unwrap_or_default().to_owned());
        let names: Vec<_> = names.collect();
        let names = match names.as_slice() {
            [] => "no lock".to_owned(),
            names => names.join(" + "),
        };
        match self.counts.iter_mut().find(|(known, _)| *known == names) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((names, 1)),
        }
    }

    fn text(&self) -> String {
        let texts: Vec<_> = self
            .counts
            .iter()
            .map(|(names, count)| format!("{count} under {names}"))
            .collect();
        texts.join(", ")
    }
}

/// One operation's line.
fn line(profile: &Profile, before: u64, events: &[Event]) -> String {
    let counts = profile.completion_wait.number != WaitNumber::One;
    let (mut held, mut queued, mut waited) = (Vec::new(), HeldLocks::default(), HeldLocks::default());
    let (mut tokens, mut tails) = (Vec::new(), 0);
    for event in events {
        match event.kind {
            Kind::Lock { lock, step } => {
                assert_eq!(event.source, Source::Cpu(0));
                match step {
                    LockStep::Taken { interrupts_off } => {
                        assert!(interrupts_off, "{lock}");
                        held.push(lock);
                    }
                    LockStep::Released => held.retain(|other| *other != lock),
                    LockStep::Contended => panic!("{lock} is contended by nobody"),
                }
            }
            Kind::Queued(command) => {
                tokens.push(token(command, before, counts));
                queued.count(&held);
            }
            Kind::RegisterWritten {
                offset: offset::CMD_BUF_TAIL,
                ..
            } => tails += 1,
            Kind::Stepped(Step::CompletionStored { .. }) => waited.count(&held),
            _ => {}
        }
    }
    assert_eq!(held, []);
    if tokens.is_empty() {
        return "nothing".to_owned();
    }
    let mut line = fold(&tokens);
    write!(line, "\n    {tails} tail writes; queues {}", queued.text()).expect("a string");
    if !waited.counts.is_empty() {
        write!(line, "; waits {}", waited.text()).expect("a string");
    }
    line
}

const OPERATIONS: [&str; 8] = [
    "probe",
    "attach",
    "allocate",
    "activate",
    "set_affinity",
    "deactivate",
    "free",
    "release",
];

/// A line for each operation.
fn life(setup: Setup, id: RequesterId) -> Vec<String> {
    let profile = setup.profile;
    setup.run(move |cpu, driver, _| async move {
        start(&cpu, &driver).await;
        let mut lines = Vec::new();
        let mut entry = None;
        for name in OPERATIONS {
            cpu.machine().trace().take();
            let before = driver.queue.last_number();
            let entry_of = || entry.expect("allocated");
            match name {
                "probe" => driver.probe_device(&cpu, id).await.expect(name),
                "attach" => driver.attach(&cpu, id).await.expect(name),
                "allocate" => entry = Some(allocate(&cpu, &driver, id, FIRST).await.expect(name).0),
                "activate" => driver.activate(&cpu, entry_of(), FIRST).await.expect(name),
                "set_affinity" => driver.set_affinity(&cpu, entry_of(), SECOND).await.expect(name),
                "deactivate" => driver.deactivate(&cpu, entry_of()).await.expect(name),
                "free" => driver.free(&cpu, entry_of()).await.expect(name),
                _ => driver.release(&cpu, id).await.expect(name),
            }
            // A wait that polls nothing may end before the IOMMU does.
            cpu.udelay(100).await;
            lines.push(line(&profile, before, &cpu.machine().trace().take()));
        }
        lines
    })
}

/// Profiles by what they do.
type ByLine = BTreeMap<String, Vec<String>>;

fn text(setup: impl Fn(Profile) -> Setup, id: RequesterId) -> String {
    let mut by_operation: Vec<ByLine> = vec![BTreeMap::new(); OPERATIONS.len()];
    for profile in Profile::ALL {
        let lines = life(setup(profile), id);
        for (lines, line) in by_operation.iter_mut().zip(lines) {
            lines.entry(line).or_default().push(profile.to_string());
        }
    }
    let mut operations: Vec<(String, ByLine)> = Vec::new();
    for (name, lines) in OPERATIONS.iter().zip(by_operation) {
        match operations.iter_mut().find(|(_, known)| *known == lines) {
            Some((names, _)) => write!(names, ", {name}").expect("a string"),
            None => operations.push((name.to_string(), lines)),
        }
    }
    let mut text = String::new();
    for (names, lines) in operations {
        writeln!(text, "{names}").expect("a string");
        let mut lines: Vec<_> = lines.into_iter().collect();
        let order = |profiles: &[String]| {
            Profile::ALL
                .iter()
                .position(|profile| profiles.contains(&profile.to_string()))
        };
        lines.sort_by_key(|(_, profiles)| order(profiles));
        for (line, profiles) in lines {
            writeln!(text, "  {}:\n    {line}", profiles.join(", ")).expect("a string");
        }
    }
    text
}

fn check(name: &str, setup: impl Fn(Profile) -> Setup, id: RequesterId) {
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!(name, text(setup, id));
    });
}

#[test]
fn of_a_function_without_aliases() {
    check("operations-none", |profile| Setup::new(profile, &[]), NTB);
}

#[test]
fn of_a_function_with_an_alias_in_its_slot() {
    check("operations-func1", |profile| Setup::new(profile, &[1]), NTB);
}

#[test]
fn of_a_function_that_sends_under_every_id_of_its_bus() {
    let aliases: Vec<u8> = (0..=0xff).collect();
    check("operations-plx", |profile| Setup::new(profile, &aliases), NTB);
}

#[test]
fn of_a_function_behind_a_bridge() {
    let setup = |profile| behind_bridge(profile, &[]);
    check("operations-pci-bridge", setup, BEHIND_BRIDGE);
}

#[test]
fn of_a_function_with_an_ivrs_alias_on_another_bus() {
    let setup = |profile| behind_bridge(profile, &[(BEHIND_BRIDGE.0, 0x208)]);
    check("operations-ivrs-other-bus", setup, BEHIND_BRIDGE);
}
