//! Whatever is wrong is said in a sentence with the right exit code, and nothing is written.

#[path = "bad_input/calibration.rs"]
mod calibration;
#[path = "bad_input/common.rs"]
mod common;
#[path = "bad_input/layer.rs"]
mod layer;
#[path = "bad_input/model.rs"]
mod model;
#[path = "bad_input/output.rs"]
mod output;
#[path = "bad_input/recipe.rs"]
mod recipe;
mod support;
