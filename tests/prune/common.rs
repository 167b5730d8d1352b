//! Reference pipelines as subjects of pruning, and what an output folder says.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

use crate::support::{Array, Run, data, json, names_in, obsdiff, read, shared_folder, text};

/// A pipeline of every architecture.
pub const PIPELINES: [&str; 4] = ["sd3_medium", "sd35_large", "sd35_medium", "flux_dev"];

/// The model folder of a reference pipeline.
pub fn model(name: &str) -> PathBuf {
    match name {
        "sd35_medium_sharded_bf16" => data("pipelines").join(name),
        _ => data("pipelines").join(name).join("pipeline"),
    }
}

/// The embeddings that go with it.
pub fn conditioning(name: &str) -> PathBuf {
    let owner = name.strip_suffix("_sharded_bf16").unwrap_or(name);
    data("pipelines").join(owner).join("conditioning.safetensors")
}

/// Four steps at the size of the reference latents.
pub fn sampling(name: &str) -> Vec<String> {
    let owner = name.strip_suffix("_sharded_bf16").unwrap_or(name);
    let info = json(&data("pipelines").join(owner).join("info.json"));
    vec!["--num-inference-steps=4".into(), format!("--height={}", info["height"]), format!("--width={}", info["width"])]
}

/// All arguments of a prune of a reference pipeline.
pub fn arguments(name: &str, output: &Path, more: &[&str]) -> Vec<String> {
    let (model, conditioning) = (model(name), conditioning(name));
    let own = ["prune", text(&model), "-o", text(output), "--calibration", text(&conditioning)];
    own.iter().chain(more).map(ToString::to_string).chain(sampling(name)).collect()
}

pub fn prune(name: &str, output: &Path, more: &[&str]) -> Run {
    obsdiff(&arguments(name, output, more))
}

/// The output of [`prune`], made once for all tests.
pub fn pruned(name: &str, more: &[&str]) -> PathBuf {
    static MADE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap();
    let count = made.len();
    let output = made.entry(format!("{name} {}", more.join(" "))).or_insert_with(|| {
        let output = shared_folder().join(format!("{name}-{count}"));
        prune(name, &output, more).succeeded();
        output
    });
    output.clone()
}

/// The folder with the weights.
pub fn transformer(folder: &Path) -> PathBuf {
    let inside = folder.join("transformer");
    if inside.is_dir() { inside } else { folder.to_path_buf() }
}

/// Paths of the weight files.
pub fn weight_files(folder: &Path) -> Vec<PathBuf> {
    let folder = transformer(folder);
    let names = names_in(&folder).into_iter().filter(|name| name.ends_with(".safetensors"));
    names.map(|name| folder.join(name)).collect()
}

/// Every tensor of a model folder.
pub fn weights(folder: &Path) -> HashMap<String, Array> {
    weight_files(folder).iter().flat_map(read).collect()
}

/// The weight files' content, to compare bytes.
pub fn weight_bytes(folder: &Path) -> Vec<Vec<u8>> {
    weight_files(folder).iter().map(|path| fs::read(path).unwrap()).collect()
}

/// `obsdiff.json`.
pub fn report(folder: &Path) -> Value {
    json(&folder.join("obsdiff.json"))
}

/// The pruned Linears of `obsdiff.json` by name.
pub fn layers(folder: &Path) -> BTreeMap<String, Value> {
    let report = report(folder);
    let layers = report["layers"].as_array().unwrap();
    layers.iter().map(|layer| (layer["name"].as_str().unwrap().to_string(), layer.clone())).collect()
}

/// The Linears that may be pruned, from the checkpoint alone: matrices inside blocks that are no modulation.
pub fn prunable(weights: &HashMap<String, Array>) -> Vec<String> {
    let is_prunable = |name: &str| name.contains("transformer_blocks.") && !name.contains("norm");
    let mut names: Vec<String> = weights
        .iter()
        .filter(|(name, array)| array.shape.len() == 2 && is_prunable(name))
        .filter_map(|(name, _)| name.strip_suffix(".weight").map(String::from))
        .collect();
    names.sort();
    names
}

/// Number of zeros.
pub fn zeros(values: &[f64]) -> usize {
    values.iter().filter(|&&value| value == 0.0).count()
}
