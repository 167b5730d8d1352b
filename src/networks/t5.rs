//! The encoder of T5, as `T5EncoderModel` of transformers 4.51 computes it without an attention mask, which is how
//! diffusers calls it for SD3 and FLUX.
//!
//! ```text
//! ids -> embedding -> layers: x + attention(norm(x)), x + feed_forward(norm(x)) -> norm
//! ```
//!
//! All rows pass through one half of a layer before the next half is read, so every weight is read from its file once
//! per call, and no more than one half of a layer is held, widened to f32. Arithmetic is f32 throughout: the residual
//! stream of T5-XXL grows beyond what f16 holds (65,504), which is why its f16 runs elsewhere need clamping or give
//! infinities. Here weights of any width give what f32 arithmetic gives.

use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::activation::Activation;
use super::attention::{Scores, attention};
use super::component::{expect_model_type, expect_positive, parse};
use super::layers::Linear;
use super::rows::{join, rows_per_chunk, tokens_per_row};
use super::weights::Weights;
use crate::checkpoint::pipeline::read_json;
use crate::error::{Error, Result};
use crate::ops::{self, Tensor};

const EMBEDDINGS: [&str; 2] = ["shared.weight", "encoder.embed_tokens.weight"];
/// Of the first layer, for all layers.
const POSITION_BIAS: &str = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
const FINAL_NORM: &str = "encoder.final_layer_norm.weight";

/// Keys of `T5Config` with its defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    layer_norm_epsilon: f32,
    feed_forward_proj: String,
    /// These two follow from `feed_forward_proj`; where they are written down they count.
    dense_act_fn: Option<String>,
    is_gated_act: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            vocab_size: 32_128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "relu".into(),
            dense_act_fn: None,
            is_gated_act: None,
        }
    }
}

impl Config {
    /// The activation, and whether a second projection of the input is multiplied with it.
    fn feed_forward(&self, path: &Path) -> Result<(Activation, bool)> {
        let (name, gated) = match self.feed_forward_proj.strip_prefix("gated-") {
            Some("gelu") => ("gelu_new", true),
            Some(name) => (name, true),
            None => (self.feed_forward_proj.as_str(), false),
        };
        let activation = match &self.dense_act_fn {
            Some(name) => Activation::named(name, "dense_act_fn", path)?,
            None => Activation::named(name, "feed_forward_proj", path)?,
        };
        Ok((activation, self.is_gated_act.unwrap_or(gated)))
    }

    fn check(&self, path: &Path) -> Result<()> {
        expect_positive(
            path,
            &[
                ("vocab_size", self.vocab_size),
                ("d_model", self.d_model),
                ("d_kv", self.d_kv),
                ("d_ff", self.d_ff),
                ("num_layers", self.num_layers),
                ("num_heads", self.num_heads),
            ],
        )?;
        let (buckets, distance) = (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        if buckets < 4 || distance <= buckets / 4 {
            return Err(Error::Unsupported {
                what: format!(
                    "`relative_attention_num_buckets` and `relative_attention_max_distance` in {}",
                    path.display()
                ),
                found: format!("{buckets} and {distance}"),
                supported: "4 buckets or more, and a distance of more than a quarter of them".into(),
            });
        }
        Ok(())
    }
}

/// A T5 encoder. Weights stay in their files until [`T5::encode`] reads them, layer by layer.
#[derive(Debug)]
pub struct T5 {
    weights: Weights,
    config: Config,
    embedding: &'static str,
    activation: Activation,
    gated: bool,
}

impl T5 {
    /// Opens the `config.json` and the weights of `folder` and checks names and shapes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`], [`Error::Unsupported`] for another model or activation,
    /// [`Error::TensorMissing`], [`Error::Shape`].
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let value = read_json(&path, "as the configuration of a T5 encoder")?;
        expect_model_type(&value, &path, &["t5"])?;
        let config: Config = parse(value, &path)?;
        config.check(&path)?;
        let (activation, gated) = config.feed_forward(&path)?;
        let weights = Weights::open_encoder(folder)?;
        let embedding = EMBEDDINGS.into_iter().find(|name| weights.has(name)).unwrap_or(EMBEDDINGS[0]);
        let t5 = T5 { weights, config, embedding, activation, gated };
        t5.check()?;
        Ok(t5)
    }

