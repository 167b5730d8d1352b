//! Shared by the integration tests: reference data, comparisons, folders, and the program as a user runs it.
#![allow(dead_code, unused_imports)]

mod arrays;
mod folders;
pub mod layers;
mod models;
pub mod original;
mod program;

pub use arrays::{Array, assert_close, noise, noises, read};
pub use folders::{copy_folder, edit, files_below, names_in, shared_folder};
pub use models::{
    Pipeline, data, entry, full, json, load_transformer, models, relative_frobenius, relative_maximum, rewrite, save,
    tensors,
};
pub use program::{Run, obsdiff, obsdiff_with, text};
