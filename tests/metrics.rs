//! Measures of pictures against scikit-image, the lpips package and the numbers of the official pruning code.

mod support;

#[path = "metrics/clip.rs"]
mod clip;
#[path = "metrics/common.rs"]
mod common;
#[path = "metrics/distributions.rs"]
mod distributions;
#[path = "metrics/pairs.rs"]
mod pairs;
