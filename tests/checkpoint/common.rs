//! The reference pipelines, and files made by hand.

use std::path::{Path, PathBuf};

pub use crate::support::{copy_folder, edit, files_below};

/// Every model folder of the reference data.
pub const MODELS: [&str; 6] = [
    "tests/data/pipelines/sd3_medium/pipeline",
    "tests/data/pipelines/sd35_medium/pipeline",
    "tests/data/pipelines/sd35_large/pipeline",
    "tests/data/pipelines/flux_dev/pipeline",
    SHARDED,
    "models/sd3_digits/pipeline",
];
/// Four bf16 shards and an index.
pub const SHARDED: &str = "tests/data/pipelines/sd35_medium_sharded_bf16";

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn model(name: &str) -> PathBuf {
    repository().join(name)
}

/// A safetensors file from its JSON header and data.
pub fn raw_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}
