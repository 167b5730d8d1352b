//! The flags that commands share: where to compute, and how trajectories are run.

use std::path::Path;
use std::sync::Arc;

use super::progress::Bars;
use super::text_args::TextArgs;
use crate::checkpoint::Pipeline;
use crate::conditioning::Conditioning;
use crate::error::{Error, Result};
use crate::job;
use crate::ops::{DType, Device, Engine};
use crate::recipe::Patch;
use crate::sampling::Sampler;

/// How trajectories are run; the defaults are those of the diffusers pipelines
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Denoising steps [default: 28; FLUX.1-schnell 4]
    #[arg(long, value_name = "STEPS")]
    num_inference_steps: Option<usize>,
    /// Guidance scale; SD3 is guided above 1 [default: SD3 7.0, FLUX.1-dev 3.5, FLUX.1-schnell 0]
    #[arg(long, value_name = "SCALE")]
    guidance_scale: Option<f64>,
    /// Height of the picture in pixels [default: the model's]
    #[arg(long, value_name = "PIXELS")]
    height: Option<usize>,
    /// Width of the picture in pixels [default: the model's]
    #[arg(long, value_name = "PIXELS")]
    width: Option<usize>,
    /// Row i starts from the noise of SEED + i, unless the file of embeddings holds latents; it also chooses
    /// --num-samples [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Samples per forward pass; 0 takes as many as make about 256 image tokens [default: 0]
    #[arg(long, value_name = "SAMPLES")]
    batch_size: Option<usize>,
    /// How weights are held while the model runs: f32, bf16 or f16; arithmetic on the CPU is always f32
    #[arg(long, default_value_t = DType::F32)]
    dtype: DType,
    #[command(flatten)]
    device: DeviceArg,
}

/// The flag of every command that computes
#[derive(Debug, clap::Args)]
pub struct DeviceArg {
    /// Where to compute: auto, cpu, cuda or cuda:N; auto takes the first GPU that can be used, else the CPU
    #[arg(long, default_value_t = Device::Auto)]
    device: Device,
}

impl DeviceArg {
    /// The engine of the device.
    ///
    /// # Errors
    /// Those of [`Device::engine`].
    pub fn engine(&self) -> Result<Arc<dyn Engine>> {
        self.device.engine()
    }
}

impl SamplingArgs {
    /// The dtype in which weights are held.
    pub fn weight_dtype(&self) -> DType {
        self.dtype
    }

    /// The device as it was named.
    pub fn device(&self) -> Device {
        self.device.device
    }

    /// The sampling settings that were given, over `patch`.
    pub fn over(&self, patch: Patch) -> Patch {
        let given = Patch {
            num_inference_steps: self.num_inference_steps,
            guidance_scale: self.guidance_scale,
            height: self.height,
            width: self.width,
            seed: self.seed,
            batch_size: self.batch_size,
            ..Patch::default()
        };
        given.over(patch)
    }

    /// The engine of the device.
    ///
    /// # Errors
    /// Those of [`Device::engine`].
    pub fn engine(&self) -> Result<Arc<dyn Engine>> {
        self.device.engine()
    }

    /// The sampler of `pipeline`.
    ///
    /// # Errors
    /// Those of [`Sampler::new`].
    pub fn sampler(&self, pipeline: &Pipeline) -> Result<Sampler> {
        job::sampler(pipeline, &self.over(Patch::default()))
    }

    /// The embeddings of the prompts, or of the file of `embeddings`, for what `sampler` does with them.
    ///
    /// # Errors
    /// [`Error::Usage`] if neither is given; those of [`crate::conditioning::Source::open`].
    pub fn conditioning(
        &self,
        text: &TextArgs,
        embeddings: Option<&Path>,
        pipeline: &Pipeline,
        sampler: &Sampler,
    ) -> Result<Conditioning> {
        let neither = || Error::Usage("pass --prompts FILE, or --conditioning FILE with embeddings".into());
        let source = text.source(embeddings, self.seed)?.ok_or_else(neither)?;
        let conditioning = source.open(pipeline, sampler.doubles_rows(&pipeline.architecture), &Bars::new());
        conditioning.map_err(|error| match error {
            // Nothing here goes on later.
            Error::Interrupted { .. } => Error::Stopped,
            other => other,
        })
    }
}
