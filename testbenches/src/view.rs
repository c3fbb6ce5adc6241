//! A run as the sequence that people review: what the RTL sent, what the IOMMU did with it, where it arrived, and what
//! the driver wrote in between. Without times, so that another pipeline stage in the RTL changes nothing here.

mod fold;
mod latency;

pub use fold::{Line, Which, fold};
pub use latency::latencies;

use std::collections::VecDeque;

use host_model::checker::Freshness;
use host_model::iommu::spec::command::Command;
use host_model::iommu::spec::dte::DteInterrupts;
use host_model::iommu::spec::event::Event as IommuEvent;
use host_model::iommu::spec::irte::{Irte32, Irte128High, Irte128Low, IrteFormat};
use host_model::iommu::spec::registers::offset;
use host_model::iommu::translate::{MemoryRequest, TranslationOutcome};
use host_model::iommu::{Answer, InterruptRequest, InterruptSource, LookupFrom, Outcome, Step};
use host_model::trace::{Event, Kind, Loss};
use ntb_rtl::registers;
use sim_bridge::tlp::{Body, MemWrite, Tlp};

use crate::rig::{MMIO_WINDOW, MMIO_WINDOW_BYTES};

/// The sequence from the scenario's first step on. Repetitions over consecutive requester IDs are folded.
pub fn sequence(events: &[Event]) -> String {
    let start = events
        .iter()
        .position(|event| matches!(event.kind, Kind::ScenarioStep(_)))
        .unwrap_or(0);
    let mut answers: VecDeque<(InterruptRequest, String)> = VecDeque::new();
    let mut lines = Vec::new();
    for event in &events[start..] {
        let line = match &event.kind {
            Kind::ScenarioStep(name) => Line::plain(format!("\n# {name}")),
            Kind::CallBegan(name) => Line::plain(format!("driver  {name}:")),
            Kind::PowerCycled => Line::plain("machine loses its power and gets it back".to_owned()),
            Kind::Answered {
                answer: answered,
                freshness: judged,
            } => {
                answers.push_back((
                    answered.request,
                    format!("{}{}", answer(answered), freshness(*judged)),
                ));
                continue;
            }
            Kind::Ended { request, ending } => {
                let found = answers
                    .iter()
                    .position(|(asked, _)| asked == request)
                    .and_then(|n| answers.remove(n));
                let (_, answer) = found.unwrap_or((*request, "not answered".to_owned()));
                let InterruptRequest {
                    requester,
                    address,
                    data,
                } = *request;
                Line::of(
                    "rtl     ",
                    requester,
                    format!(" writes {data:#x} to {address:#x} | {answer} | {ending}"),
                )
            }
            Kind::Queued(queued) => match queued {
                Command::InvalidateDevtabEntry(id) | Command::InvalidateInterruptTable(id) => {
                    Line::of(format!("driver    queues {} ", queued.name()), *id, "")
                }
                other => Line::plain(format!("driver    queues {}", command(other))),
            },
            Kind::QueuedElsewhere {
                command: queued,
                function,
                table,
            } => {
                let before = format!(
                    "driver    {function} queues on another IOMMU, by {table}, {}",
                    queued.name()
                );
                match queued {
                    Command::InvalidateDevtabEntry(id) => Line::of(before + " ", *id, ""),
                    _ => Line::plain(before),
                }
            }
            Kind::DteWritten { device, raw } => Line::of(
                "driver    writes DTE ",
                *device,
                format!(": {:016x} {:016x} {}", raw[0], raw[1], root_hidden(raw[2])),
            ),
            Kind::IrteWritten {
                device,
                index,
                raw,
                format,
            } => Line::of(
                "driver    writes IRTE ",
                *device,
                format!(" index {index}: {}", irte(*raw, *format)),
            ),
            Kind::ToDevice(Tlp {
                body: Body::MemWrite(write),
                ..
            }) => match msix_write(write) {
                Some(line) => line,
                None => continue,
            },
            Kind::RegisterWritten { offset, size, value } if *offset != offset::CMD_BUF_TAIL => Line::plain(
                format!("driver    writes register {offset:#06x}, {size} bytes: {value:#x}"),
            ),
            Kind::Translated {
                request,
                outcome,
                freshness: judged,
            } => {
                let told = freshness(*judged);
                if told.is_empty() && !matches!(outcome, TranslationOutcome::Refused { .. }) {
                    continue;
                }
                let text = format!("{}{told}", translation(request, outcome));
                Line::of("iommu   ", request.requester, text)
            }
            Kind::OwnInterrupt { about, reached } => {
                Line::plain(format!("iommu   {}", own_interrupt(*about, reached)))
            }
            Kind::Stepped(Step::EventWritten { event, .. }) => about("iommu   logs ", event, String::new()),
            Kind::Stepped(Step::EventDropped { event, reason }) => {
                about("iommu   drops ", event, format!(", {reason}"))
            }
            Kind::Stepped(Step::PprWritten { entry, .. }) => {
                Line::of("iommu   logs a page request of ", entry.device, "")
            }
            Kind::Stepped(Step::PprDropped { entry, reason }) => Line::of(
                "iommu   drops a page request of ",
                entry.device,
                format!(", {reason}"),
            ),
            Kind::Stepped(Step::GaWritten { entry, .. }) => {
                Line::of("iommu   logs a guest's interrupt of ", entry.device, "")
            }
            Kind::Stepped(Step::GaDropped { entry, reason }) => Line::of(
                "iommu   drops a guest's interrupt of ",
                entry.device,
                format!(", {reason}"),
            ),
            Kind::Stepped(Step::Halted { reason, .. }) => Line::plain(format!("iommu   halts: {reason}")),
            Kind::UsedAfterRelease { function, device, .. } => Line::of(
                format!("driver    {function} uses "),
                *device,
                ", which is released: freed memory",
            ),
            Kind::NullDereference {
                function,
                table,
                device,
                lock,
            } => Line::of(
                format!("driver    {function} dereferences NULL, {table} of "),
                *device,
                format!(", and dies with {lock} held"),
            ),
            Kind::KernelLog(text) => Line::plain(format!("kernel  {text}")),
            _ => continue,
        };
        lines.push(line);
    }
    fold(&lines)
}

