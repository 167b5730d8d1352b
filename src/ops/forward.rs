//! The operations of the forward pass on tensors: shapes are checked here, the arithmetic is done by the
//! implementation of the device that holds the tensors.
//!
//! All inputs are f32 except the weight and bias of [`linear`], which are widened at use. Operations that
//! take a tensor by value work in place: clones of it change too, so pass only what nobody else reads.

use std::ops::Deref;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, StorageRef, Tensor, bail};

use super::cpu;
use crate::error::{Error, Result};

/// Query, key and value of one token stream, each [batch, tokens, heads * head_dim].
pub struct Qkv {
    pub query: Tensor,
    pub key: Tensor,
    pub value: Tensor,
}

/// softmax(q k^T / sqrt(head_dim)) v over the keys of all streams together; one result per stream,
/// [batch, tokens, heads * head_dim]. The number of heads follows from the width.
///
/// # Errors
/// [`Error::Runtime`] if the shapes do not fit each other, [`Error::Unsupported`] off the CPU.
pub fn attention(streams: &[Qkv], head_dim: usize) -> Result<Vec<Tensor>> {
    let Some(first) = streams.first() else { return Ok(Vec::new()) };
    let (batch, _, width) = first.query.dims3()?;
    if head_dim == 0 || !width.is_multiple_of(head_dim) {
        return Ok(mismatch(format!("attention: width {width} is not a multiple of the head dimension {head_dim}"))?);
    }
    let mut views = Vec::with_capacity(streams.len());
    for stream in streams {
        let tokens = stream.query.dim(1)?;
        for tensor in [&stream.query, &stream.key, &stream.value] {
            expect(tensor, &[batch, tokens, width], "attention: query, key or value")?;
        }
        views.push((View::new(&stream.query)?, View::new(&stream.key)?, View::new(&stream.value)?, tokens));
    }
    let slices: Vec<cpu::attention::Stream> = views
        .iter()
        .map(|(query, key, value, tokens)| cpu::attention::Stream { query, key, value, tokens: *tokens })
        .collect();
    let shape = cpu::attention::Shape { batch, heads: width / head_dim, head_dim };
    let outputs = cpu::attention::attention(&slices, shape);
    let tensors = outputs
        .into_iter()
        .zip(&slices)
        .map(|(out, stream)| Ok(Tensor::from_vec(out, (batch, stream.tokens, width), first.query.device())?));
    tensors.collect()
}

/// x weight^T + bias: x [..., columns], weight [features, columns], one bias per feature; the result is
/// [..., features] in f32.
///
/// # Errors
/// [`Error::Runtime`] if the shapes do not fit each other, [`Error::Unsupported`] off the CPU.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (features, columns) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    match shape.last_mut() {
        Some(last) if *last == columns => *last = features,
        _ => return Ok(mismatch(format!("linear: input {:?} on weight {:?}", x.dims(), weight.dims()))?),
    }
    let widened = (weight.to_dtype(DType::F32)?, bias.map(|b| b.to_dtype(DType::F32)).transpose()?);
    if let Some(bias) = &widened.1 {
        expect(bias, &[features], "linear: bias")?;
    }
    let bias = widened.1.as_ref().map(View::new).transpose()?;
    let out = cpu::linear::linear(&View::new(x)?, &View::new(&widened.0)?, bias.as_deref(), columns, features);
    Ok(Tensor::from_vec(out, shape, x.device())?)
}

/// (x - mean) / sqrt(var + eps) * (1 + scale) + shift over the last dimension: x [batch, tokens, width],
/// scale and shift [batch, width].
///
/// # Errors
/// [`Error::Runtime`] if the shapes do not fit each other, [`Error::Unsupported`] off the CPU.
pub fn layer_norm_modulate(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f32) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    expect(scale, &[batch, width], "layer_norm_modulate: scale")?;
    expect(shift, &[batch, width], "layer_norm_modulate: shift")?;
    let (x_view, scale, shift) = (View::new(x)?, View::new(scale)?, View::new(shift)?);
    let out = cpu::layer_norm::layer_norm_modulate(&x_view, &scale, &shift, tokens, width, eps);
    Ok(Tensor::from_vec(out, (batch, tokens, width), x.device())?)
}

