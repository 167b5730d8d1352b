//! The main job: calibrate on the trajectory, prune, save. One package after the other, each calibrated on the
//! model with the earlier ones pruned.

mod state;
mod times;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::state::State;
use self::times::Times;
use crate::calibration::{Calibrator, TapHessian};
use crate::checkpoint::save::{RECIPE_FILE, REPORT_FILE, output_bytes};
use crate::checkpoint::{OutputFolder, Pipeline, copy_components, save_like, write_atomic, write_config};
use crate::conditioning::Conditioning;
use crate::error::{Error, Result};
use crate::journal::{Journal, fingerprint};
use crate::memory::Size;
use crate::model::taps::Tap;
use crate::model::{Observer, Transformer};
use crate::ops::{DType, Engine, Place, Tensor};
use crate::plan::{self, Package, Workload};
pub use crate::progress::Progress;
use crate::prune::{check_pattern, check_sweep};
use crate::recipe::{Noise, Packages, Patch, Recipe};
use crate::report::prune::{PruneReport, RunReport, model_card};
use crate::sampling::{Probe, Sampler, SamplingOptions};

/// What to prune, with what, and where to.
pub struct PruneJob {
    pub model: PathBuf,
    pub output: PathBuf,
    pub overwrite: bool,
    /// Embeddings to calibrate with; needed by every method but plain magnitude.
    pub calibration: Option<PathBuf>,
    pub recipe: Recipe,
    /// Sampling settings that were chosen, the rest follows from the model; and the limit of GPU memory.
    pub sampling: Patch,
    /// The dtype in which weights are held while the model runs.
    pub dtype: DType,
    /// Where the model runs and Hessians are gathered and solved.
    pub engine: Arc<dyn Engine>,
    /// Folder for what is finished, so that an interrupted job can go on; removed when the job is done.
    pub journal: Option<PathBuf>,
    /// The command line, for the report.
    pub command: Vec<String>,
}

/// What a finished job tells.
#[derive(Debug)]
pub struct Outcome {
    /// Also in `obsdiff.json`; depends on the input alone.
    pub report: PruneReport,
    /// Also in `run.json`: times and memory of this run.
    pub run: RunReport,
}

/// File beside the model with what differs from run to run.
pub const RUN_FILE: &str = "run.json";

/// Prunes a model folder into an output folder.
///
/// Everything that can be refused is refused before work begins; the output appears complete or not at all.
///
/// # Errors
/// Any [`Error`]; nothing is left behind but the journal.
pub fn prune(job: &PruneJob, progress: &dyn Progress) -> Result<Outcome> {
    prune_all(job, progress).map_err(|error| match error {
        Error::Interrupted { .. } => Error::Interrupted { journaled: job.journal.is_some() },
        other => other,
    })
}

