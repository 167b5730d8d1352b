//! CLIP scores and their embeddings.

use obsdiff::metrics::clip::{ClipPictures, clip_score, text_embeddings};
use obsdiff::pictures::Picture;
use serde_json::Value;

use crate::common::{clip_folder, picture};
use crate::support::{assert_close, data, json, rewrite};

fn rows(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn scores_and_embeddings_are_those_of_torchmetrics_and_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip_folder(folder.path());
    let expected = json(&data("metrics/clip.json"));
    let prompts: Vec<String> = serde_json::from_value(expected["prompts"].clone()).unwrap();
    let sizes: Vec<[usize; 2]> = serde_json::from_value(expected["sizes"].clone()).unwrap();
    let texts = text_embeddings(&clip, &prompts).unwrap();
    let mut vision = ClipPictures::open(&clip).unwrap();
    let mut expected_pictures = Vec::new();
    // Five times the same four: more than are embedded together.
    for _ in 0..5 {
        for (index, [height, width]) in sizes.iter().enumerate() {
            let picture: Picture = picture(2 - index as u64 % 2, *width, *height);
            vision.add(&picture).unwrap();
        }
        expected_pictures.extend(rows(&expected["image_embeds"]));
    }
    let pictures = vision.finish().unwrap();
    assert_eq!((texts.len(), pictures.len()), (4, 20));
    for (index, (found, expected)) in texts.iter().zip(rows(&expected["text_embeds"])).enumerate() {
        assert_close(&format!("text {index}"), found, &expected, 1e-5);
    }
    for (index, (found, expected)) in pictures.iter().zip(&expected_pictures).enumerate() {
        assert_close(&format!("picture {index}"), found, expected, 1e-5);
    }
    let scores: Vec<f64> = serde_json::from_value(expected["raw_scores"].clone()).unwrap();
    for ((text, picture), expected) in texts.iter().zip(&pictures).zip(scores) {
        let found = clip_score(text, picture);
        assert!((found - expected).abs() < 1e-3, "{found}, expected {expected}");
    }
}

#[test]
fn folders_that_are_no_clip_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |error: obsdiff::Error, part: &str| {
        assert!(error.to_string().contains(part) && error.exit_code() == 3, "{part}: {error}");
    };
    // A text encoder of a pipeline has no picture encoder.
    let encoder = data("pipelines/sd3_medium/pipeline/text_encoder");
    refused(ClipPictures::open(&encoder).unwrap_err(), "text_encoder");
    refused(ClipPictures::open(&folder.path().join("absent")).unwrap_err(), "absent");
    let clip = clip_folder(folder.path());
    rewrite(&clip.join("model.safetensors"), |tensors| drop(tensors.remove("visual_projection.weight")));
    refused(ClipPictures::open(&clip).unwrap_err(), "visual_projection.weight");
    std::fs::remove_file(clip.join("vocab.json")).unwrap();
    refused(text_embeddings(&clip, &["a cat".into()]).unwrap_err(), "vocab.json");
}
