//! Quality on the trained digits model, against the official code's run with the same settings.

mod support;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use obsdiff::checkpoint::Pipeline;
use obsdiff::conditioning::Conditioning;
use obsdiff::metrics::LatentDistance;
use obsdiff::model::Transformer;
use obsdiff::ops::{DType, Tensor, cpu_engine};
use obsdiff::recipe::Patch;
use obsdiff::sampling::{NoProbe, Sampler};
use serde_json::Value;
use support::{Array, data, json, models, obsdiff, read, shared_folder, tensors, text};

/// Settings of the official runs.
const TRAJECTORY: [&str; 2] = ["--num-inference-steps=20", "--guidance-scale=2"];
const PAPER: [&str; 2] = ["--preset=paper", "--packages=4"];

/// The digits model pruned with `flags`, once for all tests.
fn pruned(flags: &[&str]) -> &'static Path {
    type Made = Mutex<HashMap<String, &'static OnceLock<PathBuf>>>;
    static MADE: OnceLock<Made> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap();
    let index = made.len();
    let cell = *made.entry(flags.join(" ")).or_insert_with(|| Box::leak(Box::default()));
    drop(made);
    cell.get_or_init(|| {
        let output = shared_folder().join(format!("digits-{index}"));
        let (model, calibration) = (models("sd3_digits/pipeline"), models("sd3_digits/calibration.safetensors"));
        let own = ["prune", text(&model), "-o", text(&output), "--calibration", text(&calibration)];
        obsdiff(&[&own, &TRAJECTORY[..], flags].concat()).succeeded();
        output
    })
}

/// What the official code reached.
fn official(run: &str, key: &str) -> f64 {
    json(&data("official/results.json"))[run][key].as_f64().unwrap()
}

/// Final latents of the dense model as diffusers computed them.
fn dense_latents() -> Tensor {
    tensors(&data("official/expected_dense.safetensors")).remove("final_latents").unwrap()
}

/// |z - z_dense|^2 / |z_dense|^2 over the 200 evaluation prompts.
fn latent_rel(folder: &Path) -> f64 {
    let pipeline = Pipeline::open(folder).unwrap();
    let options = Patch { num_inference_steps: Some(20), guidance_scale: Some(2.0), ..Patch::default() };
    let sampler: Sampler = obsdiff::job::sampler(&pipeline, &options).unwrap();
    let evaluation = models("sd3_digits/evaluation.safetensors");
    let conditioning = Conditioning::open(&evaluation, &pipeline.architecture).unwrap();
    assert_eq!(conditioning.rows(), 200);
    let model = Transformer::open(&pipeline, DType::F32, cpu_engine()).unwrap();
    let latents = sampler.sample(&model, &conditioning, &mut NoProbe).unwrap();
    LatentDistance::new(&dense_latents(), &latents).unwrap().latent_rel
}

fn report(folder: &Path) -> Value {
    json(&folder.join("obsdiff.json"))
}

/// One Linear of the official run at 50 %.
struct Official {
    keep: Vec<bool>,
    /// Zero where removed.
    weight: Vec<f32>,
}

/// Per layer: `shape`, `mask_bits` (row-major, least significant bit first, 1 = kept), `values` of the kept weights.
fn official_layers() -> HashMap<String, Official> {
    let file = read(data("official/obsdiff_log_decrease_50.sparse.safetensors"));
    let names = file.keys().filter_map(|key| key.strip_suffix(".shape"));
    let decode = |name: &str| {
        let part = |part: &str| -> &Array { &file[&format!("{name}.{part}")] };
        let count = part("shape").values.iter().product::<f64>() as usize;
        let bits = &part("mask_bits").values;
        let keep: Vec<bool> = (0..count).map(|i| (bits[i / 8] as u8) >> (i % 8) & 1 != 0).collect();
        let mut values = part("values").values.iter();
        let weight = keep.iter().map(|&keep| if keep { *values.next().unwrap() as f32 } else { 0.0 }).collect();
        assert!(values.next().is_none(), "{name}: more values than kept weights");
        Official { keep, weight }
    };
    names.map(|name| (name.to_string(), decode(name))).collect()
}