/// A remapping entry's fields.
pub fn irte(raw: u128, format: IrteFormat) -> String {
    let (remap_en, destination, vector) = match format {
        IrteFormat::Bits32 => {
            let irte = Irte32::from_bits(raw as u32);
            (irte.remap_en(), irte.destination().into(), irte.vector())
        }
        IrteFormat::Bits128 { .. } => {
            let (low, high) = (
                Irte128Low::from_bits(raw as u64),
                Irte128High::from_bits((raw >> 64) as u64),
            );
            (
                low.remap_en(),
                u32::from(high.destination()) << 24 | low.destination(),
                high.vector(),
            )
        }
    };
    if raw == 0 {
        return "all 0".to_owned();
    }
    format!(
        "RemapEn {}, APIC {destination} vector {vector:#04x}",
        u8::from(remap_en)
    )
}

/// A write to an NTB's MSI-X table.
fn msix_write(write: &MemWrite) -> Option<Line> {
    let table = registers::msix_entry(0)..registers::MSIX_PENDING;
    let offset = write.address.checked_sub(MMIO_WINDOW)?;
    let (ntb, offset) = (offset / MMIO_WINDOW_BYTES, offset % MMIO_WINDOW_BYTES);
    if !table.contains(&offset) {
        return None;
    }
    let offset = offset - table.start;
    let value = u32::from_le_bytes(*write.data.first_chunk()?);
    let vector = u16::try_from(offset / 16).ok()?;
    let after = match offset % 16 {
        0 => format!(" address {value:#x}"),
        4 => format!(" address high {value:#x}"),
        8 => format!(" data {value:#x}"),
        _ if value & 1 != 0 => " masked".to_owned(),
        _ => " unmasked".to_owned(),
    };
    let before = match ntb {
        0 => "cpu     MSI-X vector ".to_owned(),
        ntb => format!("cpu     NTB {} MSI-X vector ", ntb + 1),
    };
    Some(Line::numbered(before, vector, after))
}

fn about(does: &str, event: &IommuEvent, after: String) -> Line {
    match event.device() {
        Some(id) => Line::of(format!("{does}{} of ", event.name()), id, after),
        None => Line::plain(format!("{does}{}{after}", event.name())),
    }
}

/// What the IOMMU did with a request.
pub fn answer(answer: &Answer) -> String {
    let from = |from| match from {
        LookupFrom::Hit => "hit",
        LookupFrom::Fill => "miss",
        LookupFrom::Uncached => "read",
    };
    let mut text = String::new();
    if let Some(dte) = answer.dte {
        text += &format!("DTE {}, ", from(dte.from));
    }
    if let Some(irte) = answer.irte {
        text += &format!("IRTE {}, ", from(irte.from));
    }
    text + &match answer.outcome {
        Outcome::Remapped(to) => format!(
            "remapped to APIC {} vector {:#04x}",
            to.destination(),
            to.vector()
        ),
        Outcome::Forwarded { .. } => "forwarded".to_owned(),
        Outcome::Posted(to) => format!("posted in {:#x} vector {:#04x}", to.backing_page, to.vector),
        Outcome::Blocked { reason, .. } => format!("refused: {reason}"),
    }
}

/// A memory request, behind its requester ID, and what the IOMMU did with it.
pub fn translation(request: &MemoryRequest, outcome: &TranslationOutcome) -> String {
    let outcome = match outcome {
        TranslationOutcome::Forwarded => "forwarded".to_owned(),
        TranslationOutcome::Translated(to) => format!("translated to {:#x}", to.address),
        TranslationOutcome::Refused { reason, .. } => format!("refused: {reason}"),
    };
    format!(": {:?} at {:#x} {outcome}", request.access, request.address)
}

