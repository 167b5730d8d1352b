//! `transformer/config.json` as types. Missing keys take the defaults of the diffusers classes
//! (`SD3Transformer2DModel`, `FluxTransformer2DModel`, diffusers 0.33).

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// The release of diffusers whose classes and files are followed.
const DIFFUSERS_VERSION: &str = "0.33.1";

/// Configuration of `SD3Transformer2DModel` (SD3-medium, SD3.5-medium, SD3.5-large).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Sd3Config {
    pub sample_size: usize,
    pub patch_size: usize,
    pub in_channels: usize,
    pub num_layers: usize,
    pub attention_head_dim: usize,
    pub num_attention_heads: usize,
    pub joint_attention_dim: usize,
    pub caption_projection_dim: usize,
    pub pooled_projection_dim: usize,
    pub out_channels: usize,
    pub pos_embed_max_size: usize,
    /// Blocks with a second self-attention over the image tokens (SD3.5-medium).
    pub dual_attention_layers: Vec<usize>,
    /// `None` (SD3-medium) or `Some("rms_norm")` (SD3.5).
    pub qk_norm: Option<String>,
}

impl Default for Sd3Config {
    fn default() -> Self {
        Sd3Config {
            sample_size: 128,
            patch_size: 2,
            in_channels: 16,
            num_layers: 18,
            attention_head_dim: 64,
            num_attention_heads: 18,
            joint_attention_dim: 4096,
            caption_projection_dim: 1152,
            pooled_projection_dim: 2048,
            out_channels: 16,
            pos_embed_max_size: 96,
            dual_attention_layers: Vec::new(),
            qk_norm: None,
        }
    }
}

impl Sd3Config {
    /// Width of the token streams: heads times head dimension.
    pub fn inner_dim(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }
}

/// Configuration of `FluxTransformer2DModel` (FLUX.1-dev, FLUX.1-schnell).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct FluxConfig {
    pub patch_size: usize,
    pub in_channels: usize,
    /// `None` means `in_channels`.
    pub out_channels: Option<usize>,
    pub num_layers: usize,
    pub num_single_layers: usize,
    pub attention_head_dim: usize,
    pub num_attention_heads: usize,
    pub joint_attention_dim: usize,
    pub pooled_projection_dim: usize,
    pub guidance_embeds: bool,
    pub axes_dims_rope: Vec<usize>,
}

impl Default for FluxConfig {
    fn default() -> Self {
        FluxConfig {
            patch_size: 1,
            in_channels: 64,
            out_channels: None,
            num_layers: 19,
            num_single_layers: 38,
            attention_head_dim: 128,
            num_attention_heads: 24,
            joint_attention_dim: 4096,
            pooled_projection_dim: 768,
            guidance_embeds: false,
            axes_dims_rope: vec![16, 56, 56],
        }
    }
}

impl FluxConfig {
    /// Width of the token streams: heads times head dimension.
    pub fn inner_dim(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Channels of the output tokens.
    pub fn out_channels(&self) -> usize {
        self.out_channels.unwrap_or(self.in_channels)
    }
}

/// The transformers that obsdiff knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Architecture {
    Sd3(Sd3Config),
    Flux(FluxConfig),
}

impl Architecture {
    /// Reads a parsed `config.json`; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another `_class_name` or `qk_norm`, [`Error::Malformed`] for values of
    /// the wrong type or sizes that contradict each other.
    pub fn from_config(config: &Value, path: &Path) -> Result<Self> {
        let class = config.get("_class_name").and_then(Value::as_str).unwrap_or("(no _class_name)");
        let arch = match class {
            "SD3Transformer2DModel" => Architecture::Sd3(parse(config, path)?),
            "FluxTransformer2DModel" => Architecture::Flux(parse(config, path)?),
            other => {
                return Err(Error::Unsupported {
                    what: format!("transformer class in {}", path.display()),
                    found: other.to_string(),
                    supported: "SD3Transformer2DModel, FluxTransformer2DModel".into(),
                });
            }
        };
        arch.check(path)?;
        Ok(arch)
    }

