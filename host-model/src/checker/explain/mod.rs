//! Findings in words, for somebody who knows the kernel and not this project.

mod words;

use sim_bridge::{RequesterId, SimTime};

use super::finding::{Cached, Finding, FindingKind, History, Mistake, Refused, Subject, Tables, Written};
use super::ids::Ids;
use crate::iommu::BlockReason;
use crate::iommu::spec::command::Command;
use crate::iommu::translate::Access;
use words::{
    by, commands_in_words, ending_in_words, full, held_in_words, history_in_words, invalidated,
    null_dereference_in_time, null_dereference_in_words, overrun_in_time, overrun_in_words, went_to,
    where_it_is_stored,
};

/// A finding, and others of which the same is to be said but for the requester ID.
#[derive(Debug, Clone)]
pub struct Explanation<'a> {
    /// The one that is told of.
    pub finding: &'a Finding,
    /// The others.
    pub others: Vec<&'a Finding>,
}

impl<'a> Explanation<'a> {
    /// Of one finding alone.
    pub fn alone(finding: &'a Finding) -> Self {
        Self {
            finding,
            others: Vec::new(),
        }
    }

    /// All of these findings, in the order of the first of each kind.
    pub fn of(findings: &'a [Finding]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for finding in findings {
            match all.iter_mut().find(|told| tell_the_same(told.finding, finding)) {
                Some(told) => told.others.push(finding),
                None => all.push(Self::alone(finding)),
            }
        }
        all
    }

    /// The same, told of another of them.
    pub fn told_of(mut self, finding: &'a Finding) -> Self {
        let before = std::mem::replace(&mut self.finding, finding);
        self.others.retain(|other| other.subject != finding.subject);
        if before.subject != finding.subject {
            self.others.push(before);
        }
        self
    }

    /// Each of them.
    pub fn all(&self) -> impl Iterator<Item = &'a Finding> {
        std::iter::once(self.finding).chain(self.others.iter().copied())
    }

    /// One sentence that names the mistake.
    pub fn sentence(&self) -> String {
        match &self.finding.mistake {
            Mistake::NotInvalidated(history) => self.not_invalidated(history),
            Mistake::Tables(tables) => self.tables(tables),
            Mistake::Refused(refused) => self.refused(refused),
            Mistake::NeverEnded => format!(
                "{} says that it sent more interrupts than arrived anywhere.",
                self.who()
            ),
            Mistake::UseAfterRelease {
                function,
                released_on,
                ..
            } => format!(
                "{function} used what the driver knew of {}, which CPU {released_on} had released: a kernel reads freed \
                 memory there.",
                self.who()
            ),
            Mistake::NullDereference(dereference) => null_dereference_in_words(dereference, &self.who()),
            Mistake::Overrun(overrun) => overrun_in_words(overrun, &self.who()),
            Mistake::Held(held) => held_in_words(held),
        }
    }

    /// What happened when, in order.
    pub fn history(&self) -> Vec<(SimTime, String)> {
        let mut lines = match &self.finding.mistake {
            Mistake::NotInvalidated(history) => history_in_words(history),
            Mistake::Tables(tables) => self.tables_in_time(tables),
            Mistake::Refused(refused) => self.refused_in_time(refused),
            Mistake::NeverEnded => Vec::new(),
            Mistake::UseAfterRelease {
                function,
                released_at,
                released_on,
                used_at,
            } => vec![
                (*released_at, format!("CPU {released_on} released {}", self.who())),
                (*used_at, format!("{function} used what the driver knew of it")),
            ],
            Mistake::NullDereference(dereference) => null_dereference_in_time(dereference, &self.who()),
            Mistake::Overrun(overrun) => overrun_in_time(overrun, &self.who()),
            Mistake::Held(held) => {
                let (lock, cpu) = (held.lock, held.cpu);
                let call = held.call.map_or(String::new(), |call| format!(" in {call}"));
                vec![
                    (
                        held.taken_at,
                        format!("CPU {cpu} took {lock}{call}, with interrupts off"),
                    ),
                    (held.released_at, format!("CPU {cpu} gave it up")),
                ]
            }
        };
        lines.sort_by_key(|(at, _)| *at);
        lines
    }

    /// What is missing, commands, a write to tables or a check, IDs in a row folded; `None` if nothing is.
    pub fn missing(&self) -> Option<String> {
        if let Mistake::Refused(refused) = &self.finding.mistake {
            let ids = self.requesters().into_iter().filter(|id| *id != refused.function);
            let ids: Vec<RequesterId> = ids.collect();
            let of = refused.function;
            let dtes = if ids.len() == 1 { "the DTE" } else { "the DTEs" };
            return (!ids.is_empty()).then(|| {
                format!(
                    "the memory half of the DTE of {of} in {dtes} of {}",
                    Ids::new(ids)
                )
            });
        }
        if let Mistake::Overrun(overrun) = &self.finding.mistake {
            return Some(format!(
                "a check that {} is in the device table{}",
                self.who(),
                where_it_is_stored(overrun)
            ));
        }
        let commands: Vec<Command> = self.all().flat_map(|finding| finding.missing.clone()).collect();
        let went_by_id = match &self.finding.mistake {
            Mistake::NotInvalidated(history) => history.elsewhere.is_some(),
            Mistake::NullDereference(_) => true,
            _ => false,
        };
        let on = if went_by_id {
            " on the function's own IOMMU"
        } else {
            ""
        };
        (!commands.is_empty()).then(|| commands_in_words(&commands) + on)
    }

    /// What somebody should have done with [`missing`](Self::missing).
    pub fn should_have(&self) -> &'static str {
        match self.finding.mistake {
            Mistake::Refused(_) => "written it",
            Mistake::Overrun(_) => "made it",
            _ => "queued it",
        }
    }

    /// How many interrupts ended how, over all of them.
    pub fn endings(&self) -> Vec<(usize, &'static str)> {
        let mut counted: Vec<(usize, &'static str)> = Vec::new();
        for ending in self.all().flat_map(|finding| &finding.endings) {
            let how = ending_in_words(ending);
            match counted.iter_mut().find(|(_, known)| *known == how) {
                Some((count, _)) => *count += 1,
                None => counted.push((1, how)),
            }
        }
        counted
    }

    fn requesters(&self) -> Vec<RequesterId> {
        self.all()
            .filter_map(|finding| finding.subject.requester())
            .collect()
    }

    /// `41:00.1`, `41:00.1 and 41:00.2`, `41:00.1 and 254 others (41:00.2-41:1f.7)`.
    fn who(&self) -> String {
        match &self.requesters()[..] {
            [] => self.finding.subject.to_string(),
            [one] => one.to_string(),
            [one, other] => format!("{one} and {other}"),
            [one, others @ ..] => {
                let ids = Ids::new(others.iter().copied()).without_count();
                format!("{one} and {} others ({ids})", others.len())
            }
        }
    }

    fn is_one(&self) -> bool {
        self.others.is_empty()
    }

    fn has(&self) -> &'static str {
        if self.is_one() { "has" } else { "have" }
    }

    fn not_invalidated(&self, history: &History) -> String {
        let (who, has) = (self.who(), self.has());
        let by = by(&history.changed);
        let invalidated = invalidated(history, self.finding.missing.is_empty());
        let unused = match self.finding.kind {
            FindingKind::Left => ", unused so far",
            // Then it is the IOMMU's mistake.
            _ if self.finding.missing.is_empty() => " all the same",
            _ => "",
        };
        match history.cached {
            Cached::Irte(requester, index) if history.moved_away => format!(
                "{who} {has} IRTE {index} of another table cached: the DTE of {requester} was changed by {by}, and the \
                 IRTEs that were cached by it were {invalidated}{unused}."
            ),
            Cached::Irte(requester, index) => {
                let owner = history.owner.unwrap_or(requester);
                let changed = match (&history.is[..], self.finding.kind) {
                    (_, FindingKind::Left) => "freed",
                    ("RemapEn 0", _) => "made invalid",
                    _ => "changed",
                };
                format!(
                    "IRTE {index} of {owner} was {changed} by {by} and {invalidated}; {who} still {has} the old entry \
                     cached{unused}."
                )
            }
            Cached::Dte(_) if self.is_one() => format!(
                "The DTE of {who} was changed by {by} and {invalidated}; the IOMMU still has the old one cached{unused}."
            ),
            Cached::Dte(_) => format!(
                "The DTEs of {who} were changed by {by} and {invalidated}; the IOMMU still has the old ones \
                 cached{unused}."
            ),
            Cached::Page {
                domain,
                address,
                log2,
            } => {
                let last = address + ((1 << log2) - 1);
                let reached = history
                    .used
                    .as_ref()
                    .map_or(String::new(), |used| format!(" and reached {}", used.to));
                let went = if history.moved_away {
                    "the page tables of which were changed"
                } else {
                    "was changed"
                };
                format!(
                    "The translation of {address:#x}-{last:#x} in domain {domain} {went} by {by} and {invalidated}; \
                     {who} still went by the old one{reached}."
                )
            }
        }
    }

    fn tables(&self, tables: &Tables) -> String {
        let who = self.who();
        let index = self.finding.subject.index().unwrap_or_default();
        let interrupts = format!("Interrupts of {who}, index {index},");
        let dte = match (self.is_one(), self.finding.subject) {
            (true, Subject::Entry { requester, .. }) => format!("the DTE of {requester}"),
            _ => "their DTEs".to_owned(),
        };
        let verb = |one: &'static str, many: &'static str| if self.is_one() { one } else { many };
        let has = verb("has", "have");
        match self.finding.kind {
            FindingKind::Stolen => {
                let owner = tables
                    .owner
                    .map_or("another function".to_owned(), |owner| owner.to_string());
                let by = tables.dte.as_ref().map_or("nobody known".to_owned(), by);
                format!(
                    "{interrupts} were remapped by an entry that belongs to {owner}: {by} pointed {dte} at the table of \
                     {owner}."
                )
            }
            FindingKind::Blocked => {
                let function = tables
                    .function
                    .map_or("the driver".to_owned(), |function| function.to_string());
                let entries = tables.entries_of_function;
                let why = match tables.refused {
                    Some(BlockReason::IndexOutOfRange { entries: allowed, .. }) => {
                        let others = match entries {
                            Some(entries) => format!(", the table of {function} has {entries}"),
                            None => String::new(),
                        };
                        format!(
                            "{dte} {} {allowed} entries (IntTabLen){others}",
                            verb("allows", "allow")
                        )
                    }
                    Some(BlockReason::IntCtlAborted) => {
                        let others = match entries {
                            Some(_) => format!(", which {function} has"),
                            None => String::new(),
                        };
                        format!("{dte} {has} no remapping table (IntCtl 0){others}")
                    }
                    Some(reason) => reason.to_string(),
                    None => "the IOMMU says not why".to_owned(),
                };
                format!("{interrupts} were blocked though {function} has requested them: {why}.")
            }
            FindingKind::Lost => match tables.loss {
                Some(loss) => format!("{interrupts} were lost: {loss}."),
                None => format!("{interrupts} were lost."),
            },
            _ => {
                let met = self.finding.endings.first().map_or("", ending_in_words);
                let at = self.finding.endings.first().map_or(String::new(), went_to);
                let by = match &tables.irte {
                    Some(written) => format!(", where {} pointed the entry", by(written)),
                    None => ", unmapped".to_owned(),
                };
                format!("{interrupts} went{at}{by}: {met}.")
            }
        }
    }

    fn refused(&self, refused: &Refused) -> String {
        let Refused {
            function,
            reason,
            words: [own, of_function],
            ..
        } = refused;
        let accesses = match refused.access {
            Access::Read => "Reads",
            Access::Write => "Writes",
            Access::Atomic => "Atomic operations",
        };
        let refusal = format!(
            "{accesses} of {} to memory that {function} has been given were refused",
            self.who()
        );
        if self.requesters().contains(function) {
            return format!("{refusal}: {reason}.");
        }
        let (dte, has) = if self.is_one() {
            ("its DTE", "has")
        } else {
            ("their DTEs", "have")
        };
        format!("{refusal}: {dte} {has} {own}, that of {function} has {of_function}.")
    }

    fn refused_in_time(&self, refused: &Refused) -> Vec<(SimTime, String)> {
        let who = self.finding.subject;
        let wrote = |written: &Written| {
            let by = full(written);
            (
                written.at,
                format!(
                    "{by} wrote the memory half of the DTE of {who}: {}",
                    refused.words[0]
                ),
            )
        };
        let answered = format!("the IOMMU refused a request of {who}: {}", refused.reason);
        let written = refused.dte.iter().map(wrote);
        written.chain([(refused.at, answered)]).collect()
    }

    fn tables_in_time(&self, tables: &Tables) -> Vec<(SimTime, String)> {
        let Subject::Entry { requester, index } = self.finding.subject else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        if let Some(written) = &tables.dte {
            lines.push((
                written.at,
                format!(
                    "{} wrote the interrupt half of the DTE of {requester}",
                    full(written)
                ),
            ));
        }
        if let Some(written) = &tables.irte {
            let owner = tables
                .owner
                .map_or(String::new(), |owner| format!(", which belongs to {owner}"));
            lines.push((written.at, format!("{} wrote IRTE {index}{owner}", full(written))));
        }
        let end = self
            .finding
            .endings
            .first()
            .map_or(String::new(), |ending| format!(": {ending}"));
        lines.push((
            tables.at,
            format!("an interrupt of {requester}, index {index}, ended{end}"),
        ));
        lines
    }
}

