//! The networks around the transformer, on the CPU in f32: from weights that stay in their files until a layer needs
//! them to plain tensors. They are no place for pruning and run once per prompt or picture.

mod activation;
mod attention;
mod clip;
mod clip_text;
mod component;
mod layers;
mod rows;
mod t5;
mod weights;

pub use clip_text::{ClipText, ClipTextOutput};
pub use layers::{LayerNorm, Linear};
pub use t5::T5;
pub use weights::Weights;
