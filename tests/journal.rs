//! A job that is interrupted and goes on gives the same bytes as one that is not.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use obsdiff::job::{Progress, PruneJob, prune};
use obsdiff::ops::{DType, cpu_engine};
use obsdiff::recipe::{Patch, Recipe};
use obsdiff::{Error, Result};
use support::models;

/// Interrupts when the stage `stops_in` begins, or never.
struct Stops<'a> {
    stops_in: &'a str,
    stopped: AtomicUsize,
    stages: std::sync::Mutex<Vec<String>>,
}

impl<'a> Stops<'a> {
    fn new(stops_in: &'a str) -> Self {
        Stops { stops_in, stopped: AtomicUsize::new(0), stages: Default::default() }
    }

    fn stages(&self) -> Vec<String> {
        self.stages.lock().expect("not poisoned").clone()
    }
}

impl Progress for Stops<'_> {
    fn begin(&self, stage: &str, _: u64) {
        self.stages.lock().expect("not poisoned").push(stage.to_string());
        if stage == self.stops_in {
            self.stopped.store(1, Ordering::Relaxed);
        }
    }

    fn advance(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) == 1 { Err(Error::Interrupted { journaled: false }) } else { Ok(()) }
    }
}

fn job(output: &Path, journal: Option<&Path>, sparsity: f64) -> PruneJob {
    let patch = Patch {
        sparsity: Some(sparsity),
        packages: Some("3".into()),
        num_inference_steps: Some(2),
        guidance_scale: Some(2.0),
        ..Patch::default()
    };
    PruneJob {
        model: models("sd3_digits/pipeline"),
        output: output.to_path_buf(),
        overwrite: false,
        calibration: Some(models("sd3_digits/calibration.safetensors").into()),
        recipe: Recipe::resolve(&patch).expect("a valid recipe"),
        sampling: patch,
        dtype: DType::F32,
        engine: cpu_engine(),
        journal: journal.map(Path::to_path_buf),
        command: Vec::new(),
    }
}

/// The files that depend on the input alone.
fn results(output: &Path) -> Vec<(String, Vec<u8>)> {
    [
        "obsdiff.json",
        "recipe.toml",
        "README.md",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
    ]
    .map(|file| (file.to_string(), std::fs::read(output.join(file)).expect("a result")))
    .to_vec()
}

#[test]
fn an_interrupted_job_goes_on_and_gives_the_same_bytes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| folder.path().join(name);
    prune(&job(&at("whole"), None, 0.5), &Stops::new("never")).expect("the job succeeds");

    let refused = prune(&job(&at("resumed"), Some(&at("journal")), 0.5), &Stops::new("prune 3/3"));
    assert!(matches!(refused, Err(Error::Interrupted { journaled: true })), "interrupted in package 3");
    assert!(!at("resumed").exists(), "an interrupted job leaves no output");

    let other = prune(&job(&at("resumed"), Some(&at("journal")), 0.6), &Stops::new("never"));
    let Err(Error::Usage(sentence)) = other else { panic!("another job took over the journal") };
    assert!(sentence.contains("recipe"), "{sentence}");

    let progress = Stops::new("never");
    prune(&job(&at("resumed"), Some(&at("journal")), 0.5), &progress).expect("the job goes on");
    assert_eq!(progress.stages(), ["load", "calibrate 3/3", "prune 3/3", "save"], "finished packages are not repeated");
    for ((name, whole), (_, resumed)) in results(&at("whole")).into_iter().zip(results(&at("resumed"))) {
        assert!(whole == resumed, "{name} differs from that of the uninterrupted job");
    }
    assert!(!at("journal").exists(), "the journal is removed when the job is done");
}

#[test]
fn a_broken_journal_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let journal = folder.path().join("journal");
    std::fs::create_dir(&journal).expect("journal folder");
    std::fs::write(journal.join("journal.json"), "{").expect("a broken record");
    let refused = prune(&job(&folder.path().join("out"), Some(&journal), 0.5), &Stops::new("never"));
    let Err(Error::Malformed { path, .. }) = refused else { panic!("a broken journal was taken: {refused:?}") };
    assert!(path.ends_with("journal.json"));
}
