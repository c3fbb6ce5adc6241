//! `explain`.

use super::arguments::ExplainArgs;
use super::output::{emit, progress};
use super::{AS_EXPECTED, Stop, stop};
use crate::device::DeviceOptions;
use crate::report::explain::long;
use crate::report::text;
use crate::run::run;

pub(super) fn explain(ExplainArgs { finding, link }: &ExplainArgs) -> Result<u8, Stop> {
    let spec = &finding.spec;
    let device = DeviceOptions {
        topology: spec.topology.clone(),
        every_cycle: false,
        waves: None,
    };
    progress(&spec.to_string());
    let outcome = run(spec, link, &device);
    progress("");
    let outcome = outcome.map_err(|failure| stop(&spec.to_string(), &failure.error))?;
    let text = long(finding, &outcome, text::width()).map_err(|error| Stop::Input(error.to_string()))?;
    emit(&text)?;
    Ok(AS_EXPECTED)
}
