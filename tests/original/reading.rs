//! A file in the original layout is the same model as its diffusers folder.

use obsdiff::checkpoint::{Layout, Pipeline};
use obsdiff::conditioning::Conditioning;
use obsdiff::model::Transformer;
use obsdiff::ops::{DType, Tensor, cpu_engine};
use obsdiff::sampling::{NoProbe, Sampler, SamplingOptions};
use serde_json::json;

use crate::common::{BUNDLED, PIPELINES, Scene};
use crate::support::{data, json as read_json, obsdiff, text};

/// The final latents of three steps.
fn latents(scene: &Scene, model: &std::path::Path) -> Tensor {
    let pipeline = Pipeline::open(model).unwrap();
    let transformer = Transformer::open(&pipeline, DType::F32, cpu_engine()).unwrap();
    let options =
        SamplingOptions { num_inference_steps: 3, guidance_scale: 4.0, height: 64, width: 96, seed: 0, batch_size: 0 };
    let scheduler = pipeline.scheduler_config();
    let sampler = Sampler::new(&pipeline.architecture, &scheduler, &pipeline.vae_config(), options).unwrap();
    let conditioning = Conditioning::open(&scene.conditioning(), &pipeline.architecture).unwrap();
    sampler.sample(&transformer, &conditioning, &mut NoProbe).unwrap()
}

#[test]
fn every_tensor_is_that_of_the_diffusers_folder_bit_for_bit() {
    for name in PIPELINES {
        for prefix in ["", BUNDLED] {
            let scene = Scene::new(name, prefix);
            let pipeline = Pipeline::open(scene.file()).unwrap();
            assert_eq!(pipeline.layout, Layout::Original);
            let weights = pipeline.weights().unwrap();
            let expected = scene.diffusers();
            assert_eq!(weights.len(), expected.len() + weights.carried().len(), "{name}");
            for (tensor, expected) in &expected {
                let info = weights.info(tensor).unwrap_or_else(|| panic!("{name}: {tensor} is missing"));
                assert_eq!((info.dtype, &info.shape), (expected.dtype, &expected.shape), "{name}: {tensor}");
                assert!(weights.bytes(tensor).unwrap() == expected.bytes, "{name}: {tensor}");
                weights.release(tensor);
                assert!(weights.bytes(tensor).unwrap() == expected.bytes, "{name}: {tensor} after release");
            }
        }
    }
}

#[test]
fn rows_are_read_alone() {
    let scene = Scene::new("flux_dev", "");
    let weights = Pipeline::open(scene.file()).unwrap().weights().unwrap();
    for tensor in ["single_transformer_blocks.1.attn.to_v.weight", "norm_out.linear.weight"] {
        let columns = weights.info(tensor).unwrap().shape[1];
        let all = weights.to_f32(tensor).unwrap();
        assert_eq!(weights.row_to_f32(tensor, 5).unwrap(), all[5 * columns..6 * columns], "{tensor}");
    }
}

#[test]
fn the_configuration_is_found_in_names_and_shapes() {
    for name in PIPELINES {
        let scene = Scene::new(name, BUNDLED);
        let mut found = Pipeline::open(scene.file()).unwrap().config;
        let mut expected = read_json(&scene.transformer().join("config.json"));
        // Older releases of diffusers wrote fewer keys; no tensor depends on the size of a picture.
        let keys = expected.as_object_mut().unwrap();
        if name == "sd3_medium" {
            keys.insert("dual_attention_layers".into(), json!([]));
            keys.insert("qk_norm".into(), json!(null));
            keys.insert("_diffusers_version".into(), json!("0.33.1"));
        }
        if name != "flux_dev" {
            assert_eq!(found["sample_size"], 128);
            found["sample_size"] = json!(16);
        }
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn trajectories_are_equal_bit_for_bit() {
    for name in PIPELINES {
        let scene = Scene::new(name, if name == "flux_dev" { "" } else { BUNDLED });
        let (from_file, from_folder) = (latents(&scene, &scene.file()), latents(&scene, &scene.transformer()));
        assert!(from_file.as_slice().unwrap() == from_folder.as_slice().unwrap(), "{name}");
        assert!(from_file.as_slice().unwrap().iter().all(|x| x.is_finite()), "{name}");
    }
}

#[test]
fn every_command_takes_the_file() {
    let scene = Scene::new("sd35_medium", BUNDLED);
    let (file, folder, conditioning) = (scene.file(), scene.transformer(), scene.conditioning());
    let sampling = ["--num-inference-steps=2", "--height=64", "--width=96"];
    let plan = obsdiff(&["plan", text(&file), "--json"]).json();
    assert_eq!(plan["plan"]["parameters"], obsdiff(&["plan", text(&folder), "--json"]).json()["plan"]["parameters"]);
    let own = ["compare", text(&file), text(&file), "--conditioning", text(&conditioning), "--json"];
    assert_eq!(obsdiff(&own.iter().chain(&sampling).collect::<Vec<_>>()).json()["latent_rel"], 0.0);
    let output = scene.path("latents");
    let own = ["sample", text(&file), "--conditioning", text(&conditioning), "-o", text(&output)];
    obsdiff(&own.iter().chain(&sampling).collect::<Vec<_>>()).succeeded();
    assert!(output.join("latents.safetensors").is_file());
    obsdiff(&["validate", text(&file)]).succeeded();
    obsdiff(&["validate", text(&file), "--against", text(&folder)]).succeeded();
}

#[test]
fn inspect_says_which_layout_it_found() {
    let layouts = [("sd3_medium", "original (SD3)"), ("sd35_large", "original (SD3)"), ("flux_dev", "original (FLUX)")];
    for (name, layout) in layouts {
        let scene = Scene::new(name, BUNDLED);
        let (file, folder) = (scene.file(), scene.transformer());
        let mut found = obsdiff(&["inspect", text(&file), "--json"]).json();
        let mut expected = obsdiff(&["inspect", text(&folder), "--json"]).json();
        assert_eq!((&found["layout"], &expected["layout"]), (&json!(layout), &json!("diffusers")));
        assert_eq!((&found["carried"], &expected["carried"]), (&json!(2), &json!(0)));
        for key in ["path", "layout", "carried", "tensors", "dtypes", "parameters", "bytes"] {
            found.as_object_mut().unwrap().remove(key);
            expected.as_object_mut().unwrap().remove(key);
        }
        assert_eq!(found, expected, "{name}");
        let shown = obsdiff(&["inspect", text(&file)]).succeeded().stdout;
        assert!(shown.contains(&format!("layout      {layout}\n")), "{shown}");
        assert!(shown.contains("carried     2 tensors"), "{shown}");
    }
    let folder = data("pipelines/flux_dev/pipeline");
    assert!(obsdiff(&["inspect", text(&folder)]).succeeded().stdout.contains("layout      diffusers\n"));
    let plain = data("layers/un0_16x64.safetensors");
    assert_eq!(obsdiff(&["inspect", text(&plain), "--json"]).json()["layout"], json!(null));
}
