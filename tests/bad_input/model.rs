//! Models that cannot be pruned.

use std::fs;

use super::common::Scene;
use crate::support::{edit, full, rewrite};

#[test]
fn an_absent_model_is_named() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.path("model")).unwrap();
    scene.refuses(&[], 3, &["model does not exist", "needed as the model folder"]);
    fs::create_dir(scene.path("model")).unwrap();
    scene.refuses(&[], 3, &["model_index.json does not exist", "config.json"]);
}

#[test]
fn an_absent_shard_is_named() {
    let scene = Scene::sharded();
    let shard = "diffusion_pytorch_model-00002-of-00004.safetensors";
    fs::remove_file(scene.path("model/transformer").join(shard)).unwrap();
    scene.refuses(&[], 3, &[shard, "does not exist"]);
}

#[test]
fn a_truncated_file_is_named_with_both_sizes() {
    let scene = Scene::new();
    let whole = fs::metadata(scene.weights()).unwrap().len();
    fs::OpenOptions::new().write(true).open(scene.weights()).unwrap().set_len(whole - 1000).unwrap();
    let sizes = format!("promises {whole} bytes, the file holds {}", whole - 1000);
    scene.refuses(&[], 3, &["diffusion_pytorch_model.safetensors: cut off", &sizes]);
}

#[test]
fn an_index_that_names_an_absent_tensor_is_refused() {
    let scene = Scene::sharded();
    let index = scene.path("model/transformer/diffusion_pytorch_model.safetensors.index.json");
    let shard = "diffusion_pytorch_model-00001-of-00004.safetensors";
    edit(&index, "\"weight_map\": {", &format!("\"weight_map\": {{ \"proj_in.weight\": \"{shard}\","));
    scene.refuses(&[], 3, &["proj_in.weight", shard]);
}

#[test]
fn a_shape_that_the_configuration_forbids_is_named_with_both_shapes() {
    let scene = Scene::new();
    edit(&scene.path("model/config.json"), "\"joint_attention_dim\": 48", "\"joint_attention_dim\": 40");
    scene.refuses(&[], 3, &["`context_embedder.weight` has shape [64, 48]", "[64, 40]"]);
}

#[test]
fn an_unknown_architecture_is_named_with_the_known_ones() {
    let scene = Scene::new();
    edit(&scene.path("model/config.json"), "SD3Transformer2DModel", "UNet2DConditionModel");
    scene.refuses(&[], 3, &["UNet2DConditionModel", "SD3Transformer2DModel, FluxTransformer2DModel"]);
}

#[test]
fn a_nan_in_the_weights_is_refused_by_name() {
    let scene = Scene::new();
    let name = "transformer_blocks.1.ff.net.2.weight";
    rewrite(&scene.weights(), |all| {
        let nan = full(f32::NAN, all[name].dims());
        all.insert(name.into(), nan);
    });
    for method in ["--method=obs-diff", "--method=magnitude"] {
        scene.refuses(&[method], 4, &["transformer_blocks.1.ff.net.2.weight", "NaN", "nothing was written"]);
    }
}

#[test]
fn activations_that_overflow_are_refused_by_tensor_and_step() {
    let scene = Scene::new();
    let name = "transformer_blocks.1.ff.net.0.proj.weight";
    rewrite(&scene.weights(), |all| {
        let huge = full(1e38, all[name].dims());
        all.insert(name.into(), huge);
    });
    scene.refuses(&[], 4, &["transformer_blocks.1.ff.net.2", "NaN or infinity", "step"]);
    // Also where the overflow is in a layer that is not calibrated.
    scene.refuses(&["--layers=transformer_blocks.0.*"], 4, &["transformer_blocks.1.ff.net.2", "step"]);
}
