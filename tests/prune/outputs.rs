//! What a prune leaves on the disk, for every architecture and pattern.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::common::{
    PIPELINES, conditioning, layers, model, prunable, pruned, report, sampling, transformer, weight_files, weights,
    zeros,
};
use crate::support::{files_below, json, names_in, obsdiff, relative_frobenius, tensors, text};

/// N and M of an N:M pattern.
type Group = (usize, usize);

/// Flags of a pattern and, for N:M, its N and M.
const PATTERNS: [(&[&str], Option<Group>); 3] =
    [(&["--sparsity=0.5"], None), (&["--pattern=2:4"], Some((2, 4))), (&["--pattern=4:8"], Some((4, 8)))];

/// Every model with every pattern.
fn for_every_output(check: impl Fn(&str, &Path, Option<Group>)) {
    for name in PIPELINES.iter().chain(&["sd35_medium_sharded_bf16"]) {
        for (flags, group) in PATTERNS {
            check(name, &pruned(name, flags), group);
        }
    }
}

/// The header of a safetensors file, keys in file order.
fn header(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + length]).unwrap()
}

#[test]
fn every_output_is_validated_against_its_source() {
    for_every_output(|name, output, _| {
        let run = obsdiff(&["validate", text(output), "--against", text(&model(name)), "--json"]);
        assert_eq!(run.json()["failed"], 0, "{name}");
    });
}

#[test]
fn every_prunable_linear_loses_exactly_its_share() {
    for_every_output(|name, output, group| {
        let (dense, sparse, layers) = (weights(&model(name)), weights(output), layers(output));
        assert_eq!(layers.keys().collect::<Vec<_>>(), prunable(&dense).iter().collect::<Vec<_>>(), "{name}");
        for (linear, layer) in &layers {
            let array = &sparse[&format!("{linear}.weight")];
            let half = array.values.len() / 2;
            assert_eq!(layer["pruned"], half, "{name} {linear}");
            match group {
                None => assert_eq!(zeros(&array.values), half, "{name} {linear}"),
                Some((keep, of)) => {
                    let full = array.values.chunks(of).filter(|group| of - zeros(group) != keep).count();
                    assert_eq!(full, 0, "{name} {linear}: groups that do not keep {keep} of {of}");
                }
            }
        }
    });
    let covers = |name: &str, part: &str| layers(&pruned(name, &["--sparsity=0.5"])).keys().any(|l| l.ends_with(part));
    assert!(covers("flux_dev", "single_transformer_blocks.2.proj_mlp"));
    assert!(covers("flux_dev", "single_transformer_blocks.2.proj_out"));
    assert!(covers("sd35_medium", "transformer_blocks.1.attn2.to_out.0"));
}

#[test]
fn weight_files_have_the_sources_names_order_shapes_and_dtypes() {
    for_every_output(|name, output, _| {
        let (sources, copies) = (weight_files(&model(name)), weight_files(output));
        assert_eq!(sources.len(), if name.ends_with("sharded_bf16") { 4 } else { 1 });
        assert_eq!(sources.len(), copies.len(), "{name}");
        for (source, copy) in sources.iter().zip(&copies) {
            assert_eq!(source.file_name(), copy.file_name(), "{name}");
            let (expected, found) = (header(source), header(copy));
            assert_eq!(found["__metadata__"], serde_json::json!({ "format": "pt" }), "{name}");
            assert_eq!(found, expected, "{name}");
            let order = |header: &Value| header.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(order(&found), order(&expected), "{name}");
        }
    });
}

#[test]
fn everything_but_weights_and_the_description_is_copied_byte_for_byte() {
    for_every_output(|name, output, _| {
        let (source, copy) = (files_below(&model(name)), files_below(output));
        let own = ["README.md", "obsdiff.json", "recipe.toml", "run.json"];
        let changed = |path: &Path| {
            path == Path::new("transformer/config.json") || path.extension().is_some_and(|e| e == "safetensors")
        };
        // The sharded reference keeps a recorded forward call beside the model; a pipeline does not name it.
        let named = |path: &Path| !path.starts_with("ref");
        let expected: HashSet<&Path> = source
            .keys()
            .map(AsRef::as_ref)
            .filter(|path| named(path))
            .chain(own.iter().map(|file| Path::new(*file)))
            .collect();
        assert_eq!(copy.keys().map(AsRef::as_ref).collect::<HashSet<&Path>>(), expected, "{name}");
        let in_transformer = |path: &Path| path.starts_with("transformer");
        for (path, bytes) in source.iter().filter(|(path, _)| named(path)) {
            if !(in_transformer(path) && changed(path)) {
                assert!(copy[path] == *bytes, "{name}: {} differs", path.display());
            }
        }
    });
}

