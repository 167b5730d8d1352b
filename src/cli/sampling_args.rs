//! The flags that every command with a trajectory shares.

use crate::checkpoint::Pipeline;
use crate::error::{Error, Result};
use crate::job;
use crate::ops::DType;
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
    /// Row i starts from the noise of SEED + i, unless the file of embeddings holds latents [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Samples per forward pass; 0 takes as many as make about 256 image tokens [default: 0]
    #[arg(long, value_name = "SAMPLES")]
    batch_size: Option<usize>,
    /// How weights are held while the model runs: f32, bf16 or f16; arithmetic on the CPU is always f32
    #[arg(long, default_value_t = DType::F32)]
    dtype: DType,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: Device,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Device {
    Auto,
    Cpu,
    Cuda,
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda),
            _ if text.strip_prefix("cuda:").is_some_and(|index| index.parse::<usize>().is_ok()) => Ok(Device::Cuda),
            _ => Err(format!("expected auto, cpu, cuda or cuda:N, found `{text}`")),
        }
    }
}

impl SamplingArgs {
    /// The dtype in which weights are held.
    pub fn weight_dtype(&self) -> DType {
        self.dtype
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

    /// Checks the device, then makes the sampler of `pipeline`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for CUDA; those of [`Sampler::new`].
    pub fn sampler(&self, pipeline: &Pipeline) -> Result<Sampler> {
        self.check_device()?;
        job::sampler(pipeline, &self.over(Patch::default()))
    }

    /// Refuses a device that this build cannot use.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for CUDA.
    pub fn check_device(&self) -> Result<()> {
        match self.device {
            Device::Cpu => Ok(()),
            Device::Auto => {
                tracing::debug!("device auto: computing on the CPU");
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