    /// Refuses missing tensors and tensors of another shape, without reading any.
    fn check(&self) -> Result<()> {
        let Config { vocab_size, d_model, d_ff, num_heads, relative_attention_num_buckets: buckets, .. } = self.config;
        let inner = self.inner();
        self.weights.expect(self.embedding, &[vocab_size, d_model])?;
        self.weights.expect(POSITION_BIAS, &[buckets, num_heads])?;
        for layer in 0..self.config.num_layers {
            for (name, shape) in
                [("q", [inner, d_model]), ("k", [inner, d_model]), ("v", [inner, d_model]), ("o", [d_model, inner])]
            {
                self.weights.expect(&format!("{}.{name}.weight", attention_module(layer)), &shape)?;
            }
            for name in self.inner_projections() {
                self.weights.expect(&format!("{}.{name}.weight", feed_forward_module(layer)), &[d_ff, d_model])?;
            }
            self.weights.expect(&format!("{}.wo.weight", feed_forward_module(layer)), &[d_model, d_ff])?;
            for half in 0..2 {
                self.weights.expect(&norm_name(layer, half), &[d_model])?;
            }
        }
        self.weights.expect(FINAL_NORM, &[d_model])
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.config.d_model
    }

    /// Encodes rows of token ids, all of one length: [rows, tokens, d_model]. After every layer `progress` gets the
    /// number of layers that are done and the number of all; its error ends the call.
    ///
    /// # Errors
    /// [`Error::Malformed`] for an id beyond the vocabulary, [`Error::NonFinite`] for weights or results,
    /// [`Error::Runtime`] for rows of different length, and those of `progress`.
    pub fn encode(&self, ids: &[Vec<u32>], progress: &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<Tensor> {
        let tokens = tokens_per_row(ids)?;
        let d_model = self.config.d_model;
        let embed = |rows: &[Vec<u32>]| {
            self.weights.rows(self.embedding, d_model, &rows.concat())?.reshape([rows.len(), tokens, d_model])
        };
        let mut chunks: Vec<Tensor> = ids.chunks(rows_per_chunk(tokens)).map(embed).collect::<Result<_>>()?;
        let bias = self.position_bias(tokens)?;
        for number in 0..self.config.num_layers {
            let half = self.attention(number)?;
            for x in &mut chunks {
                *x = half.apply(x, &bias)?;
            }
            drop(half);
            let half = self.feed_forward(number)?;
            for x in &mut chunks {
                *x = half.apply(x)?;
            }
            progress(number + 1, self.config.num_layers)?;
        }
        let norm = self.weights.tensor(FINAL_NORM, &[d_model])?;
        for x in &mut chunks {
            *x = ops::rms_norm(x.clone(), &norm, self.config.layer_norm_epsilon)?;
        }
        join(chunks, &format!("hidden states of {}", self.weights.path().display()))
    }

    /// Width of the queries of all heads together.
    fn inner(&self) -> usize {
        self.config.num_heads * self.config.d_kv
    }

    fn inner_projections(&self) -> &'static [&'static str] {
        if self.gated { &["wi_0", "wi_1"] } else { &["wi"] }
    }

    /// What is added to the scores: [heads, tokens, tokens].
    fn position_bias(&self, tokens: usize) -> Result<Tensor> {
        let Config {
            num_heads,
            relative_attention_num_buckets: buckets,
            relative_attention_max_distance: distance,
            ..
        } = self.config;
        let table = self.weights.tensor(POSITION_BIAS, &[buckets, num_heads])?;
        let table = table.as_slice()?;
        let mut bias = Vec::with_capacity(num_heads * tokens * tokens);
        for head in 0..num_heads {
            for query in 0..tokens {
                for key in 0..tokens {
                    bias.push(table[bucket(key as isize - query as isize, buckets, distance) * num_heads + head]);
                }
            }
        }
        Tensor::from_vec(bias, [num_heads, tokens, tokens])
    }

    fn attention(&self, layer: usize) -> Result<SelfAttention> {
        let (inner, d_model) = (self.inner(), self.config.d_model);
        let linear = |name: &str, features, columns| self.linear(&attention_module(layer), name, features, columns);
        Ok(SelfAttention {
            norm: self.weights.tensor(&norm_name(layer, 0), &[d_model])?,
            query: linear("q", inner, d_model)?,
            key: linear("k", inner, d_model)?,
            value: linear("v", inner, d_model)?,
            out: linear("o", d_model, inner)?,
            heads: self.config.num_heads,
            eps: self.config.layer_norm_epsilon,
        })
    }

