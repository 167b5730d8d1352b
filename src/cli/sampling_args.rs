//! The flags that every command with a trajectory shares.

use candle_core::DType;
use clap::ValueEnum;
use serde_json::Value;

use crate::checkpoint::Pipeline;
use crate::error::{Error, Result};
use crate::sampling::{Sampler, SamplingOptions};

/// How trajectories are run; the defaults are those of the diffusers pipelines
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Denoising steps [default: 28; FLUX.1-schnell 4]
    #[arg(long, value_name = "STEPS")]
    num_inference_steps: Option<usize>,
    /// Guidance scale; SD3 is guided above 1 [default: SD3 7.0, FLUX.1-dev 3.5, FLUX.1-schnell 0]
    #[arg(long, value_name = "SCALE")]
    guidance_scale: Option<f32>,
    /// Height of the picture in pixels [default: the model's]
    #[arg(long, value_name = "PIXELS")]
    height: Option<usize>,
    /// Width of the picture in pixels [default: the model's]
    #[arg(long, value_name = "PIXELS")]
    width: Option<usize>,
    /// Prompt i starts from the noise of SEED + i, unless the conditioning file holds latents
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How weights are held in memory; arithmetic on the CPU is always f32
    #[arg(long, value_enum, default_value_t = WeightDtype::F32)]
    dtype: WeightDtype,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
    /// Prompts per micro-batch; 0 takes as many as make about 8192 image tokens
    #[arg(long, value_name = "PROMPTS", default_value_t = 0)]
    batch_size: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WeightDtype {
    F32,
    Bf16,
    F16,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Device {
    Auto,
    Cpu,
    Cuda,
}

impl SamplingArgs {
    /// The dtype in which weights are held.
    pub fn weight_dtype(&self) -> DType {
        match self.dtype {
            WeightDtype::F32 => DType::F32,
            WeightDtype::Bf16 => DType::BF16,
            WeightDtype::F16 => DType::F16,
        }
    }

    /// Checks the device, then makes the sampler of `pipeline`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for CUDA; [`Error::Missing`] if the folder has no scheduler; those of
    /// [`Sampler::new`].
    pub fn sampler(&self, pipeline: &Pipeline) -> Result<Sampler> {
        self.check_device()?;
        let scheduler = pipeline.scheduler.as_ref().ok_or_else(|| Error::Missing {
            path: pipeline.root.join("scheduler/scheduler_config.json"),
            needed_for: "to run trajectories; give the whole pipeline folder".into(),
        })?;
        let vae = pipeline.vae.as_ref().unwrap_or(&Value::Null);
        let defaults = SamplingOptions::defaults(&pipeline.architecture, vae);
        let options = SamplingOptions {
            num_inference_steps: self.num_inference_steps.unwrap_or(defaults.num_inference_steps),
            guidance_scale: self.guidance_scale.unwrap_or(defaults.guidance_scale),
            height: self.height.unwrap_or(defaults.height),
            width: self.width.unwrap_or(defaults.width),
            seed: self.seed,
            batch_size: self.batch_size,
        };
        Sampler::new(&pipeline.architecture, scheduler, vae, options)
    }

    fn check_device(&self) -> Result<()> {
        match self.device {
            Device::Cpu => Ok(()),
            Device::Auto => {
                tracing::info!("device auto: computing on the CPU");
                Ok(())
            }
            Device::Cuda => Err(Error::Unsupported {
                what: "--device".into(),
                found: "cuda (the CUDA engine is not part of this release)".into(),
                supported: "auto, cpu".into(),
            }),
        }
    }
}
