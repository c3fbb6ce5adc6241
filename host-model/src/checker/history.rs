use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use sim_bridge::SimTime;

use super::finding::{Cached, Elsewhere};
use crate::iommu::spec::command::{Command, PageRange};
use crate::trace::Kind;

/// A time, and the order of what is simultaneous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moment {
    pub(super) order: u64,
    pub(super) time: SimTime,
}

/// A driver call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(usize);

/// A byte of a table that changed its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) moment: Moment,
    pub(super) call: Option<CallId>,
}

struct Call {
    name: &'static str,
    cpu: u32,
    returned: Option<Moment>,
    /// Addresses of the entries that it changed.
    changed: BTreeSet<u64>,
    /// Commands that it put into the ring, as far as they are told.
    queued: Vec<Command>,
    /// And into that of another IOMMU.
    elsewhere: Vec<Elsewhere>,
}

#[derive(Default)]
pub(super) struct Changes {
    by_byte: BTreeMap<u64, Vec<Change>>,
    calls: Vec<Call>,
}

impl Changes {
    /// The byte is of the entry that begins at `entry`.
    pub(super) fn add(&mut self, address: u64, entry: u64, change: Change) {
        self.by_byte.entry(address).or_default().push(change);
        if let Some(call) = change.call {
            self.calls[call.0].changed.insert(entry);
        }
    }

    pub(super) fn first_after(&self, address: u64, since: Moment) -> Option<Change> {
        let changes = self.by_byte.get(&address)?;
        changes
            .get(changes.partition_point(|change| change.moment.order <= since.order))
            .copied()
    }

    /// Of any of these bytes.
    pub(super) fn last(&self, addresses: Range<u64>) -> Option<Change> {
        self.by_byte
            .range(addresses)
            .filter_map(|(_, changes)| changes.last().copied())
            .max_by_key(|change| change.moment.order)
    }

    pub(super) fn call_began(&mut self, name: &'static str, cpu: u32) -> CallId {
        self.calls.push(Call {
            name,
            cpu,
            returned: None,
            changed: BTreeSet::new(),
            queued: Vec::new(),
            elsewhere: Vec::new(),
        });
        CallId(self.calls.len() - 1)
    }

    /// A call did something: commands that it queues are remembered.
    pub(super) fn observe(&mut self, call: CallId, kind: &Kind, time: SimTime) {
        let call = &mut self.calls[call.0];
        match *kind {
            Kind::Queued(command) => call.queued.push(command),
            Kind::QueuedElsewhere {
                command,
                function,
                table,
            } => call.elsewhere.push(Elsewhere {
                at: time,
                command,
                function,
                table,
            }),
            _ => {}
        }
    }

    /// The last of this command that a call put into the ring of another IOMMU.
    pub(super) fn elsewhere(&self, call: Option<CallId>, command: &Command) -> Option<Elsewhere> {
        let queued = self.calls[call?.0].elsewhere.iter().rev();
        queued.copied().find(|elsewhere| elsewhere.command == *command)
    }

    /// Whether a call may have queued this: one of which no command is told may.
    pub(super) fn may_have_queued(&self, call: Option<CallId>, command: &Command) -> bool {
        call.map(|call| &self.calls[call.0].queued)
            .is_none_or(|queued| queued.is_empty() || queued.contains(command))
    }

    /// Addresses of the entries that it changed.
    pub(super) fn call_ended(&mut self, call: CallId, moment: Moment) -> BTreeSet<u64> {
        let call = &mut self.calls[call.0];
        call.returned = Some(moment);
        std::mem::take(&mut call.changed)
    }

    pub(super) fn is_open(&self, call: Option<CallId>) -> bool {
        call.is_some_and(|call| self.calls[call.0].returned.is_none())
    }

    pub(super) fn end_of(&self, call: Option<CallId>) -> Option<Moment> {
        self.calls[call?.0].returned
    }

