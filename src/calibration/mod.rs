//! Hessians of every tap, gathered over the denoising trajectory with a weight per step.

pub mod hessian;
pub mod packages;
pub mod weights;

pub use hessian::{Calibrator, TapHessian};
pub use weights::TimestepWeights;
