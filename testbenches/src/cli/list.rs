//! `list`.

use std::io::{self, Write};

use host_model::linux::Profile;

use super::{AS_EXPECTED, Stop};
use crate::report::text;
use crate::scenario::Scenario;
use crate::topology::Topology;

pub(super) fn list() -> Result<u8, Stop> {
    let mut out = anstream::stdout().lock();
    let mut section = |title: &str, rows: Vec<(String, String)>| -> io::Result<()> {
        writeln!(out, "{title}")?;
        let column = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(16);
        let indent = " ".repeat(column + 4);
        for (name, sentence) in rows {
            let row = format!("  {name:column$}  ");
            writeln!(out, "{}", text::wrapped(&sentence, text::width(), &row, &indent))?;
        }
        Ok(())
    };
    let scenarios = Scenario::ALL.into_iter().flat_map(|scenario| {
        let parameters = scenario.parameters.iter().map(|parameter| {
            let (name, range) = (parameter.name, &parameter.range);
            let sentence = parameter.sentence;
            let (min, max, default) = (range.start(), range.end(), parameter.default);
            (
                format!("  --param {name}"),
                format!("{sentence}: {min} to {max} [{default}]"),
            )
        });
        std::iter::once((scenario.name.to_owned(), scenario.sentence.to_owned())).chain(parameters)
    });
    let kernels = Profile::ALL.map(|p| match p.irt_flush.all_above {
        Some(_) => (format!("{}:N", p.name), p.sentence()),
        None => (p.name.to_owned(), p.sentence()),
    });
    let mut topologies: Vec<_> = Topology::built_in()
        .iter()
        .map(|t| (t.pattern(), t.sentence().to_owned()))
        .collect();
    topologies.push((
        "FILE.toml".to_owned(),
        "one of your own: the README tells how to write it".to_owned(),
    ));
    section("Scenarios", scenarios.collect())
        .and_then(|()| section("\nKernel profiles (--kernel)", kernels.into()))
        .and_then(|()| section("\nAlias topologies (--aliases)", topologies))
        .map_err(Stop::Output)?;
    Ok(AS_EXPECTED)
}
