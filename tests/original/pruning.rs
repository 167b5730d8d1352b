//! Pruned from either layout to either layout, the weights are the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::{BUNDLED, PIPELINES, Scene, metadata, safetensors_in};
use crate::support::original::{Stored, header, stored, to_original};
use crate::support::{copy_folder, edit, files_below, json as read_json, names_in, obsdiff, text};

/// The weights of a diffusers output.
fn diffusers(folder: &Path) -> BTreeMap<String, Stored> {
    stored(&folder.join("diffusion_pytorch_model.safetensors"))
}

#[test]
fn all_four_ways_give_the_same_weights() {
    for (name, prefix) in PIPELINES.into_iter().zip([BUNDLED, "", BUNDLED, ""]) {
        let pattern = if name == "flux_dev" { "--pattern=2:4" } else { "--sparsity=0.5" };
        let scene = Scene::new(name, prefix);
        let (file, folder) = (scene.file(), scene.transformer());
        scene.prune(&folder, "reference", &[pattern]).succeeded();
        let reference = diffusers(&scene.path("reference"));
        assert_ne!(reference, scene.diffusers(), "{name}: nothing was pruned");

        scene.prune(&file, "as-diffusers", &[pattern, "--output-layout=diffusers"]).succeeded();
        assert!(diffusers(&scene.path("as-diffusers")) == reference, "{name}: original to diffusers");

        scene.prune(&file, "as-original", &[pattern]).succeeded();
        let found = stored(&scene.path("as-original/model.safetensors"));
        let mut expected: BTreeMap<_, _> = to_original(&reference, prefix).into_iter().collect();
        let is_other = |name: &String| name.starts_with("first_stage_model.") || name.starts_with("text_encoders.");
        expected.extend(stored(&file).into_iter().filter(|(name, _)| is_other(name)));
        assert!(found == expected, "{name}: original to original");

        scene.prune(&folder, "from-diffusers", &[pattern, "--output-layout=original"]).succeeded();
        let found = stored(&scene.path("from-diffusers/transformer.safetensors"));
        assert!(found == to_original(&reference, "").into_iter().collect(), "{name}: diffusers to original");

        let report = |output: &str| read_json(&scene.path(output).join("obsdiff.json"));
        for output in ["as-diffusers", "as-original", "from-diffusers"] {
            assert_eq!(report(output), report("reference"), "{name}: {output}");
        }
        let sources =
            [("as-diffusers", &file), ("as-original", &file), ("as-original", &folder), ("from-diffusers", &folder)];
        for (output, source) in sources {
            obsdiff(&["validate", text(&scene.path(output)), "--against", text(source)]).succeeded();
        }
    }
}

#[test]
fn the_file_keeps_its_name_order_and_metadata() {
    let scene = Scene::new("flux_dev", BUNDLED);
    scene.prune(&scene.file(), "out", &["--method=magnitude"]).succeeded();
    let out = scene.path("out");
    assert_eq!(names_in(&out), ["README.md", "model.safetensors", "obsdiff.json", "recipe.toml", "run.json"]);
    let (before, after) = (header(&scene.file()), header(&out.join("model.safetensors")));
    assert!(before.keys().eq(after.keys()), "the order of the tensors changed");
    let (mut kept, given) = (after["__metadata__"].clone(), metadata());
    let described: Value = serde_json::from_str(kept["_obs_diff"].as_str().unwrap()).unwrap();
    let report = read_json(&out.join("obsdiff.json"));
    assert_eq!(described["sparsity"], report["sparsity"]);
    kept.as_object_mut().unwrap().remove("_obs_diff");
    let mut expected = given;
    // A hash of the dense weights would be wrong.
    expected.as_object_mut().unwrap().remove("modelspec.hash_sha256");
    assert_eq!(kept, expected);
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("ComfyUI") && !card.contains("diffusers"), "{card}");

    // Tensors that hold no pruned part keep their bytes.
    let (old, new) = (stored(&scene.file()), stored(&out.join("model.safetensors")));
    let changed: Vec<&String> = old.keys().filter(|name| old[*name] != new[*name]).collect();
    let prunable = |name: &str| {
        let parts = ["qkv.weight", "proj.weight", "mlp.0.weight", "mlp.2.weight", "linear1.weight", "linear2.weight"];
        parts.iter().any(|part| name.ends_with(part))
    };
    assert!(changed.iter().all(|name| prunable(name)), "{changed:?}");
    assert_eq!(changed.len(), 2 * 8 + 3 * 2);
}

