//! What a device must be able to do: the contract between the operations and their implementations.
//!
//! ```text
//! model, sampling    -> Tensor, functions of `ops` (check shapes, dtypes, engines) -> Engine -> cpu, cuda
//! calibration, prune -> Hessian, FactoredHessian, FullHessian ------------------------------^
//! ```
//!
//! Callers use the functions of [`ops`](super) and the methods of [`Tensor`], which check what the methods here
//! may rely on: shapes as stated, all tensors on this engine, and the dtype of [`Engine::activations`] where nothing
//! else is stated. Tensors are row-major without gaps.

use std::fmt;

use super::{DType, Hessian, Qkv, Strided, Symmetric, Tensor};
use crate::error::Result;

/// The memory that tensors, Hessians and workspaces of an engine take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Main memory.
    Host,
    /// The memory of a GPU.
    #[cfg(feature = "cuda")]
    Gpu,
}

impl Place {
    /// Whether it is the memory of a GPU.
    pub fn is_gpu(self) -> bool {
        self != Place::Host
    }

    /// Whether its engine sweeps blocks of this many columns.
    pub fn sweeps_blocks_of(self, columns: usize) -> bool {
        match self {
            Place::Host => columns > 0,
            #[cfg(feature = "cuda")]
            Place::Gpu => obsdiff_kernels::sweep::takes_block_size(columns),
        }
    }

    /// Whether its engine computes attention with heads of this many channels.
    pub fn attends_heads_of(self, channels: usize) -> bool {
        match self {
            Place::Host => channels > 0,
            #[cfg(feature = "cuda")]
            Place::Gpu => obsdiff_kernels::attention::takes_head_dim(channels),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Host => f.write_str("host"),
            #[cfg(feature = "cuda")]
            Place::Gpu => f.write_str("GPU"),
        }
    }
}

/// A device and the operations on tensors that lie there. Every sum is taken in an order that depends on the
/// shapes alone, so equal inputs give equal bits.
///
/// # Errors
/// Any method fails with [`crate::Error::OutOfMemory`] if the device has no room for its result.
pub trait Engine: fmt::Debug + Send + Sync {
    /// `cpu` or `cuda:N`. Tensors can meet in an operation if their engines have equal names.
    fn name(&self) -> &str;

    /// The dtype of activations for weights held as `weights`; every tensor that the operations below combine is of
    /// it, but for weights, biases, angles and the latents' arithmetic.
    fn activations(&self, weights: DType) -> DType;

    /// Where tensors and Hessians lie.
    fn place(&self) -> Place;

    /// Bytes that tensors and Hessians may still take; `None` where the system does not tell.
    fn available_memory(&self) -> Option<u64>;

    /// A copy of `host` (in host memory, any dtype) on this engine; shared where this engine is the host.
    fn upload(&self, host: &Tensor) -> Result<Tensor>;

    /// A copy of `x` (any dtype) in host memory; shared where this engine is the host.
    fn download(&self, x: &Tensor) -> Result<Tensor>;

    /// `x` (any dtype) as another dtype, to nearest, ties to even.
    fn to_dtype(&self, x: &Tensor, dtype: DType) -> Result<Tensor>;

    /// The values of `x` (any dtype) at the places `at`: value (i, j, ..) of the result is value
    /// `at.offset + i * at.strides[0] + j * at.strides[1] + ..` of `x`.
    fn strided_copy(&self, x: &Tensor, at: &Strided) -> Result<Tensor>;

    /// One behind the other along `axis`: at least two tensors of one dtype (any) that differ in that size only.
    fn cat(&self, tensors: &[&Tensor], axis: usize) -> Result<Tensor>;

    /// Whether no value of `x` is NaN or infinite.
    fn is_finite(&self, x: &Tensor) -> Result<bool>;

    /// x + y, in place: `y` has the shape of `x`, or of `x` without its first axes, and is then repeated.
    fn add(&self, x: Tensor, y: &Tensor) -> Result<Tensor>;

    /// x + scale * y, in place: `y` has the shape of `x`.
    fn add_scaled(&self, x: Tensor, scale: f32, y: &Tensor) -> Result<Tensor>;

    /// u + scale * (c - u) for `branches` [2 * batch, ..], u the first half and c the second: [batch, ..].
    fn guidance(&self, branches: &Tensor, scale: f32) -> Result<Tensor>;

    /// x / (1 + e^-x), in place.
    fn silu(&self, x: Tensor) -> Result<Tensor>;

    /// GELU (tanh approximation), in place.
    fn gelu(&self, x: Tensor) -> Result<Tensor>;

    /// Whether [`Engine::pack24`] is there.
    fn packs24(&self) -> bool;

    /// The f16 or bf16 `weight` [features, columns] in the form that [`Engine::linear`] multiplies faster, if of
    /// each four neighbours in a row at most two are nonzero; `None` if not, or if the columns are no multiple of 32.
    /// Nothing but `linear` takes the result.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] on an engine without it.
    fn pack24(&self, weight: &Tensor) -> Result<Option<Tensor>>;

    /// x weight^T + bias: `x` [.., columns], `weight` [features, columns] and `bias` `[features]` of any dtype,
    /// the result [.., features]. `weight` may be packed.
    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor>;

    /// softmax(q k^T / sqrt(head_dim)) v over the keys of all streams together: per stream query, key, value
    /// [batch, tokens, heads * head_dim], the result of each in its shape. At least one stream.
    fn attention(&self, streams: &[Qkv], head_dim: usize) -> Result<Vec<Tensor>>;

    /// (x - mean) / sqrt(var + eps) * (1 + scale) + shift over the last axis: `x` [batch, tokens, width], `scale`
    /// and `shift` [batch, width].
    fn layer_norm_modulate(&self, x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f32) -> Result<Tensor>;

    /// residual + gate * x: `residual` and `x` [batch, tokens, width], `gate` [batch, width].
    fn gated_residual(&self, residual: &Tensor, gate: &Tensor, x: &Tensor) -> Result<Tensor>;

    /// x / sqrt(mean(x^2) + eps) * weight, in place, over groups of `weight` `[group]` in the last axis of `x`
    /// [.., groups * group].
    fn rms_norm(&self, x: Tensor, weight: &Tensor, eps: f32) -> Result<Tensor>;

    /// Rotary position embedding, in place: `x` [batch, tokens, heads * 2 * pairs], `cos` and `sin`
    /// [tokens, pairs]; pair j of a head is its channels 2j and 2j + 1.
    fn rope(&self, x: Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor>;

    /// Waits until everything before has been computed; only measurements need it.
    fn synchronize(&self) -> Result<()>;

    /// An empty accumulator for inputs of this many columns.
    fn hessian(&self, columns: usize) -> Result<Box<dyn Hessian>>;

    /// An accumulator that goes on from `matrix`, of which the lower triangle counts.
    fn hessian_from(&self, matrix: Symmetric) -> Result<Box<dyn Hessian>>;
}