    fn feed_forward(&self, layer: usize) -> Result<FeedForward> {
        let Config { d_ff, d_model, .. } = self.config;
        let linear = |name: &str, features, columns| self.linear(&feed_forward_module(layer), name, features, columns);
        let mut inner = self.inner_projections().iter().map(|name| linear(name, d_ff, d_model));
        Ok(FeedForward {
            norm: self.weights.tensor(&norm_name(layer, 1), &[d_model])?,
            activated: inner.next().expect("one or two projections")?,
            gate: inner.next().transpose()?,
            out: linear("wo", d_model, d_ff)?,
            activation: self.activation,
            eps: self.config.layer_norm_epsilon,
        })
    }

    /// A projection; T5 has no biases.
    fn linear(&self, module: &str, name: &str, features: usize, columns: usize) -> Result<Linear> {
        let weight = self.weights.tensor(&format!("{module}.{name}.weight"), &[features, columns])?;
        Ok(Linear { weight, bias: None })
    }
}

fn attention_module(layer: usize) -> String {
    format!("encoder.block.{layer}.layer.0.SelfAttention")
}

fn feed_forward_module(layer: usize) -> String {
    format!("encoder.block.{layer}.layer.1.DenseReluDense")
}

/// The norm before the attention (`half` 0) or the feed-forward network (`half` 1).
fn norm_name(layer: usize, half: usize) -> String {
    format!("encoder.block.{layer}.layer.{half}.layer_norm.weight")
}

/// Where the bias of a key stands that lies `distance` tokens behind its query (negative: before it): exact distances
/// up to a quarter of `buckets`, then logarithmic ones up to `max_distance`; keys behind the query in the upper half.
/// f32 as in transformers, so that distances at the edge of a bucket fall on the same side.
fn bucket(distance: isize, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let first = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs();
    if distance < exact {
        return first + distance;
    }
    let span = (max_distance as f64 / exact as f64).ln() as f32;
    let steps = (distance as f32 / exact as f32).ln() / span * (half - exact) as f32;
    first + (exact + steps as usize).min(half - 1)
}

/// x + attention(norm(x)); the scores are not scaled.
struct SelfAttention {
    norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
    eps: f32,
}

impl SelfAttention {
    /// Of `x` [rows, tokens, d_model].
    fn apply(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let normed = ops::rms_norm(x.clone(), &self.norm, self.eps)?;
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|linear| linear.apply(&normed));
        let seen = attention(&query?, &key?, &value?, self.heads, 1.0, Scores::Biased(bias))?;
        ops::add(self.out.apply(&seen)?, x)
    }
}

/// x + out(activation(activated(norm(x)))), where the activation is multiplied with gate(norm(x)) if there is a gate.
struct FeedForward {
    norm: Tensor,
    activated: Linear,
    gate: Option<Linear>,
    out: Linear,
    activation: Activation,
    eps: f32,
}

impl FeedForward {
    /// Of `x` [rows, tokens, d_model].
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let normed = ops::rms_norm(x.clone(), &self.norm, self.eps)?;
        let mut inner = self.activation.apply(self.activated.apply(&normed)?)?;
        if let Some(gate) = &self.gate {
            let gate = gate.apply(&normed)?;
            inner.as_mut_slice()?.par_iter_mut().zip(gate.as_slice()?).for_each(|(x, gate)| *x *= gate);
        }
        ops::add(self.out.apply(&inner)?, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First distance of every bucket of a half, as transformers has them.
    #[test]
    fn buckets_begin_where_transformers_has_them() {
        for (buckets, max_distance, starts) in [
            (32, 128, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91][..]),
            (20, 100, &[0, 1, 2, 3, 4, 5, 10, 17, 31, 55][..]),
            (8, 5, &[0, 1, 2, 4][..]),
        ] {
            let half = buckets / 2;
            for distance in 0..2000 {
                let expected = starts.iter().rposition(|&start| start <= distance).unwrap();
                assert_eq!(bucket(-(distance as isize), buckets, max_distance), expected, "{buckets}: {distance}");
                let behind = if distance > 0 { half + expected } else { 0 };
                assert_eq!(bucket(distance as isize, buckets, max_distance), behind, "{buckets}: {distance}");
            }
        }
    }
}
