//! Every scenario under every kernel profile and alias topology.

use std::collections::BTreeMap;

use host_model::checker::Verdict;
use host_model::linux::Profile;

use crate::lock_limit::LockLimit;
use crate::pool;
use crate::run::{IrteFormat, Outcome, SimulationError, Spec};
use crate::scenario::{Chosen, Difference, Expected, Scenario, Values};
use crate::topology::Topology;

/// Which scenarios, under which kernel profiles and alias topologies.
#[derive(Clone)]
pub struct Selection {
    /// Scenarios, with their parameters.
    pub scenarios: Vec<(Scenario, Values)>,
    /// Alias topologies.
    pub topologies: Vec<Topology>,
    /// Kernel profiles.
    pub profiles: Vec<Profile>,
    /// The format of remapping entries.
    pub irte: IrteFormat,
    /// Which steps; `None` is all.
    pub steps: Option<Chosen>,
    /// For how long a lock may be held with interrupts off.
    pub lock_limit: LockLimit,
}

impl Selection {
    /// Scenario by scenario, kernel by kernel, topology by topology, seed by seed.
    pub fn specs(&self, seeds: &[u64]) -> Vec<Spec> {
        let mut specs = Vec::new();
        for scenario in &self.scenarios {
            for &profile in &self.profiles {
                for topology in &self.topologies {
                    let spec = |&seed| self.spec(scenario, profile, topology, seed);
                    specs.extend(seeds.iter().map(spec));
                }
            }
        }
        specs
    }

    fn spec(
        &self,
        (scenario, values): &(Scenario, Values),
        profile: Profile,
        topology: &Topology,
        seed: u64,
    ) -> Spec {
        Spec {
            irte: self.irte,
            seed,
            values: values.clone(),
            steps: self.steps.clone(),
            lock_limit: self.lock_limit,
            ..Spec::new(*scenario, profile, topology.clone())
        }
    }
}

/// Rows are scenarios, groups of columns topologies, the columns of each kernel profiles.
pub struct Matrix {
    /// What ran.
    pub selection: Selection,
    /// Row by row.
    cells: Vec<Cell>,
}

/// A scenario under a profile and a topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// What it should find.
    pub expected: Expected,
    /// What became of it.
    pub result: CellResult,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellResult {
    /// It makes no sense, and was not run.
    Senseless,
    /// It ran.
    Ran {
        /// The worst kind of finding.
        verdict: Verdict,
        /// What is not as expected.
        difference: Difference,
    },
    /// The simulation failed, and this is why.
    Failed(String),
}

impl Cell {
    /// It ran and found what it should, or should not run.
    pub fn is_expected(&self) -> bool {
        match &self.result {
            CellResult::Senseless => true,
            CellResult::Ran { difference, .. } => difference.is_none(),
            CellResult::Failed(_) => false,
        }
    }
}

impl Matrix {
    /// Runs the selection by `run`, on all CPUs. `done` is told how many of how many runs have ended, and which was the
    /// last.
    pub fn run(
        selection: Selection,
        seed: u64,
        run: impl Fn(&Spec) -> Result<Outcome, SimulationError> + Sync,
        mut done: impl FnMut(usize, usize, &Spec),
    ) -> Self {
        let mut specs = Vec::new();
        for scenario in &selection.scenarios {
            for topology in &selection.topologies {
                let spec = |&profile| selection.spec(scenario, profile, topology, seed);
                specs.extend(selection.profiles.iter().map(spec));
            }
        }
        let mut cells = BTreeMap::new();
        pool::run(
            specs.len(),
            |number| cell(&specs[number], &run),
            |results| {
                for (number, cell) in results {
                    cells.insert(number, cell);
                    done(cells.len(), specs.len(), &specs[number]);
                }
            },
        );
        Self {
            selection,
            cells: cells.into_values().collect(),
        }
    }

    /// The cell of a row, a group and a column of that.
    pub fn cell(&self, scenario: usize, topology: usize, profile: usize) -> &Cell {
        let row = scenario * self.selection.topologies.len() + topology;
        &self.cells[row * self.selection.profiles.len() + profile]
    }

    /// All cells, with scenario, topology and profile.
    pub fn cells(&self) -> impl Iterator<Item = (&Scenario, &Topology, Profile, &Cell)> {
        let Selection {
            scenarios,
            topologies,
            profiles,
            ..
        } = &self.selection;
        let places = scenarios.iter().flat_map(move |(scenario, _)| {
            topologies
                .iter()
                .flat_map(move |topology| profiles.iter().map(move |&profile| (scenario, topology, profile)))
        });
        places
            .zip(&self.cells)
            .map(|((scenario, topology, profile), cell)| (scenario, topology, profile, cell))
    }

    /// The first column with a cell that is not as expected.
    pub fn first_column_that_differs(&self) -> Option<(&Topology, Profile)> {
        let (groups, columns) = (&self.selection.topologies, &self.selection.profiles);
        let differs = |group, column| {
            (0..self.selection.scenarios.len()).any(|row| !self.cell(row, group, column).is_expected())
        };
        let mut places =
            (0..groups.len()).flat_map(|group| (0..columns.len()).map(move |column| (group, column)));
        let (group, column) = places.find(|&(group, column)| differs(group, column))?;
        Some((&groups[group], columns[column]))
    }

    /// Whether a simulation failed.
    pub fn has_failed(&self) -> bool {
        self.cells
            .iter()
            .any(|cell| matches!(cell.result, CellResult::Failed(_)))
    }
}

fn cell(spec: &Spec, run: impl Fn(&Spec) -> Result<Outcome, SimulationError>) -> Cell {
    let expected = spec.expected();
    let result = if expected.is_senseless() {
        CellResult::Senseless
    } else {
        match run(spec) {
            Ok(Outcome {
                verdict, difference, ..
            }) => CellResult::Ran { verdict, difference },
            Err(error) => CellResult::Failed(error.to_string()),
        }
    };
    Cell { expected, result }
}
