use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};
use sim_bridge::SimTime;

use super::record::{Record, source};
use super::{Run, finding_time};

/// Writes a run: a line at its start, one for each event, one for each finding, one at its end or failure.
pub(super) fn write(out: &mut impl Write, run: &Run) -> io::Result<()> {
    let mut line = |time, source: &str, record| {
        let line = Line {
            run: run.name,
            time,
            source,
            record,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")
    };
    line(SimTime::ZERO, "run", Record::run_began(run.spec, run.hardware))?;
    for event in run.events {
        line(event.time, &source(event.source), Record::of(event))?;
    }
    for finding in run.findings {
        let time = finding_time(finding, run.events);
        line(time, "checker", Record::finding(finding))?;
    }
    line(run.end(), "run", Record::run_ended(run.result))
}

struct Line<'a> {
    run: &'a str,
    time: SimTime,
    source: &'a str,
    record: Record,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("run", self.run)?;
        map.serialize_entry("time_ps", &self.time.as_ps())?;
        map.serialize_entry("time", &us(self.time))?;
        map.serialize_entry("source", self.source)?;
        map.serialize_entry("event", self.record.event)?;
        for (name, value) in &self.record.fields {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("text", &self.record.text)?;
        map.end()
    }
}

/// To the picosecond.
fn us(time: SimTime) -> String {
    let ps = time.as_ps();
    format!("{}.{:06} us", ps / 1_000_000, ps % 1_000_000)
}
