//! Files that are no model, and models that a layout cannot hold.

use std::fs;

use safetensors::Dtype;
use serde_json::json;

use crate::common::{BUNDLED, Scene, metadata, other_network};
use crate::support::original::{Stored, write};
use crate::support::{data, edit, names_in, obsdiff, text};

/// Removes the tensor of this name.
fn without(tensors: &mut Vec<(String, Stored)>, name: &str) -> Stored {
    let place = tensors.iter().position(|(tensor, _)| tensor == name).unwrap();
    tensors.remove(place).1
}

#[test]
fn quantised_files_are_named_for_what_they_are() {
    let kinds = [
        ("double_blocks.0.img_mlp.0.weight.absmax", Dtype::F32, "bitsandbytes 4-bit"),
        ("double_blocks.0.img_mlp.0.weight.quant_state.bitsandbytes__nf4", Dtype::U8, "bitsandbytes nf4"),
        ("scaled_fp8", Dtype::F8_E4M3, "scaled fp8"),
        ("single_blocks.0.linear1.scale_weight", Dtype::F32, "scaled fp8"),
        ("double_blocks.0.img_mlp.0.qweight", Dtype::I8, "4-bit integers"),
        ("double_blocks.0.img_mlp.0.packed", Dtype::U8, "integers (U8)"),
    ];
    for (tensor, dtype, found) in kinds {
        let scene = Scene::new("flux_dev", BUNDLED);
        let name = format!("{BUNDLED}{tensor}");
        scene.change(|tensors| tensors.push((name.clone(), other_network(dtype, 4))));
        scene.refuses(&["model.safetensors", &format!("found {found} (tensor `{name}`)"), "not quantised"]);
    }
    let scene = Scene::new("sd35_large", "");
    scene.change(|tensors| {
        for (_, tensor) in tensors.iter_mut() {
            let elements: usize = tensor.shape.iter().product();
            *tensor = Stored { shape: tensor.shape.clone(), ..other_network(Dtype::F8_E4M3, elements) };
        }
    });
    scene.refuses(&["found fp8 (F8_E4M3)", "F32, F16 and BF16"]);
    // Looking at it is still possible.
    let shown = obsdiff(&["inspect", text(&scene.file())]).succeeded().stdout;
    assert!(shown.contains("refused     ") && shown.contains("found fp8"), "{shown}");
}

#[test]
fn other_formats_are_named_for_what_they_are() {
    let scene = Scene::new("flux_dev", "");
    for (bytes, found) in [(&b"GGUF\x03\0\0\0"[..], "GGUF"), (b"PK\x03\x04....", "pickle"), (b"\x80\x02}q", "pickle")] {
        fs::write(scene.file(), bytes).unwrap();
        scene.refuses(&["model.safetensors", found, "safetensors with F32"]);
        obsdiff(&["inspect", text(&scene.file())]).refused(3, &[found]);
    }
    fs::write(scene.file(), b"abc").unwrap();
    scene.refuses(&["3 bytes are too few"]);
}

#[test]
fn a_header_as_long_as_the_mark_of_a_pickle_is_no_pickle() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain.safetensors");
    let tensors = [("a".to_string(), other_network(Dtype::F32, 4))];
    let length = |filler: usize| {
        write(&file, &json!({ "filler": "x".repeat(filler) }), &tensors);
        u64::from_le_bytes(*fs::read(&file).unwrap().first_chunk().unwrap())
    };
    // 640 is 0x0280, and a pickle begins with 80 02.
    assert_eq!(length(640 - length(0) as usize), 640);
    obsdiff(&["inspect", text(&file)]).succeeded();
}

