use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use host_model::exec::Signal;

use super::Parameter;
use crate::rig::{Rig, ScenarioError};
use crate::run::{Host, Spec};

/// What a scenario does, step by step, and to which host.
pub struct Plan<'a> {
    /// What is run.
    pub spec: &'a Spec,
    /// What it runs on.
    pub host: Host,
    steps: Vec<Step>,
}

type Work = Box<dyn Fn(Rig) -> Pin<Box<dyn Future<Output = Result<(), ScenarioError>>>>>;

struct Step {
    name: Cow<'static, str>,
    /// Begins with the step before it.
    meanwhile: bool,
    work: Work,
}

impl<'a> Plan<'a> {
    /// The plan of the spec's scenario.
    pub fn of(spec: &'a Spec) -> Self {
        let mut plan = Self {
            spec,
            host: Host::new(spec),
            steps: Vec::new(),
        };
        (spec.scenario.plan)(&mut plan);
        plan
    }

    /// A parameter's value.
    pub fn value(&self, parameter: &Parameter) -> u64 {
        self.spec.values.get(parameter)
    }

    /// Adds a step. It begins when all before it have ended.
    ///
    /// A step that needs what another has done asks the rig for that, which answers [`ScenarioError::NotApplicable`]
    /// where that step was left out.
    pub fn step(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        work: impl AsyncFn(&Rig) -> Result<(), ScenarioError> + 'static,
    ) {
        self.add(name.into(), false, work);
    }

    /// Adds a step that begins at the same time as the one before it; which of the two goes first wherever they meet is
    /// the seed's choice. Put it on a CPU of its own: [`Rig::on`].
    pub fn meanwhile(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        work: impl AsyncFn(&Rig) -> Result<(), ScenarioError> + 'static,
    ) {
        self.add(name.into(), true, work);
    }

    /// Adds the step that most begin with: one interrupt of the NTB is requested on a CPU.
    pub fn request_interrupt(&mut self, cpu: u32) {
        let name = format!("request the interrupt on CPU {cpu}");
        self.step(name, async move |rig: &Rig| rig.request_ntb_irqs(1, cpu).await);
    }

    /// Adds the step in which the NTB interrupts under every ID by its first `vectors`,
    /// [one after the other](Rig::ring_under_every_id).
    pub fn interrupt_under_every_id(&mut self, vectors: usize) {
        self.step("interrupt under every ID", async move |rig: &Rig| {
            for vector in 0..vectors {
                rig.ring_under_every_id(vector).await?;
            }
            Ok(())
        });
    }

    /// Adds the step that waits until all that was sent has ended, and until the old vectors of moves are freed.
    pub fn settle(&mut self, name: &'static str) {
        self.step(name, async |rig: &Rig| {
            rig.settle().await;
            rig.wait_jiffies(2).await;
            Ok(())
        });
    }

    fn add(
        &mut self,
        name: Cow<'static, str>,
        meanwhile: bool,
        work: impl AsyncFn(&Rig) -> Result<(), ScenarioError> + 'static,
    ) {
        let work = Rc::new(work);
        let work: Work = Box::new(move |rig| {
            let work = work.clone();
            Box::pin(async move { work(&rig).await })
        });
        self.steps.push(Step {
            name,
            meanwhile,
            work,
        });
    }

    /// The names of the steps, in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &str> {
        self.steps.iter().map(|step| &*step.name)
    }

    /// The steps that are to run, and what they run on.
    ///
    /// # Errors
    /// The spec names a step that is not there.
    pub fn into_work(self) -> Result<(Host, Steps), StepsError> {
        let have = self.steps.len();
        let chosen = match &self.spec.steps {
            None => return Ok((self.host, Steps(self.steps))),
            Some(chosen) => chosen,
        };
        if let Some(&step) = chosen.iter().find(|step| !(1..=have).contains(step)) {
            return Err(StepsError {
                scenario: self.spec.scenario.name,
                step,
                have,
            });
        }
        let mut steps = Vec::new();
        // Whether one of those that begin together is left.
        let mut begun = false;
        for (number, mut step) in (1..).zip(self.steps) {
            begun &= step.meanwhile;
            if chosen.contains(&number) {
                step.meanwhile = begun;
                begun = true;
                steps.push(step);
            }
        }
        Ok((self.host, Steps(steps)))
    }
}

/// A step that a scenario has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scenario {scenario} has no step {step}: its steps are 1 to {have}")]
pub struct StepsError {
    scenario: &'static str,
    step: usize,
    have: usize,
}

/// Steps that are to run, by number from 1.
pub type Chosen = BTreeSet<usize>;

/// Steps to run.
pub struct Steps(Vec<Step>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|step| &step.name))
            .finish()
    }
}

impl Steps {
    /// Does them.
    ///
    /// # Errors
    /// That of the first step that fails; what begins later is not done.
    pub async fn run(&self, rig: &Rig) -> Result<(), ScenarioError> {
        for together in self.0.chunk_by(|_, next| next.meanwhile) {
            for step in together {
                rig.note(step.name.clone());
            }
            match together {
                [alone] => (alone.work)(rig.clone()).await?,
                several => run_together(rig, several).await?,
            }
        }
        Ok(())
    }
}

async fn run_together(rig: &Rig, steps: &[Step]) -> Result<(), ScenarioError> {
    let running = Rc::new(Cell::new(steps.len()));
    let failed = Rc::new(RefCell::new(None));
    let ended = Rc::new(Signal::default());
    for step in steps {
        let work = (step.work)(rig.clone());
        let (running, failed, ended) = (running.clone(), failed.clone(), ended.clone());
        rig.cpu.machine().executor().spawn(step.name.clone(), async move {
            if let Err(error) = work.await {
                failed.borrow_mut().get_or_insert(error);
            }
            running.set(running.get() - 1);
            ended.notify();
        });
    }
    ended.wait_until(|| running.get() == 0).await;
    let failed = failed.take();
    failed.map_or(Ok(()), Err)
}