/// residual + gate * x: residual and x [batch, tokens, width], gate [batch, width].
///
/// # Errors
/// [`Error::Runtime`] if the shapes do not fit each other, [`Error::Unsupported`] off the CPU.
pub fn gated_residual(residual: &Tensor, gate: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (batch, tokens, width) = residual.dims3()?;
    expect(x, &[batch, tokens, width], "gated_residual: x")?;
    expect(gate, &[batch, width], "gated_residual: gate")?;
    let (view, gate, x) = (View::new(residual)?, View::new(gate)?, View::new(x)?);
    let out = cpu::gated_residual::gated_residual(&view, &gate, &x, tokens, width);
    Ok(Tensor::from_vec(out, (batch, tokens, width), residual.device())?)
}

/// GELU (tanh approximation) in place.
///
/// # Errors
/// [`Error::Unsupported`] off the CPU.
pub fn gelu(x: Tensor) -> Result<Tensor> {
    in_place(x, "gelu", cpu::gelu::gelu)
}

/// x / sqrt(mean(x^2) + eps) * weight in place, over groups of weight's length in the last dimension.
///
/// # Errors
/// [`Error::Runtime`] if the last dimension is no multiple of weight's length, [`Error::Unsupported`] off
/// the CPU.
pub fn rms_norm(x: Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let weight = weight.to_dtype(DType::F32)?;
    let (width, group) = (x.dims().last().copied().unwrap_or(0), weight.dims1()?);
    if group == 0 || !width.is_multiple_of(group) {
        return Ok(mismatch(format!("rms_norm: width {width} is not a multiple of {group}"))?);
    }
    let weight = View::new(&weight)?;
    in_place(x, "rms_norm", |values| cpu::rms_norm::rms_norm(values, &weight, eps))
}

/// Rotary position embedding in place: x [batch, tokens, heads * head_dim]; cos and sin
/// [tokens, head_dim / 2], one angle per pair of neighbouring channels.
///
/// # Errors
/// [`Error::Runtime`] if the shapes do not fit each other, [`Error::Unsupported`] off the CPU.
pub fn rope(x: Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (_, tokens, width) = x.dims3()?;
    let pairs = cos.dim(1)?;
    expect(cos, &[tokens, pairs], "rope: cos")?;
    expect(sin, &[tokens, pairs], "rope: sin")?;
    if pairs == 0 || !width.is_multiple_of(2 * pairs) {
        return Ok(mismatch(format!("rope: width {width} is not a multiple of the head dimension {}", 2 * pairs))?);
    }
    let (cos, sin) = (View::new(cos)?, View::new(sin)?);
    in_place(x, "rope", |values| cpu::rope::rope(values, &cos, &sin, tokens, width, 2 * pairs))
}

/// The values of a contiguous f32 tensor in CPU memory.
struct View<'a> {
    storage: StorageRef<'a>,
    start: usize,
    length: usize,
}

impl<'a> View<'a> {
    fn new(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Ok(mismatch(format!("expected contiguous values, found {layout:?}"))?);
        };
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => Ok(View { storage, start, length: end - start }),
            Storage::Cpu(_) => Ok(mismatch(format!("expected f32, found {:?}", tensor.dtype()))?),
            _ => Err(not_on_cpu()),
        }
    }
}

impl Deref for View<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..][..self.length],
            _ => &[],
        }
    }
}

/// A function on the values of a tensor as a candle operation.
struct InPlace<F> {
    name: &'static str,
    function: F,
}

impl<F: Fn(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(values), Some((start, end))) => {
                (self.function)(&mut values[start..end]);
                Ok(())
            }
            _ => bail!("{}: expected contiguous f32 values, found {layout:?}", self.name),
        }
    }
}

fn in_place(x: Tensor, name: &'static str, function: impl Fn(&mut [f32])) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return Err(not_on_cpu());
    }
    x.inplace_op1(&InPlace { name, function })?;
    Ok(x)
}

fn expect(tensor: &Tensor, dims: &[usize], what: &str) -> Result<()> {
    if tensor.dims() != dims {
        mismatch::<()>(format!("{what} has shape {:?}, expected {dims:?}", tensor.dims()))?;
    }
    Ok(())
}

fn mismatch<T>(message: String) -> candle_core::Result<T> {
    bail!("{message}")
}

fn not_on_cpu() -> Error {
    Error::Unsupported { what: "device of a tensor".into(), found: "not the CPU".into(), supported: "cpu".into() }
}
