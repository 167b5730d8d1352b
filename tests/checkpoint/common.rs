//! The reference pipelines, and files made by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Content of every file below `folder`, hidden ones included, by relative path.
pub fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(current) = open.pop() {
        for entry in fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// A safetensors file from its JSON header and data.
pub fn raw_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// Replaces one text by another in a file.
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} does not contain {from}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}