#[test]
fn the_same_run_gives_the_same_bytes_and_an_output_is_a_model() {
    let scene = Scene::new("sd35_large", BUNDLED);
    scene.prune(&scene.file(), "first", &[]).succeeded();
    scene.prune(&scene.file(), "second", &[]).succeeded();
    let content = |output: &str| {
        let mut files = files_below(&scene.path(output));
        files.remove(Path::new("run.json"));
        files
    };
    assert!(content("first") == content("second"));

    // The folder stands for its file, also as the model of another run, which may replace it.
    let first = scene.path("first");
    scene.prune(&first, "third", &["--sparsity=0.7"]).succeeded();
    assert_eq!(safetensors_in(&scene.path("third")), [scene.path("third/model.safetensors")]);
    let third = scene.path("third/model.safetensors");
    let described = header(&third)["__metadata__"]["_obs_diff"].as_str().unwrap().to_string();
    let described: Value = serde_json::from_str(&described).unwrap();
    assert!(described["sparsity"].as_f64().unwrap() > 0.69, "{described}");
    scene.prune(&first, "third", &[]).refused(2, &["exists already"]);
    scene.prune(&first, "third", &["--overwrite", "--method=magnitude", "--sparsity=0.6"]).succeeded();
    obsdiff(&["validate", text(&third), "--against", text(&first)]).succeeded();
}

#[test]
fn an_interrupted_job_goes_on_from_a_file() {
    let scene = Scene::new("sd3_medium", "");
    let journal = scene.path("journal");
    let journal = format!("--journal={}", text(&journal));
    scene.prune(&scene.file(), "plain", &["--packages=2"]).succeeded();
    scene.prune(&scene.file(), "journaled", &["--packages=2", &journal]).succeeded();
    let model = |output: &str| fs::read(scene.path(output).join("model.safetensors")).unwrap();
    assert!(model("plain") == model("journaled"));
}

#[test]
fn diffusers_finds_the_configuration_that_it_would_write() {
    let scene = Scene::new("sd35_medium", BUNDLED);
    scene.prune(&scene.file(), "out", &["--method=magnitude", "--output-layout=diffusers"]).succeeded();
    let out = scene.path("out");
    let expected =
        ["README.md", "config.json", "diffusion_pytorch_model.safetensors", "obsdiff.json", "recipe.toml", "run.json"];
    assert_eq!(names_in(&out), expected);
    let mut config = read_json(&out.join("config.json"));
    assert!(config.as_object_mut().unwrap().shift_remove("_obs_diff").unwrap().is_object());
    config["sample_size"] = json!(16);
    let source = read_json(&scene.transformer().join("config.json"));
    assert_eq!(config.to_string(), source.to_string(), "the same keys in the same order");
    assert_eq!(header(&out.join("diffusion_pytorch_model.safetensors"))["__metadata__"], json!({ "format": "pt" }));
}

#[test]
fn a_damaged_file_fails_its_validation() {
    let scene = Scene::new("sd3_medium", BUNDLED);
    scene.prune(&scene.file(), "out", &["--method=magnitude"]).succeeded();
    let (out, source) = (scene.path("out"), scene.file());
    let weights = out.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    let spoil = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        fs::write(&weights, bytes).unwrap();
        obsdiff(&["validate", text(&out), "--against", text(&source)])
    };
    // The last byte belongs to a text encoder.
    let run = spoil(bytes.len() - 1);
    assert_eq!(run.code, Some(1));
    let line = "`text_encoders.t5xxl.transformer.shared.weight` is not claimed as pruned, but differs";
    assert!(run.stdout.contains(line), "{}", run.stdout);

    fs::write(&weights, &bytes).unwrap();
    let report = out.join("obsdiff.json");
    edit(&report, "\"pruned\": 2048", "\"pruned\": 2049");
    let run = obsdiff(&["validate", text(&out)]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    fs::remove_file(&report).unwrap();
    let run = obsdiff(&["validate", text(&out)]);
    assert!(
        run.stdout.contains("the metadata of the weights has `_obs_diff`, but obsdiff.json is missing"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_pipeline_becomes_one_file() {
    let scene = Scene::new("flux_dev", "");
    let pipeline = scene.path("pipeline");
    copy_folder(&crate::support::data("pipelines/flux_dev/pipeline"), &pipeline);
    scene.prune(&pipeline, "out", &["--method=magnitude", "--output-layout=original"]).succeeded();
    let out = scene.path("out");
    assert_eq!(names_in(&out), ["README.md", "obsdiff.json", "recipe.toml", "run.json", "transformer.safetensors"]);
    obsdiff(&["validate", text(&out), "--against", text(&pipeline)]).succeeded();
}
