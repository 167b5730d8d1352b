//! How a trajectory is run, with the defaults of the diffusers pipelines.

use serde_json::Value;

use super::latents::vae_scale_factor;
use crate::checkpoint::config::Architecture;

/// Height and width that `FluxPipeline` takes when none is given, in pixels.
const FLUX_PIXELS: usize = 1024;
/// Image tokens that a micro-batch holds by default: one picture of a real model, 16 of the bundled one. Larger
/// ones are no faster: their activations leave the cache.
const TOKENS_PER_BATCH: usize = 256;

/// Options of a trajectory, shared by all commands that run one.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingOptions {
    pub num_inference_steps: usize,
    /// SD3: classifier-free guidance, in use above 1. FLUX.1-dev: an input of the model.
    pub guidance_scale: f32,
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// Row i of the conditioning starts from the noise of seed + i, whatever the batch size.
    pub seed: u64,
    /// Prompts per micro-batch (guidance doubles the rows); 0: as many as make about 256 image tokens.
    pub batch_size: usize,
}

impl SamplingOptions {
    /// What the diffusers pipeline of `architecture` does when nothing is asked: SD3 28 steps and guidance
    /// 7, FLUX.1-dev 28 steps and 3.5, FLUX.1-schnell 4 steps without; `vae` is the parsed VAE config.
    pub fn defaults(architecture: &Architecture, vae: &Value) -> Self {
        let (num_inference_steps, guidance_scale, pixels) = match architecture {
            Architecture::Sd3(config) => (28, 7.0, config.sample_size * vae_scale_factor(vae)),
            Architecture::Flux(config) if config.guidance_embeds => (28, 3.5, FLUX_PIXELS),
            Architecture::Flux(_) => (4, 0.0, FLUX_PIXELS),
        };
        SamplingOptions { num_inference_steps, guidance_scale, height: pixels, width: pixels, seed: 0, batch_size: 0 }
    }

    /// Prompts per micro-batch: as asked, or as many as make about 256 image tokens if 0 was asked.
    pub(super) fn prompts_per_batch(&self, image_tokens: usize) -> usize {
        match self.batch_size {
            0 => (TOKENS_PER_BATCH / image_tokens.max(1)).max(1),
            asked => asked,
        }
    }
}
