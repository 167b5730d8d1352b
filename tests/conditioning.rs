//! Prompts to ids, embeddings and latents, against transformers and diffusers.

#[path = "conditioning/cache.rs"]
mod cache;
#[path = "conditioning/common.rs"]
mod common;
#[path = "conditioning/embeddings.rs"]
mod embeddings;
#[path = "conditioning/ids.rs"]
mod ids;
#[path = "conditioning/job.rs"]
mod job;
#[path = "conditioning/refusals.rs"]
mod refusals;
mod support;
#[path = "conditioning/trajectories.rs"]
mod trajectories;
