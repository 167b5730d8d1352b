//! Models whose latents are pictures.

use std::path::{Path, PathBuf};

use obsdiff::compare::Comparison;
use obsdiff::metrics::{Spread, psnr, ssim};
use obsdiff::pictures::{Grid, Item, Picture};
use serde_json::Value;

use crate::support::{
    Run, copy_folder, data, files_below, full, json, models, names_in, obsdiff, rewrite, save, tensors, text,
};

/// The digits model with every third weight of its feed-forward networks removed.
fn thinned(folder: &Path) -> PathBuf {
    let pruned = folder.join("pruned");
    copy_folder(&models("sd3_digits/pipeline"), &pruned);
    rewrite(&pruned.join("transformer/diffusion_pytorch_model.safetensors"), |tensors| {
        let weights = tensors.iter_mut().filter(|(name, _)| name.contains(".ff.") && name.ends_with(".weight"));
        weights.for_each(|(_, tensor)| tensor.as_mut_slice().unwrap().iter_mut().step_by(3).for_each(|x| *x = 0.0));
    });
    pruned
}

/// Dense digits against `pruned`, ten prompts, four steps.
fn compare(pruned: &Path, more: &[&str]) -> Run {
    let (dense, prompts) = (models("sd3_digits/pipeline"), models("sd3_digits/ten_digits.safetensors"));
    let own = ["compare", text(&dense), text(pruned), "--conditioning", text(&prompts)];
    obsdiff(&[&own[..], &["--num-inference-steps=4", "--guidance-scale=2"], more].concat())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found}, expected {expected}");
}

#[test]
fn the_folder_holds_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (pruned, output) = (thinned(folder.path()), folder.path().join("a/out"));
    let classifier = models("sd3_digits/classifier.safetensors");
    let flags = ["-o", text(&output), "--features", text(&classifier), "--batch-size=4", "--json"];
    let run = compare(&pruned, &flags);
    let printed = run.json();
    assert_eq!(json(&output.join("comparison.json")), printed);
    assert_eq!(names_in(&output), ["comparison.json", "grid.png", "pictures"]);
    let keys: Vec<&String> = printed.as_object().unwrap().keys().collect();
    let expected = [
        "schema",
        "dense",
        "pruned",
        "command",
        "num_inference_steps",
        "guidance_scale",
        "height",
        "width",
        "seed",
        "latent_mse",
        "latent_rel",
        "per_item",
        "sparsity",
        "bytes",
        "seconds_per_step",
        "steps",
        "step_items",
        "pictures",
        "items",
        "grid",
    ];
    assert_eq!(keys, expected);
    let found: Comparison = serde_json::from_value(printed.clone()).unwrap();
    assert_eq!(serde_json::to_value(&found).unwrap(), printed);
    assert_eq!((found.schema.as_str(), found.pruned.as_str()), ("obsdiff.comparison/1", text(&pruned)));
    assert_eq!(found.command[1], "compare");
    assert_eq!((found.num_inference_steps, found.guidance_scale, found.height, found.width), (4, 2.0, 8, 8));
    assert!(found.sparsity > 0.05 && found.sparsity < 1.0 / 3.0, "{}", found.sparsity);

    // Every step of every item, so the last step is the whole error.
    assert_eq!((found.steps.len(), found.step_items), (4, 10));
    assert!(found.steps.iter().enumerate().all(|(index, step)| step.step == index && step.latent_rel > 0.0));
    assert!(found.steps.windows(2).all(|pair| pair[0].sigma > pair[1].sigma) && found.steps[3].sigma == 0.0);
    assert_near(found.steps[3].latent_rel, found.latent_rel);
    assert_eq!(found.per_item, Spread::new(found.items.iter().map(|item| item.latent_rel).collect()));

    // The measures are those of the files.
    let pictures = found.pictures.unwrap();
    let read = |name: &Option<String>| Picture::read(output.join(name.as_ref().unwrap())).unwrap();
    let pairs: Vec<[Picture; 2]> = found.items.iter().map(|item| [read(&item.dense), read(&item.pruned)]).collect();
    assert_eq!(names_in(&output.join("pictures")).len(), 20);
    for (index, (item, [a, b])) in found.items.iter().zip(&pairs).enumerate() {
        assert_eq!(item.dense.as_deref(), Some(format!("pictures/dense-{index:04}.png").as_str()));
        assert_eq!((a.width, a.height), (8, 8));
        assert_eq!(item.psnr, Some(psnr(a, b).unwrap()));
        assert_eq!((item.ssim, ssim(a, b).unwrap()), (None, None), "8 x 8 pixels have no window of 11");
    }
    assert_eq!(pictures.psnr, Spread::new(found.items.iter().filter_map(|item| item.psnr).collect()));
    assert_eq!((pictures.ssim, pictures.lpips, pictures.clip_score), (None, None, None));
    let real = pictures.frechet_real.unwrap();
    assert!(pictures.frechet.unwrap() > 0.0 && real.dense > 0.0 && real.pruned > 0.0 && real.dense != real.pruned);

    // The grid is the pictures with their captions.
    let item = |(index, (item, pair)): (usize, (&obsdiff::compare::Item, &'_ [Picture; 2]))| {
        let caption = vec![format!("prompt {index}"), format!("error {:.4}", item.latent_rel)];
        (pair.clone(), caption)
    };
    let drawn: Vec<([Picture; 2], Vec<String>)> = found.items.iter().zip(&pairs).enumerate().map(item).collect();
    let items = drawn.iter().map(|(pair, caption)| Item { pictures: pair.iter().collect(), caption: caption.clone() });
    let grid = Grid { rows: vec!["dense".into(), "pruned".into()], items: items.collect() };
    assert_eq!(std::fs::read(output.join("grid.png")).unwrap(), grid.png().unwrap());
}

