//! `device`.

use super::arguments::DeviceArgs;
use super::files::{Named, check_distinct};
use super::output::progress;
use super::{AS_EXPECTED, Stop, cannot_write};
use crate::device::{self, DeviceOptions};

pub(super) fn device(args: DeviceArgs) -> Result<u8, Stop> {
    let DeviceArgs {
        link,
        aliases,
        waves,
        every_cycle,
    } = args;
    if let Some(waves) = &waves {
        let written = [
            Named::new("--link", Some(&link)),
            Named::new("--waves", Some(waves)),
        ];
        check_distinct(&written, &[Named::new("--aliases", aliases.path())])?;
        device::check_writable(waves).map_err(|error| cannot_write(waves, &error))?;
    }
    progress(&format!("{aliases}, for a host at {}", link.display()));
    let options = DeviceOptions {
        topology: aliases,
        every_cycle,
        waves,
    };
    let result = device::open(&link).and_then(|port| device::run(port, &options));
    progress("");
    result.map_err(|error| Stop::Simulation(error.to_string()))?;
    Ok(AS_EXPECTED)
}