    /// Refuses sizes that contradict each other; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Unsupported`] for another `qk_norm`.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let fail = |problem: String| Err(Error::malformed(path, problem));
        match self {
            Architecture::Sd3(c) => {
                if c.caption_projection_dim != c.inner_dim() {
                    return fail(format!(
                        "caption_projection_dim is {}, expected num_attention_heads * attention_head_dim = {}",
                        c.caption_projection_dim,
                        c.inner_dim()
                    ));
                }
                if let Some(norm) = c.qk_norm.as_deref().filter(|&n| n != "rms_norm") {
                    return Err(Error::Unsupported {
                        what: format!("qk_norm in {}", path.display()),
                        found: norm.to_string(),
                        supported: "null, \"rms_norm\"".into(),
                    });
                }
                if let Some(&block) = c.dual_attention_layers.iter().find(|&&b| b >= c.num_layers) {
                    return fail(format!(
                        "dual_attention_layers names block {block}, but there are {} blocks",
                        c.num_layers
                    ));
                }
                if c.num_layers == 0 || c.inner_dim() == 0 || c.patch_size == 0 {
                    return fail("num_layers, attention heads and patch_size must be positive".into());
                }
            }
            Architecture::Flux(c) => {
                if c.axes_dims_rope.iter().sum::<usize>() != c.attention_head_dim {
                    return fail(format!(
                        "axes_dims_rope {:?} adds up to {}, expected attention_head_dim = {}",
                        c.axes_dims_rope,
                        c.axes_dims_rope.iter().sum::<usize>(),
                        c.attention_head_dim
                    ));
                }
                if c.axes_dims_rope.len() != 3 || c.axes_dims_rope.iter().any(|d| d % 2 != 0) {
                    return fail(format!("axes_dims_rope {:?} must be three even numbers", c.axes_dims_rope));
                }
                if c.num_layers + c.num_single_layers == 0 || c.inner_dim() == 0 {
                    return fail("there must be at least one block and one attention head".into());
                }
            }
        }
        Ok(())
    }

    /// Width of the token streams.
    pub fn inner_dim(&self) -> usize {
        match self {
            Architecture::Sd3(c) => c.inner_dim(),
            Architecture::Flux(c) => c.inner_dim(),
        }
    }

    /// Attention heads per attention.
    pub fn num_attention_heads(&self) -> usize {
        match self {
            Architecture::Sd3(c) => c.num_attention_heads,
            Architecture::Flux(c) => c.num_attention_heads,
        }
    }

    /// Width of the prompt embeddings that the model takes.
    pub fn joint_attention_dim(&self) -> usize {
        match self {
            Architecture::Sd3(c) => c.joint_attention_dim,
            Architecture::Flux(c) => c.joint_attention_dim,
        }
    }

    /// Width of the pooled prompt embeddings that the model takes.
    pub fn pooled_projection_dim(&self) -> usize {
        match self {
            Architecture::Sd3(c) => c.pooled_projection_dim,
            Architecture::Flux(c) => c.pooled_projection_dim,
        }
    }

    /// `config.json` as diffusers writes it for this model: every key, sorted.
    pub fn to_config(&self) -> Value {
        match self {
            Architecture::Sd3(c) => json!({
                "_class_name": self.class_name(),
                "_diffusers_version": DIFFUSERS_VERSION,
                "attention_head_dim": c.attention_head_dim,
                "caption_projection_dim": c.caption_projection_dim,
                "dual_attention_layers": c.dual_attention_layers,
                "in_channels": c.in_channels,
                "joint_attention_dim": c.joint_attention_dim,
                "num_attention_heads": c.num_attention_heads,
                "num_layers": c.num_layers,
                "out_channels": c.out_channels,
                "patch_size": c.patch_size,
                "pooled_projection_dim": c.pooled_projection_dim,
                "pos_embed_max_size": c.pos_embed_max_size,
                "qk_norm": c.qk_norm,
                "sample_size": c.sample_size,
            }),
            Architecture::Flux(c) => json!({
                "_class_name": self.class_name(),
                "_diffusers_version": DIFFUSERS_VERSION,
                "attention_head_dim": c.attention_head_dim,
                "axes_dims_rope": c.axes_dims_rope,
                "guidance_embeds": c.guidance_embeds,
                "in_channels": c.in_channels,
                "joint_attention_dim": c.joint_attention_dim,
                "num_attention_heads": c.num_attention_heads,
                "num_layers": c.num_layers,
                "num_single_layers": c.num_single_layers,
                "out_channels": c.out_channels,
                "patch_size": c.patch_size,
                "pooled_projection_dim": c.pooled_projection_dim,
            }),
        }
    }

    /// Whether both compute the same from the same weights: all sizes but SD3's `sample_size`, which only sets how
    /// large a picture is when nothing is asked, and `out_channels` spelled out or not.
    pub fn computes_like(&self, other: &Architecture) -> bool {
        match (self, other) {
            (Architecture::Sd3(a), Architecture::Sd3(b)) => Sd3Config { sample_size: b.sample_size, ..a.clone() } == *b,
            (Architecture::Flux(a), Architecture::Flux(b)) => {
                let same_channels = a.out_channels() == b.out_channels();
                same_channels && FluxConfig { out_channels: b.out_channels, ..a.clone() } == *b
            }
            _ => false,
        }
    }

    /// The diffusers class name.
    pub fn class_name(&self) -> &'static str {
        match self {
            Architecture::Sd3(_) => "SD3Transformer2DModel",
            Architecture::Flux(_) => "FluxTransformer2DModel",
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(config: &Value, path: &Path) -> Result<T> {
    serde_json::from_value(config.clone()).map_err(|e| Error::malformed(path, format!("not a valid config: {e}")))
}
