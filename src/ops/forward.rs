//! The operations of the forward pass on tensors: shapes, dtypes and engines are checked here, the arithmetic is
//! done by the engine that holds the tensors.
//!
//! Inputs are of the engine's dtype for activations (f32 on the CPU); the weights of [`linear`] and [`rms_norm`] may
//! be narrower. Operations
//! that take a tensor by value work in place if nobody else shares its values, else on a copy.
//!
//! Every function fails with [`Error::Runtime`](crate::Error::Runtime) if shapes, dtypes or engines do not fit
//! each other, and with the engine's own errors.

use super::tensor::{one_engine, refuse};
use super::{DType, Tensor};
use crate::error::{Error, Result};

/// Query, key and value of one token stream, each [batch, tokens, heads * head_dim].
pub struct Qkv {
    pub query: Tensor,
    pub key: Tensor,
    pub value: Tensor,
}

/// softmax(q k^T / sqrt(head_dim)) v over the keys of all streams together; one result per stream,
/// [batch, tokens, heads * head_dim]. The number of heads follows from the width.
pub fn attention(streams: &[Qkv], head_dim: usize) -> Result<Vec<Tensor>> {
    let Some(first) = streams.first() else { return Ok(Vec::new()) };
    let (batch, _, width) = first.query.dims3()?;
    if head_dim == 0 || !width.is_multiple_of(head_dim) {
        return Err(refuse(format!("attention: width {width} is not a multiple of the head dimension {head_dim}")));
    }
    let mut all = Vec::with_capacity(3 * streams.len());
    for stream in streams {
        let tokens = stream.query.dim(1)?;
        for tensor in [&stream.query, &stream.key, &stream.value] {
            expect(tensor, &[batch, tokens, width], "attention: query, key or value")?;
            all.push(tensor);
        }
    }
    one_engine("attention", &all)?.attention(streams, head_dim)
}

/// x weight^T + bias: x [.., columns], weight [features, columns], one bias per feature; the result is
/// [.., features] in the dtype of x.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (features, columns) = weight.dims2()?;
    if x.dims().last() != Some(&columns) {
        return Err(refuse(format!("linear: input {:?} on weight {:?}", x.dims(), weight.dims())));
    }
    expect_activation(x, "linear: input")?;
    if let Some(bias) = bias {
        expect_shape(bias, &[features], "linear: bias")?;
    }
    let all: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    one_engine("linear", &all)?.linear(x, weight, bias)
}

/// The f16 or bf16 `weight` [features, columns] packed for a faster [`linear`], if it is 2:4 sparse: of each four
/// neighbours in a row at most two are nonzero. `None` if it is not, or if its columns are no multiple of 32.
///
/// A packed tensor is for [`linear`] alone; on the CPU there are none
/// ([`Error::Unsupported`](crate::Error::Unsupported)).
pub fn pack24(weight: &Tensor) -> Result<Option<Tensor>> {
    weight.dims2()?;
    if weight.dtype() == DType::F32 {
        return Err(Error::Unsupported {
            what: "dtype of 2:4 sparse products".into(),
            found: weight.dtype().to_string(),
            supported: "bf16, f16".into(),
        });
    }
    weight.engine().pack24(weight)
}

/// (x - mean) / sqrt(var + eps) * (1 + scale) + shift over the last axis: x [batch, tokens, width], scale and
/// shift [batch, width].
pub fn layer_norm_modulate(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f32) -> Result<Tensor> {
    let (batch, _, width) = x.dims3()?;
    expect_activation(x, "layer_norm_modulate: x")?;
    expect(scale, &[batch, width], "layer_norm_modulate: scale")?;
    expect(shift, &[batch, width], "layer_norm_modulate: shift")?;
    one_engine("layer_norm_modulate", &[x, scale, shift])?.layer_norm_modulate(x, scale, shift, eps)
}

/// residual + gate * x: residual and x [batch, tokens, width], gate [batch, width].
pub fn gated_residual(residual: &Tensor, gate: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (batch, tokens, width) = residual.dims3()?;
    expect_activation(residual, "gated_residual: residual")?;
    expect(x, &[batch, tokens, width], "gated_residual: x")?;
    expect(gate, &[batch, width], "gated_residual: gate")?;
    one_engine("gated_residual", &[residual, gate, x])?.gated_residual(residual, gate, x)
}

