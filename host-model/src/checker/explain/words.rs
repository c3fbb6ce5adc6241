//! Parts of sentences.

use sim_bridge::SimTime;

use crate::checker::finding::{Cached, History, NullDereference, Overrun, UNKNOWN, Written};
use crate::checker::ids::Ids;
use crate::checker::locks::Held;
use crate::iommu::spec::command::Command;
use crate::trace::Ending;

/// Who wrote, in a word.
pub(super) fn by(written: &Written) -> String {
    written.by.unwrap_or("nobody known").to_owned()
}

/// Who wrote, with the driver's own name for it, and where.
pub(super) fn full(written: &Written) -> String {
    let function = written
        .function
        .map_or(String::new(), |function| format!(" ({function})"));
    let cpu = written.cpu.map_or(String::new(), |cpu| format!(" on CPU {cpu}"));
    format!("{}{function}{cpu}", by(written))
}

/// `not invalidated`, `invalidated under 41:00.0 only`. `executed`: what is cached was among it.
pub(super) fn invalidated(history: &History, executed: bool) -> String {
    if !executed && history.elsewhere.is_some() {
        return "invalidated on another IOMMU only".to_owned();
    }
    let only = if executed { "" } else { " only" };
    if history.invalidated.is_empty() {
        return match executed {
            true => "invalidated later than that".to_owned(),
            false => "not invalidated".to_owned(),
        };
    }
    let ids = history.invalidated.iter().map(|command| match command {
        Command::InvalidateDevtabEntry(id) | Command::InvalidateInterruptTable(id) => Some(*id),
        _ => None,
    });
    match ids.collect::<Option<Vec<_>>>() {
        Some(ids) => format!("invalidated under {}{only}", Ids::new(ids)),
        None => format!("invalidated by {}{only}", commands_in_words(&history.invalidated)),
    }
}

pub(super) fn history_in_words(history: &History) -> Vec<(SimTime, String)> {
    let (what, under) = match history.cached {
        Cached::Dte(id) => ("DTE", format!(" of {id}")),
        Cached::Irte(id, _) => ("IRTE", format!(" under {id}")),
        Cached::Page { domain, .. } => ("translation", format!(" of domain {domain}")),
    };
    let mut lines = vec![(
        history.cached_at,
        format!("the IOMMU cached the {what}{under}: {}", history.was),
    )];
    let (changed, is) = (&history.changed, &history.is);
    let to = if history.moved_away {
        format!("wrote the DTE, by which it is another one now: {is}")
    } else if history.was == *is {
        format!("changed it: now another, {is}")
    } else {
        format!("changed it: now {is}")
    };
    // Behind the checker's back nobody knows when.
    if *changed != UNKNOWN {
        lines.push((changed.at, format!("{} {to}", full(changed))));
    }
    if let Some(at) = history.invalidated_at {
        let commands = commands_in_words(&history.invalidated);
        lines.push((at, format!("the IOMMU executed {commands}")));
    }
    if let Some(elsewhere) = &history.elsewhere {
        let queued = commands_in_words(&[elsewhere.command]);
        lines.push((
            elsewhere.at,
            format!(
                "{} queued {queued} on another IOMMU, the one that {} has for it",
                elsewhere.function, elsewhere.table
            ),
        ));
    }
    if let Some(at) = history.told_complete_at {
        lines.push((
            at,
            "the IOMMU executed COMPLETION_WAIT: the driver was told that all is done".to_owned(),
        ));
    }
    if let Some(at) = history.returned_at {
        lines.push((at, format!("{} returned", by(changed))));
    }
    if let Some(used) = &history.used {
        lines.push((
            used.at,
            format!("a request of {} went by the old {what}: to {}", used.by, used.to),
        ));
    }
    lines
}

/// `INVALIDATE_INTERRUPT_TABLE 41:00.1-41:1f.7 (255 IDs)`.
pub(super) fn commands_in_words(commands: &[Command]) -> String {
    let mut told: Vec<String> = Vec::new();
    for same in commands.chunk_by(|a, b| a.name() == b.name()) {
        let ids = same.iter().map(|command| match command {
            Command::InvalidateDevtabEntry(id) | Command::InvalidateInterruptTable(id) => Some(*id),
            _ => None,
        });
        if let (Some(ids), Some(first)) = (ids.collect::<Option<Vec<_>>>(), same.first()) {
            told.push(format!("{} {}", first.name(), Ids::new(ids)));
            continue;
        }
        for command in same {
            let text = match command {
                Command::InvalidateIommuPages { domain, range, .. } => {
                    format!("{} domain {domain} {range:?}", command.name())
                }
                _ => command.name().to_owned(),
            };
            if !told.contains(&text) {
                told.push(text);
            }
        }
    }
    told.join(", ")
}

