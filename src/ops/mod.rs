//! The numerical operations, each under the name that its CUDA kernel has: `gram`, `factor`, `sweep`,
//! `refine`; and those of the forward pass as functions on tensors. They know matrices and no tensor names.
//!
//! Callers take every operation from here and never name an engine: `cpu`, the reference, or `cuda`, which builds
//! with the feature of that name have.

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod device;
mod dtype;
mod engine;
mod forward;
mod hessian;
pub mod mask;
pub mod pattern;
pub mod rounding;
mod symmetric;
mod tensor;

pub use cpu::ROW_CHUNK;
pub use cpu::cpu_engine;
pub(crate) use cpu::simd;
pub use device::Device;
pub use dtype::DType;
pub use engine::{Engine, Place};
pub use forward::{
    Qkv, add, add_scaled, attention, gated_residual, gelu, guidance, is_finite, layer_norm_modulate, linear, pack24,
    rms_norm, rope, silu,
};
pub use hessian::{FactorError, FactoredHessian, FullHessian, Hessian};
pub use mask::Mask;
pub use pattern::{CountRule, NM, Pattern, Sparsity};
pub use rounding::Rounding;
pub use symmetric::Symmetric;
pub use tensor::{Strided, Tensor};

/// What a column sweep selects and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SweepOptions {
    pub pattern: Pattern,
    /// Columns per block, SparseGPT's `blocksize`. A multiple of `of` for N:M patterns.
    pub block_size: usize,
    /// How many weights an unstructured block loses.
    pub count: CountRule,
    pub rounding: Rounding,
}

/// What a column sweep found.
#[derive(Debug, Clone)]
pub struct Swept {
    /// The pruned weights, f32 [rows, columns], on the engine of the swept ones.
    pub weight: Tensor,
    pub mask: Mask,
    /// `tr(D (H + damping) D^T)` with `D` the change of the weights: the squared norm of the sweep's errors.
    pub damped_loss: f64,
}
