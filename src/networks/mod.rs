//! The networks around the transformer, on the CPU in f32: from weights that stay in their files until a layer needs
//! them to plain tensors. They are no place for pruning and run once per prompt or picture.

mod activation;
mod attention;
mod classifier;
mod clip;
mod clip_picture;
mod clip_text;
mod clip_vision;
mod component;
mod conv2d;
mod group_norm;
mod layers;
mod lpips;
mod resize;
mod rows;
mod t5;
mod vae;
mod weights;

pub use classifier::Classifier;
pub use clip_picture::Rgb;
pub use clip_text::{ClipText, ClipTextOutput};
pub use clip_vision::ClipVision;
pub use conv2d::{Conv2d, Reading};
pub use group_norm::{Affine, GroupNorm};
pub use layers::{LayerNorm, Linear};
pub use lpips::{Backbone, Lpips};
pub use t5::T5;
pub use vae::VaeDecoder;
pub use weights::Weights;
