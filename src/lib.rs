//! One-shot second-order pruning of text-to-image diffusion transformers.
//!
//! ```text
//! prompts -> conditioning (tokenizers, CLIP, T5) --.
//! hub, checkpoint -> model (with taps) -> calibration (Hessians) -> factor -> prune -> save
//!                       '-> sampling -> latents -> VAE -> pictures -> metrics, compare -> report
//! ```
//!
//! `ops` holds the operations of pruning and of the transformer, once for the CPU and once for GPUs; `networks` the
//! encoders and decoders around it, on the CPU. `job` runs the whole, `plan` says beforehand what it takes.

#[cfg(feature = "cuda")]
pub mod bench;
pub mod calibration;
pub mod checkpoint;
pub mod cli;
pub mod compare;
pub mod conditioning;
pub mod doctor;
pub mod error;
pub mod hub;
pub mod inspect;
pub mod job;
pub mod journal;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod networks;
pub mod ops;
pub mod pictures;
pub mod plan;
pub mod progress;
pub mod prune;
pub mod recipe;
pub mod report;
pub mod sampling;
pub mod showcase;
pub mod units;
pub mod validate;

pub use error::{Error, Result};
