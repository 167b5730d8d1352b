//! The networks around the transformer, on the CPU in f32: from weights that stay in their files until a layer needs
//! them to plain tensors. They are no place for pruning and run once per prompt or picture.

mod classifier;
mod layers;
mod weights;

pub use classifier::Classifier;
pub use layers::{LayerNorm, Linear};
pub use weights::Weights;