#[test]
fn the_configuration_gains_one_key_and_keeps_the_order_of_the_others() {
    for_every_output(|name, output, group| {
        let source = json(&transformer(&model(name)).join("config.json"));
        let mut copy = json(&transformer(output).join("config.json"));
        let entry = copy.as_object_mut().unwrap().shift_remove("_obs_diff").unwrap();
        assert_eq!(copy.to_string(), source.to_string(), "{name}");
        let pattern = group.map_or("unstructured".into(), |(keep, of)| format!("{keep}:{of}"));
        assert_eq!(entry["pattern"], pattern, "{name}");
        assert_eq!(entry["sparsity"], 0.5, "{name}");
        assert_eq!(entry["recipe_sha256"], report(output)["recipe_sha256"], "{name}");
    });
}

#[test]
fn a_pruned_model_samples_and_differs_from_the_dense_one() {
    for name in PIPELINES {
        let folder = tempfile::tempdir().unwrap();
        let latents = |model: &Path, output: &str| {
            let output = folder.path().join(output);
            let conditioning = conditioning(name);
            let own = ["sample", text(model), "--conditioning", text(&conditioning), "-o", text(&output)];
            let all: Vec<String> = own.iter().map(ToString::to_string).chain(sampling(name)).collect();
            obsdiff(&all).succeeded();
            tensors(&output.join("latents.safetensors")).remove("latents").unwrap()
        };
        let dense = latents(&model(name), "dense");
        for (index, (flags, _)) in PATTERNS.iter().enumerate() {
            let change = relative_frobenius(&latents(&pruned(name, flags), &index.to_string()), &dense);
            println!("{name} {flags:?}: latents change by {change:.4}");
            assert!(change > 1e-3 && change < 0.5, "{name} {flags:?}: {change}");
        }
    }
}

#[test]
fn a_transformer_folder_alone_is_pruned_with_the_published_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let alone = model("sd35_medium").join("transformer");
    let conditioning = conditioning("sd35_medium");
    let own = ["prune", text(&alone), "-o", text(&output), "--calibration", text(&conditioning), "--sparsity=0.5"];
    obsdiff(&own.iter().map(ToString::to_string).chain(sampling("sd35_medium")).collect::<Vec<_>>()).succeeded();
    let own_files = ["README.md", "obsdiff.json", "recipe.toml", "run.json"];
    let expected = [&own_files[..], &["config.json", "diffusion_pytorch_model.safetensors"]].concat();
    let found = names_in(&output);
    assert_eq!(found.iter().map(String::as_str).collect::<HashSet<_>>(), expected.into_iter().collect());
    // The pipeline's scheduler and VAE are what the published ones are, so that the result must be the same.
    let whole = pruned("sd35_medium", &["--sparsity=0.5"]);
    assert_eq!(super::common::weight_bytes(&output), super::common::weight_bytes(&whole));
    obsdiff(&["validate", text(&output), "--against", text(&alone)]).succeeded();
}

#[test]
fn bf16_weights_are_held_exactly_in_bf16() {
    let name = "sd35_medium_sharded_bf16";
    for flags in [&["--packages=3", "--sparsity=0.5"][..], &["--preset=paper", "--sparsity=0.5"]] {
        let wide = pruned(name, flags);
        let narrow = pruned(name, &[flags, &["--dtype=bf16"]].concat());
        assert!(super::common::weight_bytes(&wide) == super::common::weight_bytes(&narrow), "{flags:?}");
        let half = pruned(name, &[flags, &["--dtype=f16"]].concat());
        assert!(super::common::weight_bytes(&wide) != super::common::weight_bytes(&half), "{flags:?}: f16 is not bf16");
    }
}
