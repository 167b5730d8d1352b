//! The comparison that a report makes when none is given: a few rows of the calibration through the dense and the pruned
//! model, as the pruning job drew them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::config::Architecture;
use crate::checkpoint::{Pipeline, TensorOut, write_safetensors};
use crate::compare::{CompareJob, MetricModels, compare};
use crate::conditioning::{Conditioning, PromptSource, Source};
use crate::error::{Error, Result};
use crate::ops::{DType, Engine};
use crate::progress::Progress;
use crate::recipe::{Noise, Patch};
use crate::report::data::Data;

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    /// The folder of the comparison, which goes with this value.
    Made(Scratch),
    /// Why it cannot be made, as a sentence.
    Impossible(String),
}

/// A folder for a while.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("obsdiff-report-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Scratch(path))
    }

    /// The folder that `compare` wrote.
    pub fn comparison(&self) -> PathBuf {
        self.0.join("comparison")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder of the system's for temporary files may keep what cannot be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Compares the models on at most `samples` rows of the calibration.
///
/// # Errors
/// Those of [`compare`]. Models and calibration files that are gone are no errors, but [`Outcome::Impossible`].
pub fn showcase(
    data: &Data,
    samples: usize,
    engine: Arc<dyn Engine>,
    command: Vec<String>,
    progress: &dyn Progress,
) -> Result<Outcome> {
    let (dense, source) = match inputs(data) {
        Ok(inputs) => inputs,
        Err(reason) => return Ok(Outcome::Impossible(reason)),
    };
    let pipeline = Pipeline::open(&dense)?;
    let samples = samples.min(data.prune.calibration.as_ref().map_or(samples, |calibration| calibration.samples));
    let scratch = Scratch::new()?;
    let conditioning = match source {
        Source::Embeddings(file) => {
            let few = scratch.0.join("embeddings.safetensors");
            let noise = data.prune.recipe.noise != Some(Noise::Seed);
            write_head(&file, &pipeline.architecture, samples, noise, &few)?;
            Source::Embeddings(few)
        }
        Source::Prompts(prompts) => Source::Prompts(PromptSource { num_samples: Some(samples), ..prompts }),
    };
    let recipe = &data.prune.recipe;
    let sampling = Patch {
        num_inference_steps: recipe.num_inference_steps,
        guidance_scale: recipe.guidance_scale,
        height: recipe.height,
        width: recipe.width,
        seed: recipe.seed,
        ..Patch::default()
    };
    let job = CompareJob {
        dense,
        pruned: data.folder.clone(),
        conditioning,
        sampling,
        dtype: dtype(data),
        engine,
        decode: true,
        metrics: MetricModels::default(),
        output: Some(scratch.comparison()),
        overwrite: false,
        command,
    };
    compare(&job, progress)?;
    Ok(Outcome::Made(scratch))
}

/// The dense model and the calibration of the pruning job, or what of them is not there.
fn inputs(data: &Data) -> std::result::Result<(PathBuf, Source), String> {
    let Some(inputs) = data.run.as_ref().and_then(|run| run.inputs.as_ref()) else {
        return Err(
            "run.json does not say where the dense model is; run `obsdiff compare` and pass `--comparison`".into()
        );
    };
    let source = inputs.calibration.clone().ok_or(
        "the model was pruned without calibration, so that there are no prompts to draw; run `obsdiff compare` and \
         pass `--comparison`",
    )?;
    let dense = PathBuf::from(&inputs.model);
    let gone = |what: &str, path: &Path| {
        format!("{what} {} is gone; run `obsdiff compare` where it is and pass `--comparison`", path.display())
    };
    if !dense.exists() {
        return Err(gone("the dense model", &dense));
    }
    if !source.file().exists() {
        return Err(gone("the calibration file", source.file()));
    }
    let weights = ["transformer", "."].map(|inner| data.folder.join(inner).join("config.json"));
    if !weights.iter().any(|config| config.is_file()) {
        return Err(gone("the pruned model in", &data.folder));
    }
    Ok((dense, source))
}

/// The dtype that the job held weights in.
fn dtype(data: &Data) -> DType {
    let name = data.run.as_ref().and_then(|run| Some(run.inputs.as_ref()?.dtype.as_str()));
    name.and_then(|name| name.parse().ok()).unwrap_or(DType::F32)
}

/// Writes the first rows of a file of embeddings as another one, with their starting noise if `noise`.
fn write_head(file: &Path, architecture: &Architecture, samples: usize, noise: bool, to: &Path) -> Result<()> {
    let all = Conditioning::open(file, architecture)?;
    let few = all.slice(0..samples.min(all.rows()))?;
    let mut tensors = vec![("prompt_embeds", &few.prompt_embeds), ("pooled_prompt_embeds", &few.pooled_prompt_embeds)];
    if let Ok(negative) = few.negative() {
        tensors.push(("negative_prompt_embeds", &negative.prompt_embeds));
        tensors.push(("negative_pooled_prompt_embeds", &negative.pooled_prompt_embeds));
    }
    if let Some(latents) = few.latents.as_ref().filter(|_| noise) {
        tensors.push(("latents", latents));
    }
    let values = tensors.iter().map(|(name, tensor)| Ok(TensorOut::f32(name, tensor.dims(), tensor.as_slice()?)));
    write_safetensors(to, &values.collect::<Result<Vec<_>>>()?, &[])
}
