//! The transformers: forward pass on candle tensors. Knows nothing of pruning: it shows every Linear's
//! input to an [`Observer`] and lets a weight be replaced.

pub mod taps;

use candle_core::Tensor;

use crate::error::Result;

/// Sees the input of every Linear during a forward pass.
pub trait Observer {
    /// Called before Linear `module` (diffusers module path) is applied to `input` (f32, last dimension =
    /// input features).
    fn observe(&mut self, module: &str, input: &Tensor) -> Result<()>;
}

/// An observer that looks away.
pub struct NoObserver;

impl Observer for NoObserver {
    fn observe(&mut self, _: &str, _: &Tensor) -> Result<()> {
        Ok(())
    }
}
