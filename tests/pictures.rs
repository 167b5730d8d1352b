//! Decoding latents into pictures.

#[path = "pictures/broken_vae.rs"]
mod broken_vae;
#[path = "pictures/convolution.rs"]
mod convolution;
#[path = "pictures/decoding.rs"]
mod decoding;
#[path = "pictures/group_norm.rs"]
mod group_norm;
#[path = "pictures/sample.rs"]
mod sample;
mod support;
