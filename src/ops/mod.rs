//! The numerical operations, each under the name that its CUDA kernel has: `gram`, `factor`, `sweep`,
//! `refine`; and those of the forward pass as functions on tensors. They know matrices and no tensor names.
//!
//! Callers take every operation from here and never name an engine; `cpu` is the only one so far, and the
//! reference for any other.

mod cpu;
mod dtype;
mod engine;
mod forward;
pub mod mask;
pub mod pattern;
pub mod rounding;
pub mod symmetric;
mod tensor;

pub use cpu::ROW_CHUNK;
pub use cpu::cpu_engine;
pub use cpu::energy::energy;
pub use cpu::factor::{NonPositivePivot, factor};
pub use cpu::gram::{column_sums, gram};
pub use cpu::refine::refine;
pub use cpu::sweep::sweep;
pub use dtype::DType;
pub use engine::Engine;
pub use forward::{
    Qkv, add, add_scaled, attention, gated_residual, gelu, guidance, is_finite, layer_norm_modulate, linear, rms_norm,
    rope, silu,
};
pub use mask::Mask;
pub use pattern::{CountRule, NM, Pattern, Sparsity};
pub use rounding::Rounding;
pub use symmetric::{Factor, Symmetric};
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

/// What a column sweep found; the pruned weights are left in the matrix that was swept.
#[derive(Debug, Clone)]
pub struct Swept {
    pub mask: Mask,
    /// `tr(D (H + damping) D^T)` with `D` the change of the weights: the squared norm of the sweep's errors.
    pub damped_loss: f64,
}
