//! One forward pass under way: the weights, the observer, and the pieces that all blocks share.

use super::embeddings::Rope;
use super::weights::Weights;
use super::{Observer, taps};
use crate::error::Result;
use crate::ops::{self, DType, Engine, Qkv, Tensor};

/// Epsilon of every layer norm and RMS norm.
const EPS: f32 = 1e-6;

pub(super) struct Pass<'a> {
    pub weights: &'a Weights,
    /// Where tensors made during the pass are placed.
    pub engine: &'a dyn Engine,
    observer: &'a mut dyn Observer,
    head_dim: usize,
    /// The dtype of everything between the Linears.
    pub activations: DType,
}

/// Names of the three projections of an attention and of its query and key norms, relative to it.
pub(super) struct Projections {
    linears: [&'static str; 3],
    norms: [&'static str; 2],
}

/// Projections of the attention's own stream.
pub(super) const OWN: Projections =
    Projections { linears: ["to_q", "to_k", "to_v"], norms: ["norm_q.weight", "norm_k.weight"] };
/// Projections of the text stream in a joint attention.
pub(super) const ADDED: Projections = Projections {
    linears: ["add_q_proj", "add_k_proj", "add_v_proj"],
    norms: ["norm_added_q.weight", "norm_added_k.weight"],
};

impl<'a> Pass<'a> {
    pub fn new(weights: &'a Weights, engine: &'a dyn Engine, observer: &'a mut dyn Observer, head_dim: usize) -> Self {
        Pass { weights, engine, observer, head_dim, activations: engine.activations(weights.dtype()) }
    }

    /// Shows `x` to the observer, then applies Linear `module`.
    pub fn linear(&mut self, module: &str, x: &Tensor) -> Result<Tensor> {
        let x = &x.to_dtype(self.activations)?;
        self.observer.observe(module, x)?;
        let weight = self.weights.get(&format!("{module}.weight"))?;
        ops::linear(x, weight, self.weights.find(&format!("{module}.bias")))
    }

    pub fn block_output(&mut self, block: &str, stream: taps::Stream, output: &Tensor) -> Result<()> {
        self.observer.block_output(block, stream, output)
    }

    /// AdaLN: Linear `module` of the activated conditioning [batch, width], cut into `parts` of [batch, width].
    pub fn modulation(&mut self, module: &str, conditioning: &Tensor, parts: usize) -> Result<Vec<Tensor>> {
        self.linear(module, conditioning)?.chunk(parts, 1)
    }

    /// AdaLayerNormContinuous: the Linear gives scale, then shift.
    pub fn norm_continuous(&mut self, module: &str, conditioning: &Tensor, x: &Tensor) -> Result<Tensor> {
        let parts = self.modulation(module, conditioning, 2)?;
        norm(x, &parts[0], &parts[1])
    }

    /// Query, key and value of `attention` for the tokens `x`: Linears, then RMS norms where the model has
    /// them, then rotary embedding where `rope` is given.
    pub fn project(&mut self, attention: &str, names: &Projections, x: &Tensor, rope: Option<&Rope>) -> Result<Qkv> {
        let [query, key, value] = names.linears.map(|linear| self.linear(&format!("{attention}.{linear}"), x));
        let position = |mut tensor: Tensor, norm: &str| -> Result<Tensor> {
            if let Some(weight) = self.weights.find(&format!("{attention}.{norm}")) {
                tensor = ops::rms_norm(tensor, weight, EPS)?;
            }
            match rope {
                Some(rope) => ops::rope(tensor, &rope.cos, &rope.sin),
                None => Ok(tensor),
            }
        };
        Ok(Qkv { query: position(query?, names.norms[0])?, key: position(key?, names.norms[1])?, value: value? })
    }

    /// Attention over all streams together; one result per stream.
    pub fn attention(&self, streams: &[Qkv]) -> Result<Vec<Tensor>> {
        ops::attention(streams, self.head_dim)
    }

    /// Two Linears with a GELU between them.
    pub fn feed_forward(&mut self, module: &str, x: &Tensor) -> Result<Tensor> {
        let middle = ops::gelu(self.linear(&format!("{module}.net.0.proj"), x)?)?;
        self.linear(&format!("{module}.net.2"), &middle)
    }

    /// Two Linears with a SiLU between them.
    pub fn embedder(&mut self, module: &str, x: &Tensor) -> Result<Tensor> {
        let middle = ops::silu(self.linear(&format!("{module}.linear_1"), x)?)?;
        self.linear(&format!("{module}.linear_2"), &middle)
    }
}

/// Layer norm without parameters, then * (1 + scale) + shift.
pub(super) fn norm(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    ops::layer_norm_modulate(x, scale, shift, EPS)
}