/// Where an interrupt of the IOMMU's own went.
pub fn own_interrupt(about: InterruptSource, reached: &Result<Vec<u32>, Loss>) -> String {
    match reached {
        Ok(cpus) => format!("{about:?} interrupt at CPU {}", join(cpus)),
        Err(loss) => format!("{about:?} interrupt lost: {loss}"),
    }
}

fn join(cpus: &[u32]) -> String {
    let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
    cpus.join(", ")
}

/// How an answer compares with memory, where that is worth a word.
pub fn freshness(freshness: Option<Freshness>) -> &'static str {
    match freshness {
        None | Some(Freshness::Fresh) => "",
        Some(Freshness::InFlight) => " (in flight)",
        Some(Freshness::Stale) => " (STALE)",
    }
}

/// A command with its operands; COMPLETION_WAIT without the number that it stores.
pub fn command(command: &Command) -> String {
    match command {
        Command::InvalidateDevtabEntry(id) | Command::InvalidateInterruptTable(id) => {
            format!("{} {id}", command.name())
        }
        Command::InvalidateIommuPages { domain, .. } => format!("{} domain {domain:#x}", command.name()),
        Command::InvalidateIotlbPages { device, .. }
        | Command::PrefetchIommuPages { device, .. }
        | Command::CompletePprRequest { device, .. } => format!("{} {device}", command.name()),
        Command::CompletionWait { .. } | Command::InvalidateIommuAll => command.name().to_owned(),
    }
}

/// A DTE's interrupt half without the table's address, which is a matter of allocation.
fn root_hidden(word: u64) -> String {
    let dte = DteInterrupts::from_bits(word);
    let table = if dte.table_root() == 0 { "" } else { " + table" };
    format!("{:016x}{table}", dte.with_table_root(0).into_bits())
}

#[cfg(test)]
mod tests {
    use host_model::iommu::translate::{Access, Addressing, TranslationError};
    use host_model::trace::{Lock, Source};
    use sim_bridge::{RequesterId, SimTime};

    use super::*;

    #[test]
    fn commands_on_another_iommu_and_null_pointers_are_in_the_sequence() {
        let (function, table) = ("set_remap_table_entry_alias", "rlookup_table");
        let elsewhere = Kind::QueuedElsewhere {
            command: Command::InvalidateDevtabEntry(RequesterId::new(0x41, 8, 0)),
            function,
            table,
        };
        let dereference = Kind::NullDereference {
            function,
            table,
            device: RequesterId::new(0x41, 8, 3),
            lock: Lock::IommuTable,
        };
        let kinds = [Kind::ScenarioStep("allocate".to_owned()), elsewhere, dereference];
        let events = kinds.map(|kind| Event {
            time: SimTime::ZERO,
            source: Source::Driver(0),
            kind,
        });
        let told = sequence(&events);
        for line in [
            "driver    set_remap_table_entry_alias queues on another IOMMU, by rlookup_table, \
             INVALIDATE_DEVTAB_ENTRY 41:08.0",
            "driver    set_remap_table_entry_alias dereferences NULL, rlookup_table of 41:08.3, and dies with \
             iommu_table_lock held",
        ] {
            assert!(told.lines().any(|told| told == line), "{told}");
        }
    }

    #[test]
    fn memory_requests_that_are_refused_or_stale_and_the_iommus_own_interrupts_are_in_the_sequence() {
        let request = MemoryRequest {
            requester: RequesterId::new(0x41, 0, 0),
            address: 0x1000,
            access: Access::Write,
            addressing: Addressing::UNTRANSLATED,
        };
        let about = InterruptSource::Event;
        let judged = |outcome, freshness| Kind::Translated {
            request,
            outcome,
            freshness,
        };
        let translated = |outcome| judged(outcome, Some(Freshness::Fresh));
        let kinds = [
            Kind::ScenarioStep("DMA".to_owned()),
            translated(TranslationOutcome::Forwarded),
            judged(TranslationOutcome::Forwarded, Some(Freshness::Stale)),
            translated(TranslationOutcome::Refused {
                reason: TranslationError::DtePermissions(Access::Write),
                event: None,
            }),
            Kind::OwnInterrupt {
                about,
                reached: Ok(vec![1, 3]),
            },
            Kind::OwnInterrupt {
                about,
                reached: Err(Loss::NoApic(9)),
            },
        ];
        let events = kinds.map(|kind| Event {
            time: SimTime::ZERO,
            source: Source::Iommu,
            kind,
        });
        let expected = "
# DMA
iommu   41:00.0: Write at 0x1000 forwarded (STALE)
iommu   41:00.0: Write at 0x1000 refused: the DTE does not allow Write
iommu   Event interrupt at CPU 1, 3
iommu   Event interrupt lost: no local APIC 0x9
";
        assert_eq!(sequence(&events), expected);
    }
}
