//! The main job: calibrate on the trajectory, prune, save. One package after the other, each calibrated on the
//! model with the earlier ones pruned.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use crate::calibration::{Calibrator, TapHessian};
use crate::checkpoint::save::{RECIPE_FILE, REPORT_FILE, output_bytes};
use crate::checkpoint::{
    Checkpoint, Dtype, OutputFolder, Pipeline, copy_components, save_like, write_atomic, write_config,
};
use crate::conditioning::Conditioning;
use crate::error::{Error, Result};
use crate::model::taps::Tap;
use crate::model::{Observer, Transformer};
use crate::ops::Rounding;
use crate::plan::{self, Plan, Workload};
use crate::prune::{DenseLayer, PrunedLayer, SolveTimes, check_pattern, solve, solve_by_magnitude};
use crate::recipe::{Noise, Packages, Patch, Recipe};
use crate::report::prune::{CalibrationReport, HessianReport, LayerReport, PruneReport, RunReport, model_card};
use crate::sampling::{Probe, Sampler, SamplingOptions};

/// What to prune, with what, and where to.
pub struct PruneJob {
    pub model: PathBuf,
    pub output: PathBuf,
    pub overwrite: bool,
    /// Embeddings to calibrate with; needed by every method but plain magnitude.
    pub calibration: Option<PathBuf>,
    pub recipe: Recipe,
    /// Sampling settings that were chosen; the rest follows from the model.
    pub sampling: Patch,
    /// The dtype in which weights are held while the model runs.
    pub dtype: DType,
    /// The command line, for the report.
    pub command: Vec<String>,
}

/// Hears how far the job is.
pub trait Progress: Sync {
    /// A stage of `steps` equal steps begins; an earlier one is over.
    fn begin(&self, stage: &str, steps: u64);
    /// One step is done. An error stops the job, for example because the user interrupted it.
    fn advance(&self) -> Result<()>;
}

/// What a finished job tells.
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
/// Any [`Error`]; nothing is left behind.
pub fn prune(job: &PruneJob, progress: &dyn Progress) -> Result<Outcome> {
    let mut times = Times::start();
    let pipeline = Pipeline::open(&job.model)?;
    let checkpoint = pipeline.weights()?;
    let recipe = &job.recipe;
    let taps: Vec<Tap> = plan::chosen_units(&pipeline.architecture, recipe).into_iter().flatten().collect();
    taps.iter().try_for_each(|tap| check_pattern(recipe.pattern, tap))?;
    let (calibration, sampler) = open_calibration(job, &pipeline)?;
    let work = workload(job, &pipeline, calibration.as_ref(), &sampler);
    let available = (recipe.packages == Packages::Auto).then(crate::memory::available).flatten();
    let packages = plan::packages(&pipeline.architecture, recipe, &work, available)?;
    let plan = plan::plan(&pipeline.architecture, recipe, &work, &packages);
    let needed = output_bytes(&pipeline, &checkpoint)?;
    let inputs: Vec<&Path> = std::iter::once(job.model.as_path()).chain(job.calibration.as_deref()).collect();
    let output = OutputFolder::create(&job.output, &inputs, needed, job.overwrite)?;

    progress.begin("load", 1);
    let mut state = State {
        model: Transformer::from_checkpoint(pipeline.architecture.clone(), &checkpoint, job.dtype)?,
        checkpoint: &checkpoint,
        kept_apart: HashMap::new(),
        layers: Vec::new(),
        hessians: Vec::new(),
    };
    progress.advance()?;
    times.load = times.lap();

    for (index, package) in packages.into_iter().enumerate() {
        let label =
            if plan.packages.len() == 1 { String::new() } else { format!(" {}/{}", index + 1, plan.packages.len()) };
        let calibrated = match &calibration {
            Some(calibration) => {
                let weights = recipe.timestep_weights.weights(&sampler.schedule().sigmas, recipe.weight_range);
                let steps = sampler.batches(calibration.rows()).len() * weights.len();
                progress.begin(&format!("calibrate{label}"), steps as u64);
                let mut watch = Watch { calibrator: Calibrator::new(package.clone(), weights), progress };
                sampler.sample(&state.model, calibration, &mut watch)?;
                let spent = watch.calibrator.spent();
                times.hessians += spent;
                let elapsed = times.lap();
                times.forward += elapsed.saturating_sub(spent);
                Some(watch.calibrator.into_hessians())
            }
            None => None,
        };
        progress.begin(&format!("prune{label}"), package.len() as u64);
        state.prune_package(package, calibrated, index, recipe, &mut times.solve, progress)?;
        times.lap();
    }

    progress.begin("save", 1);
    let report = state.report(job, &pipeline, &sampler, calibration.as_ref(), &plan);
    copy_components(&pipeline, output.path())?;
    let transformer = pipeline.transformer_in(output.path());
    save_like(&checkpoint, &transformer, |name| state.replacement(name))?;
    write_config(&pipeline, &transformer, report.config_entry())?;
    let write_json = |file: &str, value: serde_json::Value| {
        write_atomic(output.path().join(file), format!("{value:#}\n").as_bytes())
    };
    write_json(REPORT_FILE, serde_json::json!(report))?;
    write_atomic(output.path().join(RECIPE_FILE), report.recipe.to_toml().as_bytes())?;
    write_atomic(output.path().join("README.md"), model_card(&report).as_bytes())?;
    times.save = times.lap();
    let run = times.report(job, &plan);
    write_json(RUN_FILE, serde_json::json!(run))?;
    output.commit()?;
    progress.advance()?;
    Ok(Outcome { report, run })
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

/// The model while it is being pruned.
struct State<'a> {
    model: Transformer,
    checkpoint: &'a Checkpoint,
    /// Pruned weights that the model's narrower dtype cannot hold exactly.
    kept_apart: HashMap<String, Vec<f32>>,
    layers: Vec<LayerReport>,
    hessians: Vec<HessianReport>,
}

