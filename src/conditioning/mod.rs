//! What the prompts become before the transformer sees them.
//!
//! ```text
//! prompts file -> texts -> tokens -> text encoders -> embeddings      (Source::Prompts)
//!                                    embeddings file -> embeddings    (Source::Embeddings)
//! ```
//!
//! Everything follows the pipelines of diffusers 0.33 (`StableDiffusion3Pipeline.encode_prompt`,
//! `FluxPipeline.encode_prompt`). An encoder is opened, used and dropped before the next one, and all of them before
//! the transformer is loaded; what they gave is kept in a cache.

pub mod cache;
pub mod embeddings;
pub mod encode;
pub mod prompts;
mod source;
pub mod tokenizer;

pub use embeddings::{Conditioning, Negative, PromptOrigin};
pub use source::{PromptSource, Source};