#[test]
fn other_models_are_named_for_what_they_are() {
    let scene = Scene::new("sd35_medium", "");
    let cases = [
        ("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", "a LoRA"),
        ("double_blocks.0.processor.qkv_lora1.down.weight", "a LoRA"),
        ("transformer_blocks.0.attn.to_q.weight", "give the folder with its config.json"),
        ("model.diffusion_model.input_blocks.0.0.weight", "U-Net"),
        ("blocks.0.weight", "1 tensors of another kind, first `blocks.0.weight`"),
    ];
    for (name, found) in cases {
        write(&scene.file(), &metadata(), &[(name.into(), other_network(Dtype::F32, 4))]);
        scene.refuses(&["model.safetensors", found, "joint_blocks.0", "double_blocks.0"]);
    }
    let embeddings = scene.conditioning();
    scene.prune(&embeddings, "out", &[]).refused(3, &["tensors of another kind"]);
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    let scene = Scene::new("sd35_medium", BUNDLED);
    let name = format!("{BUNDLED}joint_blocks.1.x_block.attn2.proj.bias");
    scene.change(|tensors| drop(without(tensors, &name)));
    scene.refuses(&[&format!("`{name}` is missing"), "[64]"]);

    let scene = Scene::new("sd35_medium", BUNDLED);
    scene.change(|tensors| drop(without(tensors, &format!("{BUNDLED}context_embedder.weight"))));
    scene.refuses(&["context_embedder.weight` is missing"]);

    let scene = Scene::new("flux_dev", "");
    scene.change(|tensors| tensors.retain(|(name, _)| !name.starts_with("single_blocks.1.")));
    scene.refuses(&["has 2 blocks named `single_blocks`, but no number 1"]);

    let scene = Scene::new("flux_dev", "");
    let name = "double_blocks.0.img_attn.extra.weight";
    scene.change(|tensors| tensors.push((name.into(), other_network(Dtype::F32, 4))));
    scene.refuses(&[&format!("1 that a FluxTransformer2DModel does not have, first `{name}`")]);

    let scene = Scene::new("flux_dev", "");
    let name = "single_blocks.2.linear1.weight";
    scene.change(|tensors| {
        let mut tensor = without(tensors, name);
        tensor.shape = vec![tensor.shape[0] * 2, tensor.shape[1] / 2];
        tensors.push((name.into(), tensor));
    });
    scene.refuses(&[name, "[896, 32]", "[448, 64]"]);

    let scene = Scene::new("sd3_medium", "");
    scene.change(|tensors| {
        let mut tensor = without(tensors, "pos_embed");
        tensor.shape = vec![1, 143, 64];
        tensor.bytes.truncate(4 * 143 * 64);
        tensors.push(("pos_embed".into(), tensor));
    });
    scene.refuses(&["`pos_embed` has shape [1, 143, 64]"]);

    let scene = Scene::new("flux_dev", "");
    scene.change(|tensors| {
        let mut tensor = without(tensors, "img_in.weight");
        tensor.shape[1] *= 2;
        tensor.bytes.extend(tensor.bytes.clone());
        tensors.push(("img_in.weight".into(), tensor));
    });
    scene.refuses(&["128 input and 64 output channels (Fill, Depth or Canny)"]);

    let scene = Scene::new("sd3_medium", BUNDLED);
    scene.change(|tensors| tensors.push(("proj_out.bias".into(), other_network(Dtype::F32, 4))));
    scene.refuses(&["tensor `proj_out.bias` lies beside those under `model.diffusion_model.`"]);
}

#[test]
fn a_cut_file_is_named() {
    let scene = Scene::new("sd35_large", "");
    let whole = fs::metadata(scene.file()).unwrap().len();
    fs::OpenOptions::new().write(true).open(scene.file()).unwrap().set_len(whole - 10).unwrap();
    scene.refuses(&["model.safetensors: cut off", "download it again"]);
}

#[test]
fn a_model_that_the_original_layout_cannot_describe_is_refused_before_any_work() {
    let scene = Scene::new("sd35_medium", "");
    let args = ["--output-layout=original", "--method=magnitude"];
    // Heads of 16 without the norms that show it.
    let folder = data("pipelines/sd3_medium/pipeline");
    scene.prune(&folder, "out", &args).refused(3, &["4 attention heads", "would find 1", "--output-layout diffusers"]);

    let weights = scene.transformer().join("diffusion_pytorch_model.safetensors");
    let mut tensors = scene.diffusers();
    let query = tensors.get_mut("transformer_blocks.0.attn.to_q.bias").unwrap();
    *query = Stored { shape: query.shape.clone(), ..other_network(Dtype::F16, 64) };
    write(&weights, &metadata(), &tensors.clone().into_iter().collect::<Vec<_>>());
    scene.prune(&scene.transformer(), "out", &args).refused(3, &["dtypes F16 and F32", "to_k.bias"]);

    tensors = Scene::new("sd35_medium", "").diffusers();
    tensors.insert("extra".into(), other_network(Dtype::F32, 4));
    write(&weights, &metadata(), &tensors.into_iter().collect::<Vec<_>>());
    scene.prune(&scene.transformer(), "out", &args).refused(3, &["tensor `extra`, which that layout has no name for"]);
    assert_eq!(names_in(scene.path("").as_path()), ["model.safetensors", "transformer"]);
}

#[test]
fn a_folder_with_several_files_is_no_model() {
    let scene = Scene::new("flux_dev", "");
    let models = scene.path("models");
    fs::create_dir(&models).unwrap();
    fs::copy(scene.file(), models.join("a.safetensors")).unwrap();
    obsdiff(&["inspect", text(&models)]).succeeded();
    fs::copy(scene.file(), models.join("b.safetensors")).unwrap();
    obsdiff(&["inspect", text(&models)]).refused(3, &["one safetensors file in the original layout"]);
    edit(&scene.transformer().join("config.json"), "Flux", "Other");
    obsdiff(&["inspect", text(&scene.transformer())]).refused(3, &["OtherTransformer2DModel"]);
}