    pub(super) fn name_of(&self, call: CallId) -> &'static str {
        self.calls[call.0].name
    }

    pub(super) fn cpu_of(&self, call: CallId) -> u32 {
        self.calls[call.0].cpu
    }
}

/// Invalidations that were executed, and when software was told that they are complete.
#[derive(Default)]
pub(super) struct Commands {
    invalidations: Vec<(Moment, Command)>,
    completions: Vec<Moment>,
}

/// Those after a moment, up to another one.
fn between(moments: impl Iterator<Item = Moment>, since: Moment, until: Option<Moment>) -> Option<Moment> {
    moments
        .filter(|at| at.order > since.order && until.is_none_or(|until| at.order <= until.order))
        .last()
}

impl Commands {
    pub(super) fn executed(&mut self, moment: Moment, command: Command) {
        match command {
            Command::CompletionWait { .. } => self.completions.push(moment),
            Command::InvalidateInterruptTable(_)
            | Command::InvalidateDevtabEntry(_)
            | Command::InvalidateIommuPages { guest: false, .. }
            | Command::PrefetchIommuPages { invalidate: true, .. }
            | Command::InvalidateIommuAll => self.invalidations.push((moment, command)),
            _ => {}
        }
    }

    pub(super) fn after(
        &self,
        since: Moment,
        until: Option<Moment>,
    ) -> impl Iterator<Item = &(Moment, Command)> {
        let start = self
            .invalidations
            .partition_point(|(moment, _)| moment.order <= since.order);
        self.invalidations[start..]
            .iter()
            .take_while(move |(at, _)| until.is_none_or(|until| at.order <= until.order))
    }

    /// When the last COMPLETION_WAIT between two moments was executed.
    pub(super) fn last_completion(&self, since: Moment, until: Option<Moment>) -> Option<Moment> {
        between(self.completions.iter().copied(), since, until)
    }

    /// Whether this was invalidated after a moment.
    pub(super) fn invalidated_after(&self, cached: Cached, since: Moment) -> bool {
        self.after(since, None)
            .any(|(_, command)| invalidates(command, cached))
    }
}

/// Whether a command drops what is cached. (INVALIDATE_DEVTAB_ENTRY drops no remapping entries: Linux.)
fn invalidates(command: &Command, cached: Cached) -> bool {
    match (*command, cached) {
        (Command::InvalidateIommuAll, _)
        // The IOMMU knows no device's domain: it drops all.
        | (Command::PrefetchIommuPages { .. }, Cached::Page { .. }) => true,
        (Command::InvalidateDevtabEntry(id), Cached::Dte(cached))
        | (Command::InvalidateInterruptTable(id), Cached::Irte(cached, _)) => id == cached,
        (Command::InvalidateIommuPages { domain, range, .. }, Cached::Page { domain: of, address, log2 }) => {
            domain == of && range.overlaps(PageRange::new(address, log2.into()))
        }
        _ => false,
    }
}

/// Whether a command is about things of this kind, be it others.
pub(super) fn is_about(command: &Command, cached: Cached) -> bool {
    matches!(
        (command, cached),
        (Command::InvalidateIommuAll, _)
            | (Command::InvalidateDevtabEntry(_), Cached::Dte(_))
            | (Command::InvalidateInterruptTable(_), Cached::Irte(..))
            | (
                Command::InvalidateIommuPages { .. } | Command::PrefetchIommuPages { .. },
                Cached::Page { .. }
            )
    )
}

/// What drops it.
pub(super) fn command_for(cached: Cached) -> Command {
    match cached {
        Cached::Dte(id) => Command::InvalidateDevtabEntry(id),
        Cached::Irte(id, _) => Command::InvalidateInterruptTable(id),
        Cached::Page {
            domain,
            address,
            log2,
        } => Command::InvalidateIommuPages {
            domain,
            pasid: 0,
            range: PageRange::new(address, log2.into()),
            directory: false,
            guest: false,
        },
    }
}