/// Whether the same is to be said of both, but for the requester ID.
fn tell_the_same(a: &Finding, b: &Finding) -> bool {
    let Some(other) = b.subject.requester() else {
        return false;
    };
    let alike = match (&a.mistake, &b.mistake) {
        (Mistake::NotInvalidated(a), Mistake::NotInvalidated(b)) => {
            let kind = |cached| match cached {
                Cached::Dte(_) => (0, 0, 0),
                Cached::Irte(_, index) => (1, u64::from(index), 0),
                Cached::Page { domain, address, .. } => (2, domain.into(), address),
            };
            let told = |h: &History| (kind(h.cached), h.owner, h.moved_away, h.was.clone(), h.is.clone());
            // Where it went to another IOMMU, what this one executed says nothing.
            let here = |h: &History| h.elsewhere.is_none().then(|| h.invalidated.clone());
            let by = |h: &History| (h.changed.by, here(h));
            // Each DTE is written by itself.
            let at = |h: &History| (!matches!(h.cached, Cached::Dte(_))).then_some(h.changed.at);
            told(a) == told(b) && by(a) == by(b) && at(a) == at(b)
        }
        (Mistake::Tables(a), Mistake::Tables(b)) => {
            let told = |t: &Tables| (t.function, t.owner, t.refused, t.loss, t.entries_of_function);
            let by = |t: &Tables| (t.dte.and_then(|dte| dte.by), t.irte.and_then(|irte| irte.by));
            told(a) == told(b) && by(a) == by(b)
        }
        (Mistake::Refused(a), Mistake::Refused(b)) => {
            let told = |r: &Refused| (r.function, r.access, r.reason, r.words.clone());
            let by = |r: &Refused| r.dte.and_then(|dte| dte.by);
            told(a) == told(b) && by(a) == by(b)
        }
        _ => false,
    };
    alike
        && a.kind == b.kind
        && a.subject.under(other) == b.subject
        && (a.got, a.expected) == (b.got, b.expected)
        && (a.missing.len(), a.function) == (b.missing.len(), b.function)
        && a.endings == b.endings
}