fn prune_all(job: &PruneJob, progress: &dyn Progress) -> Result<Outcome> {
    let mut times = Times::start();
    let pipeline = Pipeline::open(&job.model)?;
    let checkpoint = pipeline.weights()?;
    let recipe = &job.recipe;
    let taps: Vec<Tap> = plan::chosen_units(&pipeline.architecture, recipe).into_iter().flatten().collect();
    taps.iter().try_for_each(|tap| check_pattern(recipe.pattern, tap))?;
    check_sweep(recipe, job.engine.place())?;
    let (calibration, sampler) = open_calibration(job, &pipeline)?;
    let work = workload(job, &pipeline, calibration.as_ref(), &sampler);
    let packages = cut_packages(job, &pipeline, &work)?;
    let plan = plan::plan(&pipeline.architecture, recipe, &work, &packages);
    let needed = output_bytes(&pipeline, &checkpoint)?;
    let inputs: Vec<&Path> = std::iter::once(job.model.as_path()).chain(job.calibration.as_deref()).collect();
    let output = OutputFolder::create(&job.output, &inputs, needed, job.overwrite)?;

    let open_journal = |folder: &Path| {
        let settings = resolved(recipe, &sampler, packages.len()).to_toml();
        let dtype = job.dtype.as_str();
        let engine = job.engine.name();
        let fingerprint = fingerprint(&pipeline, &checkpoint, &settings, dtype, engine, job.calibration.as_deref())?;
        Journal::open(folder, fingerprint, packages.len())
    };
    let mut journal = job.journal.as_deref().map(open_journal).transpose()?;

    progress.begin("load", 1);
    let model =
        Transformer::from_checkpoint(pipeline.architecture.clone(), &checkpoint, job.dtype, job.engine.clone())?;
    let mut state = State::new(model, &checkpoint);
    progress.advance()?;
    times.load = times.lap();

    let finished = journal.as_ref().map_or(0, Journal::finished);
    if let Some(journal) = &journal {
        (0..finished).try_for_each(|index| state.restore(journal.load(index)?))?;
    }
    let count = packages.len();
    for (index, package) in packages.into_iter().enumerate().skip(finished) {
        let before = (state.layers.len(), state.hessians.len());
        let passes = package.passes.len();
        state.begin_package(index, passes);
        for (pass, taps) in package.passes.into_iter().enumerate() {
            let label = label((index, count), (pass, passes));
            let calibrated = match &calibration {
                Some(calibration) => {
                    progress.begin(&format!("calibrate{label}"), steps(&sampler, calibration));
                    Some(calibrate(&state.model, &sampler, calibration, recipe, &taps, &mut times, progress)?)
                }
                None => None,
            };
            progress.begin(&format!("prune{label}"), taps.len() as u64);
            state.prune_taps(taps, calibrated, recipe, &mut times.solve, progress)?;
        }
        state.end_package()?;
        if let Some(journal) = &mut journal {
            state.commit(journal, before)?;
        }
        times.lap();
    }

    progress.begin("save", 1);
    let report = state.report(job, &pipeline, &sampler, calibration.as_ref(), plan.packages.len());
    copy_components(&pipeline, output.path())?;
    let transformer = pipeline.transformer_in(output.path());
    save_like(&checkpoint, &transformer, |name| state.replacement(name))?;
    write_config(&pipeline, &transformer, report.config_entry())?;
    write_json(&output.path().join(REPORT_FILE), &report)?;
    write_atomic(output.path().join(RECIPE_FILE), report.recipe.to_toml().as_bytes())?;
    write_atomic(output.path().join("README.md"), model_card(&report).as_bytes())?;
    times.save = times.lap();
    let run = times.report(job, plan);
    write_json(&output.path().join(RUN_FILE), &run)?;
    progress.advance()?;
    output.commit()?;
    journal.map_or(Ok(()), Journal::remove)?;
    Ok(Outcome { report, run })
}

/// Which of several packages and which of its several passes, as in ` 1/2, pass 2/3`.
fn label((package, packages): (usize, usize), (pass, passes): (usize, usize)) -> String {
    let package = if packages == 1 { String::new() } else { format!(" {}/{packages}", package + 1) };
    if passes == 1 { package } else { format!("{package}, pass {}/{passes}", pass + 1) }
}

/// Steps of all trajectories of a calibration.
fn steps(sampler: &Sampler, calibration: &Conditioning) -> u64 {
    (sampler.batches(calibration.rows()).len() * sampler.schedule().steps()) as u64
}

/// Runs the trajectories of all samples and gathers the Hessians of `package`, not yet finished.
fn calibrate(
    model: &Transformer,
    sampler: &Sampler,
    calibration: &Conditioning,
    recipe: &Recipe,
    package: &[Tap],
    times: &mut Times,
    progress: &dyn Progress,
) -> Result<Vec<TapHessian>> {
    let weights = recipe.timestep_weights.weights(&sampler.schedule().sigmas, recipe.weight_range);
    let calibrator = Calibrator::new(package.iter().cloned(), weights, model.engine())?;
    let mut watch = Watch { calibrator, progress };
    times.lap();
    sampler.sample(model, calibration, &mut watch)?;
    let spent = watch.calibrator.spent();
    times.hessians += spent;
    let elapsed = times.lap();
    times.forward += elapsed.saturating_sub(spent);
    Ok(watch.calibrator.into_hessians())
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    write_atomic(path, format!("{:#}\n", serde_json::json!(value)).as_bytes())
}

/// The sampler of a model: the settings of `patch` over the defaults of its diffusers pipeline.
///
/// # Errors
/// Those of [`Sampler::new`].
pub fn sampler(pipeline: &Pipeline, patch: &Patch) -> Result<Sampler> {
    let vae = pipeline.vae_config();
    let default = SamplingOptions::defaults(&pipeline.architecture, &vae);
    let options = SamplingOptions {
        num_inference_steps: patch.num_inference_steps.unwrap_or(default.num_inference_steps),
        guidance_scale: patch.guidance_scale.map_or(default.guidance_scale, |scale| scale as f32),
        height: patch.height.unwrap_or(default.height),
        width: patch.width.unwrap_or(default.width),
        seed: patch.seed.unwrap_or(default.seed),
        batch_size: patch.batch_size.unwrap_or(default.batch_size),
    };
    Sampler::new(&pipeline.architecture, &pipeline.scheduler_config(), &vae, options)
}

