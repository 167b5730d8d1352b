//! The reference pipelines with prompts.

use std::path::{Path, PathBuf};

use obsdiff::checkpoint::Pipeline;
use obsdiff::conditioning::{Conditioning, PromptSource, Source};
use obsdiff::progress::NoProgress;

use crate::support::{data, json};

pub const PIPELINES: [&str; 4] = ["sd3_medium", "sd35_large", "sd35_medium", "flux_dev"];

/// A reference pipeline's folder and its `info.json`.
pub fn reference(name: &str) -> (PathBuf, serde_json::Value) {
    let folder = data("pipelines").join(name);
    let info = json(&folder.join("info.json"));
    (folder, info)
}

/// The prompts of a reference pipeline.
pub fn prompts(info: &serde_json::Value) -> Vec<String> {
    info["prompts"].as_array().unwrap().iter().map(|prompt| prompt.as_str().unwrap().to_string()).collect()
}

/// Writes prompts as a file, one per line.
pub fn write_prompts(folder: &Path, prompts: &[impl AsRef<str>]) -> PathBuf {
    let path = folder.join("prompts.txt");
    let lines: Vec<&str> = prompts.iter().map(AsRef::as_ref).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

/// The embeddings of prompts.
pub fn encode(model: &Path, source: PromptSource, guided: bool) -> Conditioning {
    Source::Prompts(source).open(&Pipeline::open(model).unwrap(), guided, &NoProgress).unwrap()
}
