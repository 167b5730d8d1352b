//! Embeddings that cannot be calibrated with.

use std::collections::HashMap;
use std::fs;

use obsdiff::ops::Tensor;

use super::common::Scene;
use crate::support::{full, obsdiff, rewrite};

type Tensors = HashMap<String, Tensor>;

fn set(all: &mut Tensors, name: &str, shape: &[usize], value: f32) {
    all.insert(name.into(), full(value, shape));
}

#[test]
fn faults_of_the_file_are_named() {
    type Change = fn(&mut Tensors);
    let faults: [(i32, &[&str], &[&str], Change); 8] = [
        (3, &[], &["`prompt_embeds` has no rows"], |all| {
            for (name, shape) in [("prompt_embeds", &[0, 29, 48][..]), ("pooled_prompt_embeds", &[0, 40])] {
                set(all, name, shape, 0.0);
            }
        }),
        (3, &[], &["`prompt_embeds` has shape [2, 29, 64]", "48"], |all| set(all, "prompt_embeds", &[2, 29, 64], 0.0)),
        (3, &[], &["`pooled_prompt_embeds` has shape [2, 24]", "[2, 40]"], |all| {
            set(all, "pooled_prompt_embeds", &[2, 24], 0.0)
        }),
        (3, &["--guidance-scale=4.5"], &["`negative_prompt_embeds` is missing", "--guidance-scale 1"], |all| {
            all.remove("negative_prompt_embeds");
            all.remove("negative_pooled_prompt_embeds");
        }),
        (3, &[], &["`latents` has shape [2, 16, 8, 8]", "[2, 16, 8, 12]"], |all| {
            set(all, "latents", &[2, 16, 8, 8], 0.0)
        }),
        (4, &[], &["`prompt_embeds` holds NaN", "index 0"], |all| set(all, "prompt_embeds", &[2, 29, 48], f32::NAN)),
        (4, &[], &["`latents` holds inf"], |all| set(all, "latents", &[2, 16, 8, 12], f32::INFINITY)),
        (3, &[], &["`prompt_embeds` is missing"], |all| drop(all.remove("prompt_embeds"))),
    ];
    for (code, flags, parts, change) in faults {
        let scene = Scene::new();
        rewrite(&scene.path("calibration.safetensors"), change);
        let parts = [&["calibration.safetensors"], parts].concat();
        println!("{parts:?}");
        scene.refuses(flags, code, &parts);
    }
}

#[test]
fn an_absent_or_unreadable_file_is_named() {
    let scene = Scene::new();
    let file = scene.path("calibration.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    scene.refuses(&[], 3, &["calibration.safetensors", "not a readable safetensors file"]);
    fs::write(&file, "prompt_embeds").unwrap();
    scene.refuses(&[], 3, &["calibration.safetensors", "not a readable safetensors file"]);
    fs::write(&file, "").unwrap();
    scene.refuses(&[], 3, &["calibration.safetensors", "not a readable safetensors file"]);
    fs::remove_file(&file).unwrap();
    scene.refuses(&[], 3, &["calibration.safetensors does not exist"]);
}

#[test]
fn a_method_that_needs_activations_asks_for_the_file() {
    let scene = Scene::new();
    let (model, output) = (scene.path("model").display().to_string(), scene.path("out").display().to_string());
    for flags in [&["--method=obs-diff"][..], &["--method=wanda"], &["--method=magnitude", "--refine=pcg:3"]] {
        let arguments = [&["prune", &model, "-o", &output], flags].concat();
        scene.refuses_run(2, &["needs activations", "--calibration FILE"], || obsdiff(&arguments));
    }
}

#[test]
fn unguided_calibration_needs_no_negative_embeddings() {
    let scene = Scene::new();
    rewrite(&scene.path("calibration.safetensors"), |all| {
        all.remove("negative_prompt_embeds");
        all.remove("negative_pooled_prompt_embeds");
    });
    scene.prune(&["--guidance-scale=1"]).succeeded();
}
