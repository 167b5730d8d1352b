//! The same noise and prompts through a dense and a pruned model: how far the latents stray, step by step, what becomes
//! of the pictures, and a folder that shows it.
//!
//! ```text
//! dense model  -> latents of every step --.
//!                                          > trajectory: errors of the steps, of the final latents
//! pruned model -> latents of every step --'
//! final latents -> pictures: decoded pair by pair, measured (crate::metrics), written
//!                                                        -> comparison.json, grid.png, pictures/
//! ```
//!
//! One transformer is in memory at a time, and none while pictures are decoded.

mod measures;
mod pictures;
mod result;
mod trajectory;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use measures::MetricModels;
pub use pictures::GRID_FILE;
pub use result::{Comparison, Decoder, Item, Pair, PictureMetrics, SCHEMA, StepError};
pub use trajectory::STEP_BYTES;

use self::pictures::Stage;
use self::trajectory::{Keep, Outcome};
use crate::checkpoint::output::FolderKind;
use crate::checkpoint::{OutputFolder, Pipeline, write_atomic};
use crate::conditioning::Source;
use crate::error::{Error, Result};
use crate::job;
use crate::metrics::LatentDistance;
use crate::ops::{DType, Engine};
use crate::progress::Progress;
use crate::recipe::Patch;
use crate::sampling::Sampler;

/// File of the comparison in the output folder.
pub const COMPARISON_FILE: &str = "comparison.json";

/// Folders that a comparison may replace.
const FOLDER: FolderKind = FolderKind { name: "a comparison folder", markers: &[COMPARISON_FILE] };

/// What to compare, and where to put it.
pub struct CompareJob {
    /// The pipeline folder of the dense model.
    pub dense: PathBuf,
    /// The pipeline or transformer folder of the pruned model.
    pub pruned: PathBuf,
    /// Prompts, or embeddings of them.
    pub conditioning: Source,
    /// Sampling settings that were chosen; the rest follows from the dense model.
    pub sampling: Patch,
    /// The dtype in which weights are held while a model runs.
    pub dtype: DType,
    /// Where the models run.
    pub engine: Arc<dyn Engine>,
    /// Whether latents are decoded and the pictures measured.
    pub decode: bool,
    pub metrics: MetricModels,
    /// Folder for `comparison.json`, the grid and the pictures; without one nothing is written.
    pub output: Option<PathBuf>,
    pub overwrite: bool,
    /// The command line, for the record.
    pub command: Vec<String>,
}

/// Compares two models. Everything that can be refused is refused before work begins; the output folder appears complete
/// or not at all.
///
/// # Errors
/// [`Error::Usage`] if the models differ in more than their weights; those of opening models and prompts, of
/// the trajectories, the measures and the output.
pub fn compare(job: &CompareJob, progress: &dyn Progress) -> Result<Comparison> {
    compare_all(job, progress).map_err(|error| match error {
        Error::Interrupted { .. } => Error::Stopped,
        other => other,
    })
}

