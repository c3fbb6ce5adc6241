use host_model::iommu::Step;
use host_model::iommu::spec::event::Event as IommuEvent;
use host_model::trace::{Kind, LockStep};

use crate::view;

/// An event as people read it.
pub(super) fn text(kind: &Kind) -> String {
    match kind {
        Kind::InterruptSent(request) => {
            format!(
                "interrupt {} {:#x} {:#x}",
                request.requester, request.address, request.data
            )
        }
        Kind::ToHost(tlp) => format!("to host: {tlp}"),
        Kind::ToDevice(tlp) => format!("to device: {tlp}"),
        Kind::Dropped {
            requester,
            address,
            why,
        } => format!("dropped: write of {requester} to {address:#x}, {why:?}"),
        Kind::Answered { answer, freshness } => {
            format!(
                "{}: {}{}",
                answer.request.requester,
                view::answer(answer),
                view::freshness(*freshness)
            )
        }
        Kind::Translated {
            request,
            outcome,
            freshness,
        } => {
            format!(
                "{}{}{}",
                request.requester,
                view::translation(request, outcome),
                view::freshness(*freshness)
            )
        }
        Kind::Stepped(step) => step_text(step),
        Kind::PowerCycled => "power goes and comes back".to_owned(),
        Kind::OwnInterrupt { about, reached } => view::own_interrupt(*about, reached),
        Kind::Ended { request, ending } => format!("{}: {ending}", request.requester),
        Kind::Taken { vector, handled } => {
            format!(
                "takes vector {vector:#04x}{}",
                if *handled { "" } else { ", no handler" }
            )
        }
        Kind::EndOfInterrupt { vector } => format!("end of interrupt, vector {vector:#04x}"),
        Kind::RegisterWritten { offset, size, value } => {
            format!("register {offset:#x} ({size} bytes) = {value:#x}")
        }
        Kind::Lock { lock, step } => match step {
            LockStep::Contended => format!("spins for {lock}"),
            LockStep::Taken { interrupts_off: true } => format!("takes {lock}, interrupts off"),
            LockStep::Taken {
                interrupts_off: false,
            } => format!("takes {lock}"),
            LockStep::Released => format!("releases {lock}"),
        },
        Kind::CallBegan(name) => format!("{name} called"),
        Kind::CallEnded(name) => format!("{name} returned"),
        Kind::Queued(command) => format!("queues {}", view::command(command)),
        Kind::QueuedElsewhere {
            command,
            function,
            table,
        } => {
            format!(
                "{function} queues {} on another IOMMU, by {table}",
                view::command(command)
            )
        }
        Kind::DteWritten { device, raw } => format!("DTE {device} = {raw:016x?}"),
        Kind::UsedAfterRelease {
            function,
            device,
            released_at,
            released_on,
        } => {
            format!("{function} uses {device}, which cpu{released_on} released at {released_at}")
        }
        Kind::NullDereference {
            function,
            table,
            device,
            lock,
        } => {
            format!("{function} dereferences NULL, {table}[{device}], and dies with {lock} held")
        }
        Kind::IrteWritten {
            device,
            index,
            raw,
            format,
        } => {
            format!("IRTE {device}[{index}] = {raw:#x}: {}", view::irte(*raw, *format))
        }
        Kind::KernelLog(line) => format!("log: {line}"),
        Kind::ScenarioStep(step) => format!("step: {step}"),
    }
}

fn step_text(step: &Step) -> String {
    let of = |event: &IommuEvent| match event.device() {
        Some(id) => format!("{} of {id}", event.name()),
        None => event.name().to_owned(),
    };
    match step {
        Step::CommandExecuted {
            command,
            retired: true,
            ..
        } => format!("executes {}", view::command(command)),
        Step::CommandExecuted { command, .. } => {
            format!(
                "executes {}, older lookups are unanswered",
                view::command(command)
            )
        }
        Step::CommandRetired { command, .. } => format!("retires {}", view::command(command)),
        Step::Waiting { command, .. } => format!("{} waits for older commands", view::command(command)),
        Step::CompletionStored {
            command,
            address,
            data,
            ..
        } => format!("{} stores {data:#x} to {address:#x}", view::command(command)),
        Step::Halted { reason, .. } => format!("halts: {reason}"),
        Step::EventWritten { event, .. } => format!("logs {}", of(event)),
        Step::EventDropped { event, reason } => format!("drops {}, {reason}", of(event)),
        Step::PprWritten { entry, .. } => format!("logs a page request of {}", entry.device),
        Step::PprDropped { entry, reason } => format!("drops a page request of {}, {reason}", entry.device),
        Step::GaWritten { entry, .. } => format!("logs a guest's interrupt of {}", entry.device),
        Step::GaDropped { entry, reason } => {
            format!("drops a guest's interrupt of {}, {reason}", entry.device)
        }
        Step::Interrupt { source, .. } => format!("sends its {source:?} interrupt"),
    }
}