/// GELU (tanh approximation) in place.
pub fn gelu(x: Tensor) -> Result<Tensor> {
    expect_activation(&x, "gelu: x")?;
    x.engine().gelu(x)
}

/// SiLU, x / (1 + e^-x), in place.
pub fn silu(x: Tensor) -> Result<Tensor> {
    expect_activation(&x, "silu: x")?;
    x.engine().silu(x)
}

/// x / sqrt(mean(x^2) + eps) * weight in place, over groups of weight's length in the last axis.
pub fn rms_norm(x: Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let (width, group) = (x.dims().last().copied().unwrap_or(0), weight.dims1()?);
    if group == 0 || !width.is_multiple_of(group) {
        return Err(refuse(format!("rms_norm: width {width} is not a multiple of {group}")));
    }
    expect_activation(&x, "rms_norm: x")?;
    let (engine, dtype) = (one_engine("rms_norm", &[&x, weight])?, x.dtype());
    engine.rms_norm(x, &weight.to_dtype(dtype)?, eps)
}

/// Rotary position embedding in place: x [batch, tokens, heads * head_dim]; cos and sin
/// [tokens, head_dim / 2], one angle per pair of neighbouring channels.
pub fn rope(x: Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (_, tokens, width) = x.dims3()?;
    let pairs = cos.dim(1)?;
    expect_activation(&x, "rope: x")?;
    for (angles, what) in [(cos, "rope: cos"), (sin, "rope: sin")] {
        expect_f32(angles, what)?;
        expect_shape(angles, &[tokens, pairs], what)?;
    }
    if pairs == 0 || !width.is_multiple_of(2 * pairs) {
        return Err(refuse(format!("rope: width {width} is not a multiple of the head dimension {}", 2 * pairs)));
    }
    one_engine("rope", &[&x, cos, sin])?.rope(x, cos, sin)
}

/// x + y in place; y has the shape of x, or of x without its first axes, and is then repeated.
pub fn add(x: Tensor, y: &Tensor) -> Result<Tensor> {
    expect_activation(&x, "add: x")?;
    expect(y, &x.dims()[x.rank().saturating_sub(y.rank())..], "add: y")?;
    one_engine("add", &[&x, y])?.add(x, y)
}

/// x + scale * y in place; both of the same shape.
pub fn add_scaled(x: Tensor, scale: f32, y: &Tensor) -> Result<Tensor> {
    expect_f32(&x, "add_scaled: x")?;
    expect_f32(y, "add_scaled: y")?;
    expect_shape(y, x.dims(), "add_scaled: y")?;
    one_engine("add_scaled", &[&x, y])?.add_scaled(x, scale, y)
}

/// Classifier-free guidance, u + scale * (c - u): branches [2 * batch, ..] with u, of the negative prompts, in the
/// first half and c, of the prompts, in the second; the result is [batch, ..].
pub fn guidance(branches: &Tensor, scale: f32) -> Result<Tensor> {
    expect_f32(branches, "guidance: branches")?;
    if !branches.dim(0)?.is_multiple_of(2) {
        return Err(refuse(format!("guidance: {branches:?} has no two halves")));
    }
    branches.engine().guidance(branches, scale)
}

/// Whether no value of x is NaN or infinite.
pub fn is_finite(x: &Tensor) -> Result<bool> {
    expect_activation(x, "is_finite: x")?;
    x.engine().is_finite(x)
}

fn expect(tensor: &Tensor, dims: &[usize], what: &str) -> Result<()> {
    expect_activation(tensor, what)?;
    expect_shape(tensor, dims, what)
}

/// Refuses a dtype that the tensor's engine holds no activations in.
fn expect_activation(tensor: &Tensor, what: &str) -> Result<()> {
    let (dtype, engine) = (tensor.dtype(), tensor.engine());
    let expected = engine.activations(dtype);
    if dtype == expected {
        return Ok(());
    }
    Err(refuse(format!("{what} is {dtype}, expected {expected} on {}", engine.name())))
}

fn expect_f32(tensor: &Tensor, what: &str) -> Result<()> {
    match tensor.dtype() {
        DType::F32 => Ok(()),
        other => Err(refuse(format!("{what} is {other}, expected f32"))),
    }
}

fn expect_shape(tensor: &Tensor, dims: &[usize], what: &str) -> Result<()> {
    if tensor.dims() == dims {
        return Ok(());
    }
    Err(refuse(format!("{what} has shape {:?}, expected {dims:?}", tensor.dims())))
}
