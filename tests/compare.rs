//! `compare` as a user runs it.

#[path = "metrics/common.rs"]
mod common;
#[path = "compare/digits.rs"]
mod digits;
mod support;
#[path = "compare/vae.rs"]
mod vae;
