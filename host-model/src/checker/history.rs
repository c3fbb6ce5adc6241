use std::collections::BTreeMap;

use sim_bridge::SimTime;

use crate::iommu::spec::command::Command;

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

#[derive(Default)]
pub(super) struct Changes {
    by_byte: BTreeMap<u64, Vec<Change>>,
    calls: Vec<(&'static str, Option<Moment>)>,
}

impl Changes {
    pub(super) fn add(&mut self, address: u64, change: Change) {
        self.by_byte.entry(address).or_default().push(change);
    }

    pub(super) fn first_after(&self, address: u64, since: Moment) -> Option<Change> {
        let changes = self.by_byte.get(&address)?;
        changes
            .get(changes.partition_point(|change| change.moment.order <= since.order))
            .copied()
    }

    pub(super) fn call_began(&mut self, name: &'static str) -> CallId {
        self.calls.push((name, None));
        CallId(self.calls.len() - 1)
    }

    pub(super) fn call_ended(&mut self, call: CallId, moment: Moment) {
        self.calls[call.0].1 = Some(moment);
    }

    pub(super) fn is_open(&self, call: Option<CallId>) -> bool {
        call.is_some_and(|call| self.calls[call.0].1.is_none())
    }

    pub(super) fn end_of(&self, call: Option<CallId>) -> Option<Moment> {
        self.calls[call?.0].1
    }

    pub(super) fn name_of(&self, call: CallId) -> &'static str {
        self.calls[call.0].0
    }
}

#[derive(Default)]
pub(super) struct Invalidations(Vec<(Moment, Command)>);

impl Invalidations {
    pub(super) fn add(&mut self, moment: Moment, command: Command) {
        if matches!(
            command,
            Command::InvalidateInterruptTable(_)
                | Command::InvalidateDevtabEntry(_)
                | Command::InvalidateIommuAll
        ) {
            self.0.push((moment, command));
        }
    }

    pub(super) fn after(&self, since: Moment, until: Option<Moment>) -> impl Iterator<Item = &Command> {
        let start = self.0.partition_point(|(moment, _)| moment.order <= since.order);
        let inside = move |moment: &Moment| until.is_none_or(|until| moment.order <= until.order);
        self.0[start..]
            .iter()
            .take_while(move |(moment, _)| inside(moment))
            .map(|(_, command)| command)
    }
}
