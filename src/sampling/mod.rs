//! The denoising trajectory: starting noise, schedule, guidance, and the loop that runs the transformer.
//!
//! ```text
//! options + model -> Sampler { schedule, latent size } -> noise -> steps (each: forward, guidance, Euler) -> latents
//! ```

mod latents;
mod noise;
mod options;
mod schedule;
mod trajectory;

pub use latents::{LatentSize, pack};
pub use noise::{Generator, starting_noise};
pub use options::SamplingOptions;
pub use schedule::{Schedule, SchedulerConfig};
pub use trajectory::{NoProbe, Probe, Sampler};