pub(super) fn held_in_words(held: &Held) -> String {
    let Held {
        lock,
        cpu,
        limit,
        meanwhile,
        ..
    } = held;
    let mut did = vec![match meanwhile.commands {
        1 => "queued 1 command".to_owned(),
        n => format!("queued {n} commands"),
    }];
    for (time, what) in [
        (meanwhile.ring, "for room in the command ring"),
        (meanwhile.semaphore, "on the semaphore of COMPLETION_WAIT"),
        (meanwhile.locks, "for other locks"),
    ] {
        if time > SimTime::ZERO {
            did.push(format!("spun {} {what}", us(time)));
        }
    }
    let call = held.call.map_or(String::new(), |call| format!(" in {call}"));
    format!(
        "CPU {cpu} held {lock} for {}{call} with interrupts off, longer than {}: meanwhile it {}.",
        us(held.span()),
        us(*limit),
        did.join(", ")
    )
}

pub(super) fn null_dereference_in_words(dereference: &NullDereference, who: &str) -> String {
    let NullDereference {
        died,
        function,
        table,
        lock,
        ..
    } = dereference;
    format!(
        "{function} dereferenced NULL: {table} has no IOMMU for {who}, on which it was to invalidate the DTE; {} died with \
         {lock} held, which nobody gets any more.",
        by(died)
    )
}

pub(super) fn null_dereference_in_time(dereference: &NullDereference, who: &str) -> Vec<(SimTime, String)> {
    let NullDereference {
        died,
        table,
        lock,
        dte,
        ..
    } = dereference;
    let wrote = dte.iter().map(|written| {
        let wrote = format!("{} wrote the interrupt half of the DTE of {who}", full(written));
        (written.at, wrote)
    });
    let killed = format!("{} died with {lock} held: {table}[{who}] is NULL", full(died));
    wrote.chain([(died.at, killed)]).collect()
}

pub(super) fn overrun_in_words(overrun: &Overrun, who: &str) -> String {
    let Overrun {
        address,
        table,
        over,
        stores,
    } = overrun;
    let by = stores
        .first()
        .map_or("nobody known".to_owned(), |store| by(&store.written));
    let over = over.map_or(String::new(), |ring| format!(", into the {ring}"));
    format!(
        "The DTE of {who} was stored by {by} at {address:#x}, outside of the device table ({:#x}-{:#x}){over}.",
        table.start,
        table.end - 1
    )
}

pub(super) fn overrun_in_time(overrun: &Overrun, who: &str) -> Vec<(SimTime, String)> {
    let stores = overrun.stores.iter().map(|store| {
        let (half, address) = (store.half.name(), overrun.address);
        let stored = format!("stored the {half} half of the DTE of {who} at {address:#x}");
        (store.written.at, format!("{} {stored}", full(&store.written)))
    });
    stores.collect()
}

/// ` before clone_aliases and set_remap_table_entry store its DTE`, as far as the driver names them.
pub(super) fn where_it_is_stored(overrun: &Overrun) -> String {
    let functions: Vec<_> = overrun.stores.iter().filter_map(|store| store.function).collect();
    match &functions[..] {
        [] => String::new(),
        [one] => format!(" before {one} stores its DTE"),
        several => format!(" before {} store its DTE", several.join(" and ")),
    }
}

pub(super) fn us(time: SimTime) -> String {
    format!("{:.2} us", time.as_ps() as f64 / 1e6)
}

pub(super) fn went_to(ending: &Ending) -> String {
    match ending {
        Ending::Delivered { cpu, vector }
        | Ending::Misrouted { cpu, vector }
        | Ending::Spurious { cpu, vector } => format!(" to CPU {cpu} vector {vector:#04x}"),
        Ending::Special { cpu, mode } => format!(" to CPU {cpu} as {mode:?}"),
        Ending::Blocked | Ending::Lost(_) => " nowhere".to_owned(),
    }
}

/// What an interrupt met where it went.
pub(super) fn ending_in_words(ending: &Ending) -> &'static str {
    match ending {
        Ending::Delivered { .. } => "its own handler is still there",
        Ending::Misrouted { .. } => "another's handler is there (misrouted)",
        Ending::Spurious { .. } => "no handler is there (spurious)",
        Ending::Special { .. } => "it has no vector (spurious)",
        Ending::Blocked => "blocked",
        Ending::Lost(_) => "no CPU takes it (lost)",
    }
}
