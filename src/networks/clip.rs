//! What the text and the picture encoder of CLIP share: the configuration's form and the stack of layers.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::activation::Activation;
use super::attention::{Scores, attention};
use super::component::{expect_model_type, expect_positive};
use super::layers::{LayerNorm, Linear};
use super::weights::Weights;
use crate::checkpoint::pipeline::read_json;
use crate::error::{Error, Result};
use crate::ops::{self, Tensor};

/// The configuration of one half of CLIP, and the file that it stands in: `config.json` of that half alone
/// (`model_type` is then `alone`), or the part `key` in the one of a whole CLIP.
///
/// # Errors
/// [`Error::Missing`], [`Error::Malformed`], [`Error::Unsupported`] for another `model_type`.
pub fn read_config(folder: &Path, alone: &str, key: &str) -> Result<(Value, PathBuf)> {
    let path = folder.join("config.json");
    let mut config = read_json(&path, "as the configuration of an encoder")?;
    expect_model_type(&config, &path, &[alone, "clip"])?;
    if config["model_type"] == "clip" {
        // Early files hold the halves as `text_config_dict` and `vision_config_dict`; where they are, they count.
        let old = config[format!("{key}_dict")].take();
        config = if old.is_object() { old } else { config[key].take() };
        if config.is_null() {
            config = json!({});
        }
    }
    Ok((config, path))
}

/// A stack of pre-norm transformer layers, x + attention(norm(x)) and then x + mlp(norm(x)).
#[derive(Debug)]
pub struct Stack {
    /// Where the layers stand, such as `text_model.encoder`.
    pub prefix: &'static str,
    pub width: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    pub activation: Activation,
    pub eps: f32,
}

impl Stack {
    /// Refuses sizes that make no network; they stand in the configuration at `path`.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn check_sizes(&self, path: &Path) -> Result<()> {
        expect_positive(
            path,
            &[
                ("hidden_size", self.width),
                ("intermediate_size", self.intermediate),
                ("num_hidden_layers", self.layers),
                ("num_attention_heads", self.heads),
            ],
        )?;
        if self.width.is_multiple_of(self.heads) {
            return Ok(());
        }
        let problem = format!("`hidden_size` {} is no multiple of `num_attention_heads` {}", self.width, self.heads);
        Err(Error::malformed(path, problem))
    }

    /// Refuses missing tensors and tensors of another shape, without reading any.
    ///
    /// # Errors
    /// Those of [`Weights::expect`].
    pub fn check(&self, weights: &Weights) -> Result<()> {
        let (width, intermediate) = (self.width, self.intermediate);
        for layer in 0..self.layers {
            for (module, features, columns) in [
                ("self_attn.q_proj", width, width),
                ("self_attn.k_proj", width, width),
                ("self_attn.v_proj", width, width),
                ("self_attn.out_proj", width, width),
                ("mlp.fc1", intermediate, width),
                ("mlp.fc2", width, intermediate),
            ] {
                let module = self.module(layer, module);
                weights.expect(&format!("{module}.weight"), &[features, columns])?;
                weights.expect(&format!("{module}.bias"), &[features])?;
            }
            for norm in ["layer_norm1", "layer_norm2"] {
                expect_layer_norm(weights, &self.module(layer, norm), width)?;
            }
        }
        Ok(())
    }

    /// The layer of this number, widened to f32.
    ///
    /// # Errors
    /// Those of [`Weights::tensor`].
    pub fn layer(&self, weights: &Weights, number: usize) -> Result<Layer> {
        let (width, intermediate) = (self.width, self.intermediate);
        let linear = |module: &str, features, columns| weights.linear(&self.module(number, module), features, columns);
        Ok(Layer {
            norm1: weights.layer_norm(&self.module(number, "layer_norm1"), width, self.eps)?,
            query: linear("self_attn.q_proj", width, width)?,
            key: linear("self_attn.k_proj", width, width)?,
            value: linear("self_attn.v_proj", width, width)?,
            out: linear("self_attn.out_proj", width, width)?,
            norm2: weights.layer_norm(&self.module(number, "layer_norm2"), width, self.eps)?,
            fc1: linear("mlp.fc1", intermediate, width)?,
            fc2: linear("mlp.fc2", width, intermediate)?,
            heads: self.heads,
            scale: ((width / self.heads) as f32).sqrt().recip(),
            activation: self.activation,
        })
    }

    fn module(&self, layer: usize, module: &str) -> String {
        format!("{}.layers.{layer}.{module}", self.prefix)
    }
}

/// Refuses a missing or differently shaped `module.weight` or `module.bias` of a layer norm.
///
/// # Errors
/// Those of [`Weights::expect`].
pub fn expect_layer_norm(weights: &Weights, module: &str, width: usize) -> Result<()> {
    weights.expect(&format!("{module}.weight"), &[width])?;
    weights.expect(&format!("{module}.bias"), &[width])
}

/// One layer of a [`Stack`].
#[derive(Debug)]
pub struct Layer {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    scale: f32,
    activation: Activation,
}

impl Layer {
    /// Of `x` [rows, tokens, width].
    ///
    /// # Errors
    /// [`Error::Runtime`] if `x` does not fit.
    pub fn apply(&self, x: &Tensor, scores: Scores) -> Result<Tensor> {
        let normed = self.norm1.apply(x)?;
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|linear| linear.apply(&normed));
        let seen = attention(&query?, &key?, &value?, self.heads, self.scale, scores)?;
        let x = ops::add(self.out.apply(&seen)?, x)?;
        let inner = self.activation.apply(self.fc1.apply(&self.norm2.apply(&x)?)?)?;
        ops::add(self.fc2.apply(&inner)?, &x)
    }
}
