//! CLIP's picture encoder.

use std::fs;
use std::path::Path;

use obsdiff::checkpoint::{TensorOut, write_safetensors};
use obsdiff::networks::{ClipVision, Rgb};
use serde_json::{Value, json};

use crate::common::{changed, compare, edit, expected, read, refused};
use crate::text::encoder;

/// Width and height of the pictures of the reference data.
const SIZES: [(usize, usize); 8] = [(61, 43), (20, 33), (30, 30), (100, 31), (30, 50), (311, 217), (5, 4), (2, 9)];

fn picture(width: usize, height: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(width * height * 3);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for c in 0..3 {
            let wave = (x * x * 3 + y * y * 5 + x * y * (c + 1) + 60 * c) / 7;
            pixels.push(((wave + 255 * ((x / 5 + y / 3) % 2)) % 256) as u8);
        }
    }
    pixels
}

/// Embeds the pictures of the reference data and compares.
fn check(folder: &Path) {
    let pixels: Vec<_> = SIZES.iter().map(|&(width, height)| (width, height, picture(width, height))).collect();
    let pictures: Vec<_> =
        pixels.iter().map(|(width, height, pixels)| Rgb { width: *width, height: *height, pixels }).collect();
    let found = ClipVision::open(folder).unwrap().embed(&pictures).unwrap();
    compare(&expected("pictures.safetensors"), "clip_vision.embeds", &found);
}

#[test]
fn pictures_of_every_size_match_transformers() {
    check(&encoder("clip_vision"));
}

#[test]
fn a_whole_clip_gives_its_picture_half() {
    let (_root, folder) = changed(&encoder("clip_vision"), |folder| {
        let config = folder.join("config.json");
        let vision: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        fs::write(config, json!({ "model_type": "clip", "vision_config": vision }).to_string()).unwrap();
    });
    check(&folder);
}

#[test]
fn early_forms_of_the_preparation_mean_the_same() {
    let (_root, folder) = changed(&encoder("clip_vision"), |folder| {
        let early = json!({ "feature_extractor_type": "CLIPFeatureExtractor", "size": 30, "crop_size": 30 });
        fs::write(folder.join("preprocessor_config.json"), early.to_string()).unwrap();
    });
    check(&folder);
}

#[test]
fn what_does_not_fit_is_refused() {
    let vision = |change: &dyn Fn(&Path), parts: &[&str]| {
        let (_root, folder) = changed(&encoder("clip_vision"), change);
        refused(ClipVision::open(&folder), 3, parts);
    };
    let edited = |file: &'static str, from: &'static str, to: &'static str| {
        move |folder: &Path| edit(&folder.join(file), from, to)
    };
    let preparation = "preprocessor_config.json";
    vision(&|f| fs::remove_file(f.join(preparation)).unwrap(), &[preparation, "does not exist"]);
    vision(&edited(preparation, "CLIPImageProcessor", "ViTImageProcessor"), &["found ViTImageProcessor"]);
    vision(&edited(preparation, "\"do_normalize\": true", "\"do_normalize\": false"), &["`do_normalize`"]);
    vision(&edited(preparation, "\"resample\": 3", "\"resample\": 2"), &["`resample`", "found 2", "bicubic"]);
    vision(&edited(preparation, "\"height\": 30", "\"height\": 29"), &["29x30", "30x30"]);
    vision(&edited(preparation, "\"shortest_edge\": 30", "\"shortest_edge\": 29"), &["29", "crop 30"]);
    vision(&edited("config.json", "\"patch_size\": 7", "\"patch_size\": 6"), &["patch_embedding", "[24, 3, 7, 7]"]);
    vision(&edited("config.json", "\"patch_size\": 7", "\"patch_size\": 31"), &["`patch_size`", "31"]);
    vision(&edited("config.json", "clip_vision_model", "clip_text_model"), &["found clip_text_model"]);
    let without = |name: &'static str| {
        move |folder: &Path| {
            let path = folder.join("model.safetensors");
            let mut tensors = read(&path);
            tensors.remove(name).unwrap();
            let values: Vec<_> = tensors.iter().map(|(name, array)| (name, &array.shape, array.f32())).collect();
            let out = values.iter().map(|(name, shape, values)| TensorOut::f32(name, shape, values));
            write_safetensors(&path, &out.collect::<Vec<_>>(), &[]).unwrap();
        }
    };
    vision(&without("visual_projection.weight"), &["visual_projection.weight", "is missing"]);
    vision(&without("vision_model.pre_layrnorm.bias"), &["vision_model.pre_layrnorm.bias", "is missing"]);

    let clip = ClipVision::open(&encoder("clip_vision")).unwrap();
    refused(clip.embed(&[]), 1, &["no rows"]);
    refused(clip.embed(&[Rgb { width: 2, height: 2, pixels: &[0; 11] }]), 1, &["2x2", "11"]);
}
