//! Where interrupts ended that fresh tables sent there.

use sim_bridge::{RequesterId, SimTime};

use super::finding::{FindingKind, Mistake, Subject, Tables};
use super::interrupts::{index, place};
use super::{Checker, Freshness};
use crate::driver::Role;
use crate::iommu::spec::irte::IrteError;
use crate::iommu::{Answer, BlockReason, Outcome};
use crate::trace::Ending;

/// What the operating system knows of who sent an interrupt message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sender {
    /// The function behind the requester ID.
    pub function: Option<RequesterId>,
    /// A driver waits for the interrupts of that function with this message.
    pub requested: bool,
}

/// Calls that make an entry invalid.
const ENDS: [&str; 2] = ["deactivate", "free"];

impl Checker {
    /// An interrupt message has ended.
    pub fn ended(
        &mut self,
        answer: &Answer,
        freshness: Option<Freshness>,
        ending: Ending,
        sender: Sender,
        time: SimTime,
    ) {
        let request = &answer.request;
        let (requester, index) = (request.requester, index(request));
        let subject = Subject::Entry { requester, index };
        if freshness == Some(Freshness::Stale) {
            if let Some(finding) = self.findings.get_mut(&(subject, FindingKind::Stale)) {
                finding.endings.push(ending);
            }
            return;
        }
        let owner = answer
            .irte
            .and_then(|irte| self.owners.get(&irte.address).copied());
        let kind = match ending {
            _ if self.is_stolen(answer, owner, sender) => FindingKind::Stolen,
            Ending::Misrouted { .. } => FindingKind::Misrouted,
            Ending::Spurious { .. } | Ending::Special { .. } => FindingKind::Spurious,
            Ending::Lost(_) => FindingKind::Lost,
            Ending::Blocked if freshness != Some(Freshness::InFlight) && self.is_wanted(answer, sender) => {
                FindingKind::Blocked
            }
            Ending::Delivered { .. } | Ending::Blocked => return,
        };
        let tables = self.tables(answer, sender, owner, ending, time);
        let role = match (&answer.outcome, kind) {
            // It was not told where the device table is, or not switched on.
            (Outcome::Blocked { reason, .. }, _)
                if *reason == BlockReason::DeviceOutOfRange && !self.walk.has_device_table(requester) =>
            {
                Some(Role::Call(self.what_enables()))
            }
            (Outcome::Forwarded { .. }, _) if answer.dte.is_none() => Some(Role::Call(self.what_enables())),
            (_, FindingKind::Stolen | FindingKind::Blocked) => Some(Role::SetTable),
            _ => None,
        };
        let function = role.and_then(|role| self.function(role));
        let got = place(&answer.outcome);
        let finding = self.finding((subject, kind), got, || Mistake::Tables(tables));
        finding.endings.push(ending);
        finding.function = function;
    }

    /// The device says that it sent more messages than have ended.
    pub fn never_ended(&mut self, requester: RequesterId) {
        let subject = Subject::Device(requester);
        self.finding((subject, FindingKind::Lost), None, || Mistake::NeverEnded);
    }

    /// The call that last should have written the IOMMU's registers.
    fn what_enables(&self) -> &'static str {
        if self.power_cycled { "resume" } else { "enable" }
    }

    /// The entry that remapped it was written for another function.
    fn is_stolen(&self, answer: &Answer, owner: Option<RequesterId>, sender: Sender) -> bool {
        let is_others = owner
            .zip(sender.function)
            .is_some_and(|(owner, function)| owner != function);
        is_others && matches!(answer.outcome, Outcome::Remapped(_))
    }

    /// Somebody waits for an interrupt that was blocked, and did not ask for that.
    fn is_wanted(&self, answer: &Answer, sender: Sender) -> bool {
        let Outcome::Blocked { reason, .. } = answer.outcome else {
            return false;
        };
        let ended = || {
            let entry = answer.irte?.address;
            let last = self.changes.last(entry..entry + self.walk.irte_bytes() as u64)?;
            Some(ENDS.contains(&self.changes.name_of(last.call?)))
        };
        let by_driver = reason == BlockReason::Irte(IrteError::RemapEnClear) && ended() == Some(true);
        sender.requested && !by_driver
    }

    fn tables(
        &self,
        answer: &Answer,
        sender: Sender,
        owner: Option<RequesterId>,
        ending: Ending,
        at: SimTime,
    ) -> Tables {
        let requester = answer.request.requester;
        let last = |bytes| self.changes.last(bytes).map(|change| self.told(Some(change)));
        let entries = |id| self.walk.remapping_table(id).map(|(_, entries)| entries);
        Tables {
            at,
            function: sender.function,
            owner,
            dte: last(self.walk.dte_interrupts(requester)),
            irte: answer
                .irte
                .and_then(|irte| last(irte.address..irte.address + self.walk.irte_bytes() as u64)),
            refused: match answer.outcome {
                Outcome::Blocked { reason, .. } => Some(reason),
                _ => None,
            },
            loss: match ending {
                Ending::Lost(loss) => Some(loss),
                _ => None,
            },
            entries_of_function: sender.function.and_then(entries),
        }
    }
}
