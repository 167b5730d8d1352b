//! What a comparison says, as it is written.

use serde::{Deserialize, Serialize};

use crate::metrics::{Spread, infinite};

/// Layout of `comparison.json`.
pub const SCHEMA: &str = "obsdiff.comparison/1";

/// Two models after the same noise and prompts. Every path to a picture is relative to the folder of the comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub schema: String,
    /// The model as it was given.
    pub dense: String,
    /// The model as it was given.
    pub pruned: String,
    /// The command line.
    pub command: Vec<String>,
    pub num_inference_steps: usize,
    pub guidance_scale: f32,
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    pub seed: u64,
    /// Mean over all values of the final latents of (z - z_dense)^2.
    pub latent_mse: f64,
    /// |z - z_dense|^2 / |z_dense|^2 over all items together.
    pub latent_rel: f64,
    /// The same ratio item by item.
    pub per_item: Spread,
    /// Share of zeros among the weights of the second model that can be pruned.
    pub sparsity: f64,
    /// Of all tensors of the transformers.
    pub bytes: Pair<u64>,
    /// All items, one step.
    pub seconds_per_step: Pair<f64>,
    pub steps: Vec<StepError>,
    /// The first items, over which `steps` is taken; see [`super::STEP_BYTES`].
    pub step_items: usize,
    /// `None` if nothing was decoded.
    pub pictures: Option<PictureMetrics>,
    pub items: Vec<Item>,
    /// The grid of pictures; `None` without an output folder.
    pub grid: Option<String>,
}

/// One value of each model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair<T> {
    pub dense: T,
    pub pruned: T,
}

/// |z - z_dense|^2 / |z_dense|^2 after one step, over the first [`Comparison::step_items`] items together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    /// Counted from 0.
    pub step: usize,
    /// Noise level that the step leads to: 0 after the last one.
    pub sigma: f64,
    pub latent_rel: f64,
}

/// How pictures came from latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// The VAE of the dense pipeline.
    Vae,
    /// The latents are pictures in [-1, 1].
    Latents,
}

/// Measures of the pictures; see [`crate::metrics`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureMetrics {
    pub decoder: Decoder,
    /// Decibels.
    pub psnr: Spread,
    /// `None` if the pictures are smaller than the window.
    pub ssim: Option<Spread>,
    pub lpips: Option<Spread>,
    /// `alex` or `vgg`.
    pub lpips_network: Option<String>,
    pub clip_score: Option<Pair<Spread>>,
    /// Between the pictures of the two models.
    pub frechet: Option<f64>,
    /// From each model's pictures to the real ones that the feature model describes.
    pub frechet_real: Option<Pair<f64>>,
}

/// One prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// `None` where only its embeddings are known.
    pub prompt: Option<String>,
    pub latent_rel: f64,
    #[serde(with = "infinite::optional")]
    pub psnr: Option<f64>,
    pub ssim: Option<f64>,
    pub lpips: Option<f64>,
    pub clip_score: Option<Pair<f64>>,
    /// File of the dense model's picture.
    pub dense: Option<String>,
    /// File of the pruned model's picture.
    pub pruned: Option<String>,
}
