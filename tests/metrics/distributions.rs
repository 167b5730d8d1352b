//! Fréchet distances over the features of the digits classifier.

use obsdiff::metrics::{Gaussian, MlpFeatures, frechet};
use obsdiff::ops::Tensor;

use crate::support::{data, entry, full, json, models, save, tensors};

fn classifier() -> MlpFeatures {
    MlpFeatures::open(&models("sd3_digits/classifier.safetensors")).unwrap()
}

/// Features of final latents [items, 1, 8, 8].
fn features(model: &MlpFeatures, latents: &Tensor) -> Vec<Vec<f32>> {
    (0..latents.dims()[0]).map(|item| model.of(&entry(latents, item)).unwrap()).collect()
}

#[test]
fn the_dense_digits_are_as_far_from_real_ones_as_the_official_evaluation_says() {
    let latents = tensors(&data("official/expected_dense.safetensors")).remove("final_latents").unwrap();
    let model = classifier();
    model.check(1, 8, 8).unwrap();
    let (dense, real) = (Gaussian::of(&features(&model, &latents)).unwrap(), model.real().unwrap().unwrap());
    let found = frechet(&dense, &real).unwrap();
    let expected = json(&data("official/results.json"))["dense"]["frechet"].as_f64().unwrap();
    println!("{found}, {expected}: {:.1e}", found / expected - 1.0);
    assert!((found / expected - 1.0).abs() < 1e-6, "{found}, expected {expected}");
    let back = frechet(&real, &dense).unwrap();
    assert!((back / found - 1.0).abs() < 1e-12, "not symmetric: {found} and {back}");
    assert!(frechet(&dense, &dense).unwrap() < 1e-9);
    assert!(frechet(&real, &real).unwrap() < 1e-9);
}

#[test]
fn few_pictures_make_a_distance_too() {
    let latents = tensors(&data("official/expected_dense.safetensors")).remove("final_latents").unwrap();
    let all = features(&classifier(), &latents);
    let (few, others) = (Gaussian::of(&all[..6]).unwrap(), Gaussian::of(&all[100..106]).unwrap());
    assert!(frechet(&few, &few).unwrap() < 1e-9);
    let (there, back) = (frechet(&few, &others).unwrap(), frechet(&others, &few).unwrap());
    assert!(there > 1.0 && (there / back - 1.0).abs() < 1e-9, "{there} and {back}");
}

#[test]
fn classifiers_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("classifier.safetensors");
    let refused = |state: &std::collections::HashMap<String, Tensor>, part: &str| {
        save(&path, state);
        let error = MlpFeatures::open(&path).and_then(|model| model.real()).unwrap_err();
        assert!(error.to_string().contains(part) && error.exit_code() == 3, "{part}: {error}");
    };
    let mut state = tensors(&models("sd3_digits/classifier.safetensors"));
    state.insert("b1".into(), full(0.0, &[127]));
    refused(&state, "`b1` has shape [127], expected [128]");
    state.insert("b1".into(), full(0.0, &[128]));
    let w2 = state.insert("w2".into(), full(0.0, &[32, 64])).unwrap();
    refused(&state, "`w2` has shape [32, 64], expected [outputs, 128]");
    state.insert("w2".into(), w2);
    let mean = state.remove("real_feat_mean").unwrap();
    refused(&state, "`real_feat_mean` is missing; it belongs to `real_feat_cov`");
    state.insert("real_feat_mean".into(), mean);
    state.insert("real_feat_cov".into(), full(1.0, &[32, 31]));
    refused(&state, "`real_feat_cov` has shape [32, 31], expected [32, 32]");
    state.remove("b2");
    refused(&state, "`b2` is missing");
    state.remove("w2");
    refused(&state, "`w2` is missing; features come from a classifier with the Linear layers");
    save(&path, &tensors(&models("sd3_digits/classifier.safetensors")));
    let error = MlpFeatures::open(&path).unwrap().check(3, 8, 8).unwrap_err();
    assert!(error.to_string().contains("takes pictures of 64 values, and these have 192"), "{error}");
}
