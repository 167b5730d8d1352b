//! The networks around the transformer, on the CPU in f32: from weights that stay in their files until a layer needs
//! them to plain tensors. They are no place for pruning and run once per prompt or picture.

mod classifier;
mod conv2d;
mod group_norm;
mod layers;
mod vae;
mod weights;

pub use classifier::Classifier;
pub use conv2d::{Conv2d, Reading};
pub use group_norm::{Affine, GroupNorm};
pub use layers::{LayerNorm, Linear};
pub use vae::VaeDecoder;
pub use weights::Weights;