#[test]
fn a_model_equals_itself() {
    let classifier = models("sd3_digits/classifier.safetensors");
    let report = compare(&models("sd3_digits/pipeline"), &["--features", text(&classifier), "--json"]).json();
    assert_eq!((&report["latent_rel"], &report["sparsity"]), (&0.0.into(), &0.0.into()));
    assert!(report["steps"].as_array().unwrap().iter().all(|step| number(&step["latent_rel"]) == 0.0));
    assert_eq!(report["bytes"]["dense"], report["bytes"]["pruned"]);
    let psnr = &report["pictures"]["psnr"];
    assert_eq!((&psnr["median"], &psnr["std"]), (&"Infinity".into(), &0.0.into()));
    assert_eq!(report["items"][9]["psnr"], "Infinity");
    assert!(number(&report["pictures"]["frechet"]) < 1e-9);
    assert_eq!(report["pictures"]["frechet_real"]["dense"], report["pictures"]["frechet_real"]["pruned"]);
    assert_eq!((&report["grid"], &report["items"][0]["dense"]), (&Value::Null, &Value::Null));
}

#[test]
fn batches_change_nothing_but_times() {
    let folder = tempfile::tempdir().unwrap();
    let pruned = thinned(folder.path());
    let of = |batch: &str| {
        let mut report = compare(&pruned, &[batch, "--json"]).json();
        for key in ["command", "seconds_per_step"] {
            report.as_object_mut().unwrap().remove(key).unwrap();
        }
        report
    };
    let (one, all) = (of("--batch-size=3"), of("--batch-size=10"));
    let rel = |report: &Value| number(&report["latent_rel"]);
    assert!((rel(&one) / rel(&all) - 1.0).abs() < 1e-4, "{} and {}", rel(&one), rel(&all));
    assert_eq!(of("--batch-size=3"), one, "a second run differs");
}

