//! What a run takes: time per stage, memory planned and measured.

use std::path::Path;
use std::time::{Duration, Instant};

use super::PruneJob;
use crate::plan::Plan;
use crate::prune::SolveTimes;
use crate::report::prune::{Inputs, RunReport};

/// The inputs of a job where they lie.
fn inputs(job: &PruneJob) -> Inputs {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into()).display().to_string();
    let calibration = job.calibration.clone().filter(|_| job.recipe.needs_calibration());
    Inputs {
        model: absolute(&job.model),
        calibration: calibration.map(|calibration| calibration.absolute()),
        dtype: job.dtype.as_str().to_string(),
    }
}

/// Stopwatch of the stages.
pub(super) struct Times {
    started: Instant,
    last: Instant,
    pub(super) encode: Duration,
    pub(super) load: Duration,
    pub(super) forward: Duration,
    pub(super) hessians: Duration,
    pub(super) solve: SolveTimes,
    pub(super) save: Duration,
}

impl Times {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        let zero = Duration::ZERO;
        let solve = SolveTimes::default();
        Times { started: now, last: now, encode: zero, load: zero, forward: zero, hessians: zero, solve, save: zero }
    }

    /// Time since the last lap.
    pub(super) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let spent = now - self.last;
        self.last = now;
        spent
    }

    pub(super) fn report(&self, job: &PruneJob, plan: Plan) -> RunReport {
        let stages = [
            ("encode", self.encode),
            ("load", self.load),
            ("forward", self.forward),
            ("hessians", self.hessians),
            ("factor", self.solve.factor),
            ("sweep", self.solve.sweep),
            ("refine", self.solve.refine),
            ("error", self.solve.error),
            ("save", self.save),
        ];
        RunReport {
            command: job.command.clone(),
            folder: std::env::current_dir().map_or(String::new(), |folder| folder.display().to_string()),
            inputs: inputs(job),
            engine: job.engine.name().to_string(),
            threads: rayon::current_num_threads(),
            seconds: self.started.elapsed().as_secs_f64(),
            stages: stages.iter().map(|(name, time)| (name.to_string(), time.as_secs_f64())).collect(),
            planned_peak_bytes: plan.peak_bytes,
            plan,
            measured_peak_bytes: crate::memory::peak(),
        }
    }
}
