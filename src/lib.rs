//! One-shot second-order pruning of text-to-image diffusion transformers.
//!
//! ```text
//! checkpoint -> model (with taps) -> calibration (Hessians) -> factor -> prune -> save -> validate / compare / bench
//! ```

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