#[test]
fn only_latents_are_compared_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let model = models("sd3_digits/pipeline");
    let report = compare(&model, &["--latents-only", "-o", text(&output), "--json"]).json();
    assert_eq!((&report["pictures"], &report["items"][0]["psnr"]), (&Value::Null, &Value::Null));
    assert_eq!(report["grid"], "grid.png");
    assert_eq!(names_in(&output), ["comparison.json", "grid.png"]);
}

#[test]
fn people_get_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let (pruned, output) = (thinned(folder.path()), folder.path().join("out"));
    let classifier = models("sd3_digits/classifier.safetensors");
    let run = compare(&pruned, &["-o", text(&output), "--features", text(&classifier)]).succeeded();
    for part in ["zeros in prunable weights", "latent error", "PSNR, dB", "Fréchet distance to real", "comparison.json"]
    {
        assert!(run.stdout.contains(part), "`{part}` is not in: {}", run.stdout);
    }
    assert!(run.stderr.contains("10 pictures for 32 features"), "{}", run.stderr);
}

#[test]
fn only_comparisons_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (model, output) = (models("sd3_digits/pipeline"), folder.path().join("out"));
    let flags = ["-o", text(&output)];
    compare(&model, &flags).succeeded();
    compare(&model, &flags).refused(2, &["exists already", "--overwrite"]);
    std::fs::write(output.join("pictures/dense-9999.png"), b"old").unwrap();
    compare(&model, &[&flags[..], &["--overwrite"]].concat()).succeeded();
    assert_eq!(names_in(&output.join("pictures")).len(), 20);
    std::fs::remove_file(output.join("comparison.json")).unwrap();
    let before = files_below(&output);
    compare(&model, &[&flags[..], &["--overwrite"]].concat()).refused(2, &["is not a comparison folder"]);
    assert_eq!(files_below(&output), before);
}

#[test]
fn what_cannot_be_compared_is_refused_before_work_begins() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let model = models("sd3_digits/pipeline");
    let file = folder.path().join("file.safetensors");
    let refused = |pruned: &Path, flags: &[&str], code: i32, parts: &[&str]| {
        compare(pruned, &[&["-o", text(&output)], flags].concat()).refused(code, parts);
        assert_eq!(names_in(folder.path()).iter().filter(|name| name.contains("out")).count(), 0, "{parts:?}");
    };
    refused(&data("pipelines/sd3_medium/pipeline"), &[], 2, &["different configurations"]);
    save(&file, &[("w1".to_string(), full(1.0, &[4, 64])), ("b1".to_string(), full(1.0, &[4]))].into());
    refused(&model, &["--features", text(&file)], 3, &["`w2` is missing", "Linear layers"]);
    refused(&model, &["--lpips", text(&file)], 3, &["neither", "AlexNet", "docs/metrics.md"]);
    refused(&model, &["--clip", text(folder.path())], 2, &["only embeddings are known", "--prompts"]);
    refused(&model, &["--features", text(folder.path())], 3, &["config.json"]);
    refused(&model, &["--features", "absent"], 3, &["absent does not exist"]);
    refused(&model, &["--lpips", "absent"], 3, &["absent does not exist"]);
    let mut wide = tensors(&models("sd3_digits/classifier.safetensors"));
    wide.insert("w1".into(), full(1.0, &[128, 192]));
    save(&file, &wide);
    refused(&model, &["--features", text(&file)], 2, &["takes pictures of 192 values", "64"]);
    refused(&model, &["--latents-only", "--features", text(&file)], 2, &["--latents-only"]);
    let one = folder.path().join("one.safetensors");
    let mut prompts = tensors(&models("sd3_digits/ten_digits.safetensors"));
    prompts.values_mut().for_each(|tensor| *tensor = tensor.narrow(0, 0, 1).unwrap());
    save(&one, &prompts);
    let classifier = models("sd3_digits/classifier.safetensors");
    let own = ["compare", text(&model), text(&model), "--conditioning", text(&one), "--features", text(&classifier)];
    obsdiff(&own).refused(2, &["pass more prompts"]);
}
