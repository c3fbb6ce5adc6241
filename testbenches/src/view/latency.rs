use std::collections::VecDeque;
use std::fmt::Write as _;

use host_model::iommu::InterruptRequest;
use host_model::trace::{Event, Kind};
use sim_bridge::SimTime;

/// How long each interrupt and driver call took, from the scenario's first step on.
pub fn latencies(events: &[Event]) -> String {
    let start = events
        .iter()
        .position(|event| matches!(event.kind, Kind::ScenarioStep(_)))
        .unwrap_or(0);
    let mut sent: VecDeque<(InterruptRequest, SimTime)> = VecDeque::new();
    let mut answered: VecDeque<(InterruptRequest, SimTime)> = VecDeque::new();
    let mut called = SimTime::ZERO;
    let mut text = String::new();
    for Event { time, kind, .. } in &events[start..] {
        // Writing to a string does not fail.
        let _ = match kind {
            Kind::ScenarioStep(name) => writeln!(text, "\n# {name}"),
            Kind::InterruptSent(request) => {
                sent.push_back((*request, *time));
                Ok(())
            }
            Kind::Answered { answer, .. } => {
                answered.push_back((answer.request, *time));
                Ok(())
            }
            Kind::Ended { request, .. } => {
                let since = |queue: &mut VecDeque<(InterruptRequest, SimTime)>| {
                    let found = queue
                        .iter()
                        .position(|(asked, _)| asked == request)
                        .and_then(|n| queue.remove(n));
                    found.map_or(SimTime::ZERO, |(_, at)| *time - at)
                };
                let (total, tail) = (since(&mut sent), since(&mut answered));
                let id = request.requester;
                writeln!(
                    text,
                    "interrupt {id}: {total} from the RTL to its end, {tail} of it after the IOMMU's answer"
                )
            }
            Kind::CallBegan(_) => {
                called = *time;
                Ok(())
            }
            Kind::CallEnded(name) => writeln!(text, "{name}: {}", *time - called),
            _ => Ok(()),
        };
    }
    text
}
