//! Prompts to token ids, as transformers does it in the pipelines of diffusers.

mod bpe;
mod clip;
mod config;
mod sentencepiece;
mod t5;

pub use clip::{ClipTokenizer, model_max_length};
pub use t5::T5Tokenizer;

/// The ids of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// As many as were asked for, padding included.
    pub ids: Vec<u32>,
    /// The end of the prompt, if it did not fit.
    pub cut: Option<String>,
}