#[test]
fn masks_and_weights_of_the_paper_preset_are_the_official_ones() {
    let output = pruned(&[&PAPER[..], &["--sparsity=0.5"]].concat());
    let found = read(output.join("transformer/diffusion_pytorch_model.safetensors"));
    let official = official_layers();
    let grouping = json(&data("layers/grouping.json"));
    let first: BTreeSet<String> = grouping["blocks5_groups4"][0]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| format!("transformer_blocks.{}", name.as_str().unwrap()))
        .collect();
    let layers = report(output)["layers"].as_array().unwrap().clone();
    assert_eq!((layers.len(), official.len()), (57, 57));
    let mut lowest = [1.0f64; 2];
    for layer in &layers {
        let name = layer["name"].as_str().unwrap();
        let expected = &official[name];
        let weight = &found[&format!("{name}.weight")].values;
        let pairs = || weight.iter().zip(&expected.keep);
        let agreeing = pairs().filter(|(w, keep)| (**w != 0.0) == **keep).count();
        let agreement = agreeing as f64 / weight.len() as f64;
        let is_first = first.contains(name);
        assert_eq!(is_first, layer["package"] == 0, "{name}: another package");
        // A mask that flips moves what its row compensates; where the row's masks agree, so must the weights.
        let columns = layer["columns"].as_u64().unwrap() as usize;
        let (mut square_error, mut square) = (0.0, 0.0);
        for (row, (w, e)) in weight.chunks(columns).zip(expected.weight.chunks(columns)).enumerate() {
            let keep = &expected.keep[row * columns..(row + 1) * columns];
            if w.iter().zip(keep).all(|(w, &keep)| (*w != 0.0) == keep) {
                square_error += w.iter().zip(e).map(|(w, &e)| (w - f64::from(e)).powi(2)).sum::<f64>();
                square += w.iter().map(|w| w * w).sum::<f64>();
            }
        }
        let difference = (square_error / square).sqrt();
        println!(
            "{name}: package {}, masks agree in {:.3} %, weights differ by {difference:.1e}",
            layer["package"],
            100.0 * agreement
        );
        let slot = &mut lowest[usize::from(!is_first)];
        *slot = slot.min(agreement);
        assert!(agreement >= 0.995, "{name}: masks agree in {agreement}");
        assert!(square > 0.0 && difference < 1e-3, "{name}: weights differ by {difference}");
    }
    println!("lowest agreement: first package {:.5}, the others {:.5}", lowest[0], lowest[1]);
}

#[test]
fn the_paper_preset_loses_as_much_as_the_official_code() {
    for (run, flag) in [
        ("obsdiff_log_decrease_50", "--sparsity=0.5"),
        ("obsdiff_log_decrease_60", "--sparsity=0.6"),
        ("obsdiff_log_decrease_70", "--sparsity=0.7"),
        ("obsdiff_log_decrease_2of4", "--pattern=2:4"),
    ] {
        let output = pruned(&[&PAPER[..], &[flag]].concat());
        let (found, expected) = (latent_rel(output), official(run, "latent_rel"));
        let error = report(output)["mean_relative_error"].as_f64().unwrap() / official(run, "err_own_H_mean");
        println!("{flag}: latent_rel {found:.5} (official {expected:.5}), layer error {error:.4} of official");
        assert!((found / expected - 1.0).abs() <= 0.05, "{flag}: latent_rel {found}, official {expected}");
        assert!((error - 1.0).abs() <= 0.02, "{flag}: mean relative error is {error} of the official one");
    }
}

#[test]
fn the_default_preset_loses_at_most_two_thirds_of_the_official_code() {
    for (run, flag, share) in [
        ("obsdiff_log_decrease_50", "--sparsity=0.5", 0.65),
        ("obsdiff_log_decrease_60", "--sparsity=0.6", 0.65),
        ("obsdiff_log_decrease_70", "--sparsity=0.7", 0.65),
        ("obsdiff_log_decrease_2of4", "--pattern=2:4", 0.6),
        ("obsdiff_log_decrease_4of8", "--pattern=4:8", 0.6),
    ] {
        let (found, expected) = (latent_rel(pruned(&[flag])), official(run, "latent_rel"));
        println!("{flag}: latent_rel {found:.5}, {:.3} of official", found / expected);
        assert!(found <= share * expected, "{flag}: latent_rel {found}, allowed {}", share * expected);
    }
}

#[test]
fn compare_reports_what_the_sampler_finds() {
    let output = pruned(&["--sparsity=0.5"]);
    let (dense, evaluation) = (models("sd3_digits/pipeline"), models("sd3_digits/evaluation.safetensors"));
    let own = ["compare", text(&dense), text(output), "--conditioning", text(&evaluation), "--json"];
    let found = obsdiff(&[&own[..], &TRAJECTORY].concat()).json();
    let expected = latent_rel(output);
    // Both compare with a dense run, one with our own and one with diffusers', which are 1e-6 apart.
    let difference = found["latent_rel"].as_f64().unwrap() / expected - 1.0;
    assert!(difference.abs() < 1e-3, "compare says {}, the sampler {expected}", found["latent_rel"]);
    assert_eq!(found["per_item"]["items"], 200);
    assert_eq!(found["sparsity"], report(output)["sparsity"]);
}
