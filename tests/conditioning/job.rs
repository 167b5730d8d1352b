//! Pruning on prompts.

use std::path::Path;

use obsdiff::conditioning::{PromptSource, Source};
use obsdiff::job::PruneJob;
use obsdiff::ops::{DType, cpu_engine};
use obsdiff::progress::{NoProgress, Progress};
use obsdiff::recipe::{Patch, Recipe};
use obsdiff::{Error, Result};

use super::common::write_prompts;
use crate::support::{Run, json, models, obsdiff, read, text};

fn prune(output: &Path, input: &[&str], more: &[&str]) -> Run {
    let model = models("sd3_digits/pipeline");
    let own = ["prune", text(&model), "-o", text(output), "--num-inference-steps=2", "--guidance-scale=2"];
    let settings = ["--packages=2", "--noise=seed", "--sparsity=0.5", "--json"];
    obsdiff(&[&own[..], &settings, input, more].concat())
}

#[test]
fn prompts_calibrate_as_their_embeddings_do_and_the_report_lists_them() {
    let folder = tempfile::tempdir().unwrap();
    let [from_prompts, from_embeddings] = ["prompts", "embeddings"].map(|name| folder.path().join(name));
    let (prompts, embeddings) = (models("sd3_digits/prompts.txt"), models("sd3_digits/calibration.safetensors"));
    let report = prune(&from_prompts, &["--prompts", text(&prompts), "--embeddings-cache=none"], &[]).json();
    let other = prune(&from_embeddings, &["--calibration", text(&embeddings)], &[]).json();
    assert_eq!((&report["pruned"], &report["sparsity"]), (&other["pruned"], &other["sparsity"]));
    let error = |report: &serde_json::Value| report["mean_relative_error"].as_f64().unwrap();
    assert!((error(&report) / error(&other) - 1.0).abs() < 1e-3, "{} and {}", error(&report), error(&other));

    let weights = |folder: &Path| read(folder.join("transformer/diffusion_pytorch_model.safetensors"));
    let (found, expected) = (weights(&from_prompts), weights(&from_embeddings));
    let (mut zeros, mut moved) = (0, 0);
    for (name, tensor) in &expected {
        let pairs = tensor.values.iter().zip(&found[name].values);
        zeros += tensor.values.iter().filter(|&&x| x == 0.0).count();
        moved += pairs.filter(|(a, b)| (**a == 0.0) != (**b == 0.0)).count();
    }
    println!("{moved} of {zeros} zeros elsewhere");
    assert!(moved * 1000 < zeros, "{moved} of {zeros} zeros elsewhere");

    let written = json(&from_prompts.join("obsdiff.json"));
    let listed = &written["calibration"]["prompts"];
    assert_eq!(listed["texts"].as_array().unwrap().len(), 40);
    assert_eq!(listed["texts"][0], "the digit nine");
    assert_eq!((&listed["prompts_in_file"], &listed["max_sequence_length"]), (&40.into(), &6.into()));
    assert_eq!(listed["file_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(written["calibration"]["text_tokens"], 12);
    assert!(json(&from_embeddings.join("obsdiff.json"))["calibration"]["prompts"].is_null());
    let card = |folder: &Path| std::fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card(&from_prompts).contains("--prompts FILE"));
    assert!(card(&from_embeddings).contains("--calibration FILE"));
}

/// Stops a job when it begins to prune.
struct Stop;

impl Progress for Stop {
    fn begin(&self, _: &str, _: u64) {}

    fn advance(&self) -> Result<()> {
        Err(Error::Interrupted { journaled: false })
    }
}

#[test]
fn a_journal_belongs_to_its_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let patch = Patch { num_inference_steps: Some(1), guidance_scale: Some(2.0), ..Patch::default() };
    let run = |prompts: &str, progress: &dyn Progress| {
        let file = write_prompts(folder.path(), &[prompts]);
        let source = PromptSource { cache: Some(folder.path().join("cache")), ..PromptSource::new(file) };
        let job = PruneJob {
            model: models("sd3_digits/pipeline"),
            output: folder.path().join("out"),
            overwrite: false,
            layout: None,
            calibration: Some(Source::Prompts(source)),
            recipe: Recipe::resolve(&patch).unwrap(),
            sampling: patch.clone(),
            dtype: DType::F32,
            engine: cpu_engine(),
            journal: Some(folder.path().join("journal")),
            command: Vec::new(),
        };
        obsdiff::job::prune(&job, progress).map(|_| ())
    };
    // With the embeddings kept, the first step that is told comes after the journal has begun.
    let encode = |text: &str| {
        let file = write_prompts(folder.path(), &[text]);
        let source = PromptSource { cache: Some(folder.path().join("cache")), ..PromptSource::new(file) };
        drop(super::common::encode(&models("sd3_digits/pipeline"), source, true));
    };
    encode("the digit one");
    assert!(matches!(run("the digit one", &Stop), Err(Error::Interrupted { .. })));
    assert!(folder.path().join("journal/journal.json").is_file());
    let error = run("the digit two", &NoProgress).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("its calibration was prompts"), "{error}");
    run("the digit one", &NoProgress).unwrap();
    assert!(!folder.path().join("journal").exists());
}

#[test]
fn an_existing_output_is_refused_before_anything_is_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let prompts = models("sd3_digits/prompts.txt");
    let run = prune(folder.path(), &["--prompts", text(&prompts), "--embeddings-cache=none"], &[]);
    assert!(!run.stderr.contains("encoding"), "{}", run.stderr);
    run.refused(2, &["exists already"]);
}

#[test]
fn plan_counts_the_tokens_that_prompts_get() {
    let tokens = |arch: &str, more: &[&str]| {
        obsdiff(&[&["plan", "--arch", arch, "--json"], more].concat()).json()["workload"]["text_tokens"].clone()
    };
    assert_eq!(tokens("sd3.5-large", &[]), 77 + 256);
    assert_eq!(tokens("sd3.5-large", &["--max-sequence-length=512"]), 77 + 512);
    assert_eq!(tokens("flux.1-dev", &["--max-sequence-length=300"]), 300);
    obsdiff(&["plan", "--arch", "flux.1-dev", "--max-sequence-length=513"]).refused(2, &["513", "1 to 512"]);
}
