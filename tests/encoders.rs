//! Text and picture encoders against transformers, on the reference pipelines and on small encoders with large weights.

#[path = "encoders/common.rs"]
mod common;
mod support;
#[path = "encoders/text.rs"]
mod text;
#[path = "encoders/text_refusals.rs"]
mod text_refusals;
#[path = "encoders/vision.rs"]
mod vision;