impl State<'_> {
    fn prune_package(
        &mut self,
        package: Vec<Tap>,
        hessians: Option<Vec<TapHessian>>,
        index: usize,
        recipe: &Recipe,
        times: &mut SolveTimes,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut hessians = hessians.map(Vec::into_iter);
        for tap in package {
            let dense = self.dense_layers(&tap)?;
            match hessians.as_mut().and_then(Iterator::next) {
                Some(mut hessian) => {
                    hessian.finish()?;
                    let (pruned, health) = solve(hessian, dense, recipe, times)?;
                    pruned.into_iter().try_for_each(|layer| self.replace(layer, &tap, index, recipe))?;
                    self.hessians.push(HessianReport::new(health));
                }
                None => {
                    for layer in dense {
                        let pruned = solve_by_magnitude(layer, tap.columns, recipe.pattern)?;
                        self.replace(pruned, &tap, index, recipe)?;
                    }
                }
            }
            progress.advance()?;
        }
        Ok(())
    }

    fn dense_layers(&self, tap: &Tap) -> Result<Vec<DenseLayer>> {
        tap.linears
            .iter()
            .map(|linear| {
                let name = linear.weight();
                let weight = self.checkpoint.to_f32(&name)?;
                let stored_as = match self.checkpoint.info(&name).map(|info| info.dtype) {
                    Some(Dtype::F16) => Rounding::F16,
                    Some(Dtype::BF16) => Rounding::BF16,
                    _ => Rounding::None,
                };
                self.checkpoint.release(&name);
                Ok(DenseLayer { linear: linear.clone(), weight, stored_as })
            })
            .collect()
    }

    fn replace(&mut self, layer: PrunedLayer, tap: &Tap, package: usize, recipe: &Recipe) -> Result<()> {
        self.layers.push(LayerReport::new(&layer, tap, package, recipe.pattern));
        let PrunedLayer { name, columns, weight, .. } = layer;
        let tensor_name = format!("{name}.weight");
        let held = self.model.weight(&name)?.dtype();
        let stored = self.checkpoint.info(&tensor_name).map(|info| info.dtype);
        let exact = matches!(
            (held, stored),
            (DType::F32, _) | (DType::F16, Some(Dtype::F16)) | (DType::BF16, Some(Dtype::BF16))
        );
        if !exact {
            self.kept_apart.insert(tensor_name, weight.clone());
        }
        let rows = weight.len() / columns;
        self.model.set_weight(&name, Tensor::from_vec(weight, (rows, columns), &Device::Cpu)?)
    }

    /// The new values of tensor `name`, if it was pruned.
    fn replacement(&self, name: &str) -> Result<Option<Cow<'_, [f32]>>> {
        if let Some(weight) = self.kept_apart.get(name) {
            return Ok(Some(Cow::Borrowed(weight)));
        }
        let module = name.strip_suffix(".weight").unwrap_or(name);
        if !self.layers.iter().any(|layer| layer.name == module) {
            return Ok(None);
        }
        let weight = self.model.weight(module)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(Some(Cow::Owned(weight)))
    }

    fn report(
        &self,
        job: &PruneJob,
        pipeline: &Pipeline,
        sampler: &Sampler,
        calibration: Option<&Conditioning>,
        plan: &Plan,
    ) -> PruneReport {
        let recipe = &job.recipe;
        let sampling = sampler.options();
        let resolved = Patch {
            packages: Some(plan.packages.len().to_string()),
            num_inference_steps: Some(sampling.num_inference_steps),
            guidance_scale: Some(f64::from(sampling.guidance_scale)),
            height: Some(sampling.height),
            width: Some(sampling.width),
            seed: Some(sampling.seed),
            batch_size: Some(sampling.batch_size),
            ..recipe.to_patch()
        };
        let calibration = calibration.map(|calibration| CalibrationReport {
            samples: calibration.rows(),
            text_tokens: calibration.tokens(),
            noise_from_file: calibration.latents.is_some(),
            sigmas: sampler.schedule().sigmas.clone(),
            timestep_weights: recipe.timestep_weights.weights(&sampler.schedule().sigmas, recipe.weight_range),
        });
        PruneReport::new(pipeline, resolved, calibration, self.layers.clone(), self.hessians.clone(), plan.clone())
    }
}

/// Stopwatch of the stages.
struct Times {
    started: Instant,
    last: Instant,
    load: Duration,
    forward: Duration,
    hessians: Duration,
    solve: SolveTimes,
    save: Duration,
}

impl Times {
    fn start() -> Self {
        let now = Instant::now();
        let zero = Duration::ZERO;
        let solve = SolveTimes::default();
        Times { started: now, last: now, load: zero, forward: zero, hessians: zero, solve, save: zero }
    }

    /// Time since the last lap.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let spent = now - self.last;
        self.last = now;
        spent
    }

    fn report(&self, job: &PruneJob, plan: &Plan) -> RunReport {
        let stages = [
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
            threads: rayon::current_num_threads(),
            seconds: self.started.elapsed().as_secs_f64(),
            stages: stages.iter().map(|(name, time)| (name.to_string(), time.as_secs_f64())).collect(),
            planned_peak_bytes: plan.peak_bytes,
            measured_peak_bytes: crate::memory::peak(),
        }
    }
}