fn open_calibration(job: &PruneJob, pipeline: &Pipeline) -> Result<(Option<Conditioning>, Sampler)> {
    let sampler = sampler(pipeline, &job.sampling)?;
    if !job.recipe.needs_calibration() {
        if let Some(path) = &job.calibration {
            tracing::warn!(file = %path.display(), "this method needs no activations: the calibration file is not read");
        }
        return Ok((None, sampler));
    }
    let Some(path) = &job.calibration else {
        return Err(Error::Usage(format!(
            "method {} needs activations: pass --calibration FILE (only --method magnitude --refine none does without)",
            serde_json::json!(job.recipe.method).as_str().unwrap_or_default()
        )));
    };
    let mut calibration = Conditioning::open(path, &pipeline.architecture)?;
    if job.recipe.noise == Noise::Seed {
        calibration.latents = None;
    }
    sampler.check(&pipeline.architecture, &calibration)?;
    Ok((Some(calibration), sampler))
}

/// Cuts the packages; a job that goes on keeps its number of packages, whatever memory there is now.
fn cut_packages(job: &PruneJob, pipeline: &Pipeline, work: &Workload) -> Result<Vec<Package>> {
    let automatic = job.recipe.packages == Packages::Auto;
    let begun = job.journal.as_deref().filter(|_| automatic).map(Journal::packages_of).transpose()?.flatten();
    let recipe = match begun {
        Some(packages) => Recipe { packages: Packages::Fixed(packages), ..job.recipe.clone() },
        None => job.recipe.clone(),
    };
    let available = limit(work.place, job.engine.available_memory(), job.sampling.max_vram)?;
    plan::packages(&pipeline.architecture, &recipe, work, available)
}

/// The memory to plan for: what is there, or less if `max_vram` says so.
///
/// # Errors
/// [`Error::Usage`] for a limit of GPU memory where no GPU computes.
pub fn limit(place: Place, there: Option<u64>, max_vram: Option<Size>) -> Result<Option<u64>> {
    match max_vram {
        Some(_) if !place.is_gpu() => Err(Error::Usage(
            "--max-vram limits GPU memory, and this job computes on the CPU: leave it out, or choose --device cuda; \
             on the CPU --packages sets how much is in memory at once"
                .into(),
        )),
        Some(Size(limit)) => Ok(Some(there.map_or(limit, |there| there.min(limit)))),
        None => Ok(there),
    }
}

/// Every setting of the job as a recipe file: what it resolved to.
fn resolved(recipe: &Recipe, sampler: &Sampler, packages: usize) -> Patch {
    let sampling = sampler.options();
    Patch {
        packages: Some(packages.to_string()),
        num_inference_steps: Some(sampling.num_inference_steps),
        guidance_scale: Some(f64::from(sampling.guidance_scale)),
        height: Some(sampling.height),
        width: Some(sampling.width),
        seed: Some(sampling.seed),
        batch_size: Some(sampling.batch_size),
        ..recipe.to_patch()
    }
}

fn workload(job: &PruneJob, pipeline: &Pipeline, calibration: Option<&Conditioning>, sampler: &Sampler) -> Workload {
    let samples = calibration.map_or(0, Conditioning::rows);
    Workload {
        samples,
        num_inference_steps: sampler.schedule().steps(),
        branches: 1 + usize::from(sampler.doubles_rows(&pipeline.architecture)),
        batch_size: sampler.batches(samples).first().map_or(0, |rows| rows.len()),
        image_tokens: sampler.size().tokens(),
        text_tokens: calibration.map_or(0, Conditioning::tokens),
        bytes_per_weight: job.dtype.size_in_bytes() as u64,
        threads: rayon::current_num_threads(),
        place: job.engine.place(),
    }
}

/// The calibrator with its progress shown.
struct Watch<'a> {
    calibrator: Calibrator,
    progress: &'a dyn Progress,
}

impl Observer for Watch<'_> {
    fn observe(&mut self, module: &str, input: &Tensor) -> Result<()> {
        self.calibrator.observe(module, input)
    }
}

impl Probe for Watch<'_> {
    fn begin_step(&mut self, step: usize, total: usize) -> Result<()> {
        self.calibrator.begin_step(step, total)
    }

    fn end_step(&mut self, _: usize, _: &Tensor) -> Result<()> {
        self.progress.advance()
    }
}
