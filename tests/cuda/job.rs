//! A whole pruning job: calibration on the trajectory, solution, checkpoint.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use obsdiff::Result;
use obsdiff::job::{Progress, PruneJob, prune};
use obsdiff::ops::{DType, Engine, cpu_engine};
use obsdiff::prune::check_sweep;
use obsdiff::recipe::{Method, Patch, Recipe};

use super::interpreted;
use super::support::{Array, data, json, read};

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}

    fn advance(&self) -> Result<()> {
        Ok(())
    }
}

/// A job on a reference pipeline.
fn job(name: &str, patch: Patch, engine: Arc<dyn Engine>, output: &Path) -> PruneJob {
    let folder = data("pipelines").join(name);
    PruneJob {
        model: folder.join("pipeline"),
        output: output.to_path_buf(),
        overwrite: false,
        calibration: Some(folder.join("conditioning.safetensors").into()),
        recipe: Recipe::resolve(&patch).unwrap(),
        sampling: patch,
        dtype: DType::F32,
        engine,
        journal: None,
        command: Vec::new(),
    }
}

/// Weights of `name` after pruning on `engine` with two packages and two steps, `batch_size` prompts at a time.
fn pruned(
    name: &str,
    pattern: &str,
    engine: Arc<dyn Engine>,
    batch_size: usize,
    output: &Path,
) -> HashMap<String, Array> {
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
        batch_size: Some(batch_size),
        ..Patch::default()
    };
    let job = job(name, patch, engine, output);
    prune(&job, &Silent).unwrap();
    read(output.join("transformer/diffusion_pytorch_model.safetensors"))
}

/// Zeros of `b`, and places where only one of `a` and `b` is zero.
fn zeros_and_differences(a: &HashMap<String, Array>, b: &HashMap<String, Array>) -> (usize, usize) {
    let pairs = b.iter().flat_map(|(name, b)| a[name].values.iter().zip(&b.values));
    pairs.fold((0, 0), |(zeros, differing), (a, b)| {
        (zeros + usize::from(*b == 0.0), differing + usize::from((*a == 0.0) != (*b == 0.0)))
    })
}

#[test]
fn a_whole_job_differs_from_the_cpu_engine_s_at_most_twice_as_much_as_that_from_itself() {
    for (name, pattern) in [("sd35_medium", "unstructured"), ("flux_dev", "2:4")] {
        let folder = tempfile::tempdir().unwrap();
        let gpu = pruned(name, pattern, interpreted(), 2, &folder.path().join("gpu"));
        let cpu = pruned(name, pattern, cpu_engine(), 2, &folder.path().join("cpu"));
        // Scores that differ in the last bits fall to either side of a cut, and what follows them in the row changes
        // too. The CPU engine does so against itself when it sums in another order: that is the measure.
        let other = pruned(name, pattern, cpu_engine(), 1, &folder.path().join("other"));
        let (zeros, differing) = zeros_and_differences(&gpu, &cpu);
        let (_, own) = zeros_and_differences(&other, &cpu);
        println!("{name} {pattern}: {differing} of {zeros} zeros elsewhere; CPU in another order: {own}");
        let weights: usize = cpu.values().map(|array| array.values.len()).sum();
        assert!(zeros * 4 > weights, "{name}: {zeros} zeros in {weights} values: nothing was pruned");
        assert!(
            differing <= 2 * own + zeros / 1000,
            "{name}: {differing} of {zeros} zeros elsewhere; CPU's own: {own}"
        );
    }
}

#[test]
fn a_block_size_that_no_kernel_sweeps_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let patch = Patch { sparsity: Some(0.5), block_size: Some(100), ..Patch::default() };
    let mut job = job("sd35_medium", patch, interpreted(), &output);
    let refused = prune(&job, &Silent).unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    assert!(refused.to_string().contains("16, 32, 64 or 128"), "{refused}");
    assert!(!output.exists());
    // Not for the engine of the CPU, nor for a method that does not sweep.
    job.engine = cpu_engine();
    assert!(check_sweep(&job.recipe, job.engine.place()).is_ok());
    let wanda = Patch { method: Some(Method::Wanda), block_size: Some(100), ..Patch::default() };
    assert!(check_sweep(&Recipe::resolve(&wanda).unwrap(), interpreted().place()).is_ok());
}
