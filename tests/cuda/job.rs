//! A whole pruning job: calibration on the trajectory, solution, checkpoint.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use obsdiff::Result;
use obsdiff::job::{Progress, PruneJob, prune};
use obsdiff::ops::{DType, Engine, cpu_engine};
use obsdiff::recipe::{Patch, Recipe};

use super::interpreted;
use super::support::{Array, data, json, read};

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}

    fn advance(&self) -> Result<()> {
        Ok(())
    }
}

/// Weights of `name` after pruning on `engine` with two packages and two steps.
fn pruned(name: &str, pattern: &str, engine: Arc<dyn Engine>, output: &Path) -> HashMap<String, Array> {
    let folder = data("pipelines").join(name);
    let info = json(&folder.join("info.json"));
    let size = |key: &str| Some(info[key].as_u64().unwrap() as usize);
    let patch = Patch {
        sparsity: (pattern == "unstructured").then_some(0.5),
        pattern: Some(pattern.into()),
        packages: Some("2".into()),
        num_inference_steps: Some(2),
        height: size("height"),
        width: size("width"),
        ..Patch::default()
    };
    let job = PruneJob {
        model: folder.join("pipeline"),
        output: output.to_path_buf(),
        overwrite: false,
        calibration: Some(folder.join("conditioning.safetensors")),
        recipe: Recipe::resolve(&patch).unwrap(),
        sampling: patch,
        dtype: DType::F32,
        engine,
        journal: None,
        command: Vec::new(),
    };
    prune(&job, &Silent).unwrap();
    read(output.join("transformer/diffusion_pytorch_model.safetensors"))
}

#[test]
fn a_whole_job_chooses_the_cpu_engine_s_weights() {
    for (name, pattern) in [("sd35_medium", "unstructured"), ("flux_dev", "2:4")] {
        let folder = tempfile::tempdir().unwrap();
        let gpu = pruned(name, pattern, interpreted(), &folder.path().join("gpu"));
        let cpu = pruned(name, pattern, cpu_engine(), &folder.path().join("cpu"));
        let (mut weights, mut elsewhere, mut zeros) = (0, 0, 0);
        for (tensor, expected) in &cpu {
            let found = &gpu[tensor].values;
            for (a, b) in found.iter().zip(&expected.values) {
                weights += 1;
                zeros += usize::from(*b == 0.0);
                elsewhere += usize::from((*a == 0.0) != (*b == 0.0));
            }
        }
        println!("{name} {pattern}: {zeros} zeros in {weights} values, {elsewhere} elsewhere");
        assert!(zeros * 4 > weights, "{name}: {zeros} zeros in {weights} values: nothing was pruned");
        // Scores that differ in the last bits fall to either side of a cut, and what follows them changes too.
        assert!(elsewhere * 500 <= zeros, "{name}: {elsewhere} of {zeros} zeros are elsewhere");
    }
}
