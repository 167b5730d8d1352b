//! CPU time of the whole job on the bundled model: read, calibrate on 40 prompts in 20 steps, prune, save.
//!
//! The official OBS-Diff code took 14 s of wall time for the first of these (official settings, four packages) on
//! this kind of machine at its quietest, most of it in the forward passes.

mod support;

use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use obsdiff::job::{Progress, PruneJob, prune};
use obsdiff::ops::{DType, cpu_engine};
use obsdiff::recipe::{Patch, Preset, Recipe};
use support::CpuTime;

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}

    fn advance(&self) -> obsdiff::Result<()> {
        Ok(())
    }
}

fn digits(c: &mut Criterion<CpuTime>) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/sd3_digits");
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut group = c.benchmark_group("prune sd3_digits");
    group.sample_size(10);
    for (name, preset) in [("official settings, 4 packages", Preset::Paper), ("default preset", Preset::Default)] {
        let patch = Patch {
            preset: Some(preset),
            sparsity: Some(0.5),
            num_inference_steps: Some(20),
            guidance_scale: Some(2.0),
            ..Patch::default()
        };
        let job = PruneJob {
            model: models.join("pipeline"),
            output: folder.path().join("pruned"),
            overwrite: true,
            calibration: Some(models.join("calibration.safetensors").into()),
            recipe: Recipe::resolve(&patch).expect("a valid recipe"),
            sampling: patch,
            dtype: DType::F32,
            engine: cpu_engine(),
            journal: None,
            command: Vec::new(),
        };
        group.bench_function(name, |b| b.iter(|| prune(&job, &Silent).expect("the job succeeds")));
    }
    group.finish();
}

fn main() {
    let mut criterion = support::criterion(Duration::from_secs(15));
    digits(&mut criterion);
    criterion.final_summary();
}