fn compare_all(job: &CompareJob, progress: &dyn Progress) -> Result<Comparison> {
    let (dense, pruned) = (Pipeline::open(&job.dense)?, Pipeline::open(&job.pruned)?);
    if dense.architecture != pruned.architecture {
        return Err(Error::Usage(format!(
            "{} and {} have different configurations, so the same prompts mean different things; compare a model with \
             its pruned copy",
            job.dense.display(),
            job.pruned.display()
        )));
    }
    if let Some(path) = job.output.as_ref().filter(|path| !job.overwrite && path.symlink_metadata().is_ok()) {
        return Err(Error::OutputExists { path: path.clone() });
    }
    if let Some(path) = job.metrics.paths().find(|path| !path.exists()) {
        return Err(Error::Missing { path: path.into(), needed_for: "to measure pictures".into() });
    }
    // Both run with the dense model's schedule and VAE: a pruned copy of the transformer alone has neither.
    let sampler = job::sampler(&dense, &job.sampling)?;
    let conditioning = job.conditioning.open(&dense, sampler.doubles_rows(&dense.architecture), progress)?;
    sampler.check(&dense.architecture, &conditioning)?;
    let (rows, prompts) = (conditioning.rows(), conditioning.prompts.clone());
    let stage = Stage::open(&job.metrics, &dense, &sampler, job.decode, (rows, prompts.as_deref()))?;
    let output = job.output.as_deref().map(|path| create_output(job, path, &sampler, rows)).transpose()?;

    let model = (job.dtype, job.engine.clone());
    let steps = (sampler.batches(rows).len() * sampler.schedule().steps()) as u64;
    progress.begin("dense model", steps);
    let mut keep = Keep::new(&sampler, rows, STEP_BYTES, progress);
    let dense_run = trajectory::run(&dense, model.clone(), &sampler, &conditioning, &mut keep)?;
    progress.begin("pruned model", steps);
    let mut stray = keep.compare();
    let pruned_run = trajectory::run(&pruned, model, &sampler, &conditioning, &mut stray)?;
    let (step_items, steps) = stray.steps(&sampler);
    drop(conditioning);

    let distance = LatentDistance::new(&dense_run.latents, &pruned_run.latents)?;
    let latents = [sampler.size().unpack(&dense_run.latents)?, sampler.size().unpack(&pruned_run.latents)?];
    let folder = output.as_ref().map(OutputFolder::path);
    let items = items(&distance.items, prompts.as_deref());
    let pictures = stage.run([&latents[0], &latents[1]], items, folder, progress)?;
    let options = sampler.options();
    let both = |value: fn(&Outcome) -> f64| Pair { dense: value(&dense_run), pruned: value(&pruned_run) };
    let comparison = Comparison {
        schema: SCHEMA.into(),
        dense: job.dense.display().to_string(),
        pruned: job.pruned.display().to_string(),
        command: job.command.clone(),
        num_inference_steps: sampler.schedule().steps(),
        guidance_scale: options.guidance_scale,
        height: options.height,
        width: options.width,
        seed: options.seed,
        latent_mse: distance.latent_mse,
        latent_rel: distance.latent_rel,
        per_item: distance.per_item(),
        sparsity: pruned_run.sparsity,
        bytes: Pair { dense: dense_run.bytes, pruned: pruned_run.bytes },
        seconds_per_step: both(|run| run.seconds_per_step),
        steps,
        step_items,
        pictures: pictures.metrics,
        items: pictures.items,
        grid: pictures.grid,
    };
    if let Some(output) = output {
        let path = output.path().join(COMPARISON_FILE);
        let text = serde_json::to_string_pretty(&comparison).map_err(|e| Error::io(&path, e.into()))?;
        write_atomic(&path, format!("{text}\n").as_bytes())?;
        output.commit()?;
    }
    Ok(comparison)
}

/// What is known of every prompt before it becomes a picture.
fn items(latent_rel: &[f64], prompts: Option<&[String]>) -> Vec<Item> {
    let item = |(index, &latent_rel): (usize, &f64)| Item {
        prompt: prompts.and_then(|prompts| prompts.get(index)).cloned(),
        latent_rel,
        psnr: None,
        ssim: None,
        lpips: None,
        clip_score: None,
        dense: None,
        pruned: None,
    };
    latent_rel.iter().enumerate().map(item).collect()
}

/// Starts the output folder, away from everything that is read.
fn create_output(job: &CompareJob, path: &Path, sampler: &Sampler, rows: usize) -> Result<OutputFolder> {
    let models = [job.dense.as_path(), &job.pruned, job.conditioning.file()];
    let inputs: Vec<&Path> = models.into_iter().chain(job.metrics.paths()).collect();
    let options = sampler.options();
    let needed = Stage::output_bytes(rows, options.height, options.width);
    OutputFolder::create_kind(FOLDER, path, &inputs, needed, job.overwrite)
}
