//! The picture encoder of CLIP, as `CLIPVisionModelWithProjection` of transformers 4.51 computes it.
//!
//! ```text
//! pixels -> patches -> class token + patches + positions -> norm -> layers -> class token -> norm -> projection
//! ```

use std::path::Path;

use serde::Deserialize;

use super::activation::Activation;
use super::attention::Scores;
use super::clip::{Stack, expect_layer_norm, read_config};
use super::clip_picture::{CHANNELS, Preprocessor, Rgb};
use super::component::{expect_positive, parse};
use super::layers::Linear;
use super::rows::{join, rows_per_chunk};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::ops::{self, Tensor};

const CLASS: &str = "vision_model.embeddings.class_embedding";
const PATCHES: &str = "vision_model.embeddings.patch_embedding.weight";
const POSITIONS: &str = "vision_model.embeddings.position_embedding.weight";
/// Misspelt in every checkpoint.
const FIRST_NORM: &str = "vision_model.pre_layrnorm";
const LAST_NORM: &str = "vision_model.post_layernorm";
const PROJECTION: &str = "visual_projection";

/// Keys of `CLIPVisionConfig` with its defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_channels: usize,
    image_size: usize,
    patch_size: usize,
    hidden_act: String,
    layer_norm_eps: f32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: CHANNELS,
            image_size: 224,
            patch_size: 32,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
        }
    }
}

/// A picture encoder of CLIP. Weights stay in their files until [`ClipVision::embed`] reads them, layer by layer.
#[derive(Debug)]
pub struct ClipVision {
    weights: Weights,
    stack: Stack,
    preprocessor: Preprocessor,
    /// Height and width of the pictures that the network sees.
    side: usize,
    /// Height and width of a patch.
    patch: usize,
    projection: usize,
}

impl ClipVision {
    /// Opens `config.json`, `preprocessor_config.json` and the weights of `folder`, a picture encoder or a whole CLIP,
    /// and checks names and shapes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`], [`Error::Unsupported`] for another model, activation or preparation of
    /// pictures, [`Error::TensorMissing`], [`Error::Shape`].
    pub fn open(folder: &Path) -> Result<Self> {
        let (value, path) = read_config(folder, "clip_vision_model", "vision_config")?;
        let config: Config = parse(value, &path)?;
        let stack = Stack {
            prefix: "vision_model.encoder",
            width: config.hidden_size,
            intermediate: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: Activation::named(&config.hidden_act, "hidden_act", &path)?,
            eps: config.layer_norm_eps,
        };
        stack.check_sizes(&path)?;
        let (side, patch) = (config.image_size, config.patch_size);
        expect_positive(&path, &[("image_size", side), ("patch_size", patch)])?;
        if side < patch || config.num_channels != CHANNELS {
            return Err(Error::Unsupported {
                what: format!("`image_size`, `patch_size` and `num_channels` in {}", path.display()),
                found: format!("{side}, {patch} and {}", config.num_channels),
                supported: "pictures of at least one patch in 3 channels".into(),
            });
        }
        let preprocessor = Preprocessor::open(folder, side)?;

        let weights = Weights::open_encoder(folder)?;
        let projection = weights.shape(&format!("{PROJECTION}.weight"))?.first().copied().unwrap_or(0);
        let vision = ClipVision { weights, stack, preprocessor, side, patch, projection };
        vision.check()?;
        Ok(vision)
    }

    /// Refuses missing tensors and tensors of another shape, without reading any.
    fn check(&self) -> Result<()> {
        let (weights, width) = (&self.weights, self.stack.width);
        weights.expect(CLASS, &[width])?;
        weights.expect(PATCHES, &self.patch_shape())?;
        weights.expect(POSITIONS, &[self.tokens(), width])?;
        expect_layer_norm(weights, FIRST_NORM, width)?;
        self.stack.check(weights)?;
        expect_layer_norm(weights, LAST_NORM, width)?;
        weights.expect(&format!("{PROJECTION}.weight"), &[self.projection, width])
    }

    /// Numbers per picture.
    pub fn width(&self) -> usize {
        self.projection
    }

    /// `image_embeds` of pictures of any sizes, not normalised: [pictures, projection].
    ///
    /// # Errors
    /// [`Error::NonFinite`] for weights or results, [`Error::Runtime`] for no pictures and for pictures that do not have
    /// as many pixels as their size says.
    pub fn embed(&self, pictures: &[Rgb]) -> Result<Tensor> {
        let width = self.stack.width;
        let mut chunks = self.tokens_of(pictures)?;
        for number in 0..self.stack.layers {
            let layer = self.stack.layer(&self.weights, number)?;
            for x in &mut chunks {
                *x = layer.apply(x, Scores::All)?;
            }
        }
        let norm = self.weights.layer_norm(LAST_NORM, width, self.stack.eps)?;
        let projection = self.weights.linear(PROJECTION, self.projection, width)?;
        let embed = |x: Tensor| {
            let class = x.narrow(1, 0, 1)?.reshape([x.dim(0)?, width])?;
            projection.apply(&norm.apply(&class)?)
        };
        let embedded = chunks.into_iter().map(embed).collect::<Result<_>>()?;
        join(embedded, &format!("picture embeddings of {}", self.weights.path().display()))
    }

    /// What the layers take, in chunks of [pictures, tokens, width].
    fn tokens_of(&self, pictures: &[Rgb]) -> Result<Vec<Tensor>> {
        let width = self.stack.width;
        let class = self.weights.tensor(CLASS, &[width])?;
        let patches = self.weights.tensor(PATCHES, &self.patch_shape())?;
        let columns = patches.elements() / width;
        let patches = Linear { weight: patches.reshape([width, columns])?, bias: None };
        let positions = self.weights.tensor(POSITIONS, &[self.tokens(), width])?;
        let norm = self.weights.layer_norm(FIRST_NORM, width, self.stack.eps)?;
        let tokens = |pictures: &[Rgb]| {
            let seen = patches.apply(&self.cut(pictures)?)?;
            let class = Tensor::from_vec(class.as_slice()?.repeat(pictures.len()), [pictures.len(), 1, width])?;
            norm.apply(&ops::add(Tensor::cat(&[&class, &seen], 1)?, &positions)?)
        };
        pictures.chunks(rows_per_chunk(self.tokens())).map(tokens).collect()
    }

    /// The patches of prepared pictures, left to right and top to bottom: [pictures, patches, 3 * patch * patch].
    fn cut(&self, pictures: &[Rgb]) -> Result<Tensor> {
        let (side, patch, per_side) = (self.side, self.patch, self.side / self.patch);
        let columns = CHANNELS * patch * patch;
        let mut values = Vec::with_capacity(pictures.len() * per_side * per_side * columns);
        for &picture in pictures {
            let planes = self.preprocessor.apply(picture)?;
            for (top, left) in (0..per_side).flat_map(|row| (0..per_side).map(move |column| (row, column))) {
                for (channel, row) in (0..CHANNELS).flat_map(|channel| (0..patch).map(move |row| (channel, row))) {
                    let start = (channel * side + top * patch + row) * side + left * patch;
                    values.extend_from_slice(&planes[start..][..patch]);
                }
            }
        }
        Tensor::from_vec(values, [pictures.len(), per_side * per_side, columns])
    }

    /// The class token and the patches.
    fn tokens(&self) -> usize {
        (self.side / self.patch).pow(2) + 1
    }

    fn patch_shape(&self) -> [usize; 4] {
        [self.stack.width, CHANNELS, self.patch, self.patch]
    }
}
