//! The numerical operations, each under the name that its CUDA kernel has: `gram`, `factor`, `sweep`,
//! `refine`; and those of the forward pass as functions on tensors. They know matrices and no tensor names.
//! [`cpu`] is the reference engine.

pub mod cpu;
mod forward;
pub mod mask;
pub mod pattern;
pub mod symmetric;

pub use forward::{Qkv, attention, gated_residual, gelu, layer_norm_modulate, linear, rms_norm, rope};
pub use mask::Mask;
pub use pattern::{CountRule, NM, Pattern, Sparsity};
pub use symmetric::{Factor, Symmetric};

/// The dtype that pruned weights are rounded to inside the sweep, so that the rounding error is compensated
/// together with the pruning error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Keep f32.
    None,
    F16,
    BF16,
}

impl Rounding {
    /// `value` rounded to the nearest number of the dtype, ties to even.
    #[inline(always)]
    pub fn apply(self, value: f32) -> f32 {
        match self {
            Rounding::None => value,
            Rounding::F16 => half::f16::from_f32(value).to_f32(),
            Rounding::BF16 => half::bf16::from_f32(value).to_f32(),
        }
    }
}

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
