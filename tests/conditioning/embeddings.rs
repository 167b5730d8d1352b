//! Embeddings against diffusers.

use obsdiff::conditioning::{Conditioning, PromptSource};
use obsdiff::ops::Tensor;

use super::common::{PIPELINES, encode, prompts, reference, write_prompts};
use crate::support::{data, models, relative_maximum, tensors};

/// Of the largest value.
const BOUND: f32 = 1e-5;

fn assert_near(what: &str, found: &Tensor, expected: &Tensor) {
    let error = relative_maximum(found, expected);
    println!("{what}: off by {error:e}");
    assert!(error <= BOUND, "{what}: off by {error:e}");
}

/// Compares with the tensors of a conditioning file; of negative prompts as many rows as it has.
fn assert_equal(name: &str, found: &Conditioning, file: &std::path::Path) {
    let expected = tensors(file);
    assert_near(&format!("{name} prompt_embeds"), &found.prompt_embeds, &expected["prompt_embeds"]);
    assert_near(&format!("{name} pooled"), &found.pooled_prompt_embeds, &expected["pooled_prompt_embeds"]);
    let Some(embeds) = expected.get("negative_prompt_embeds") else {
        assert!(found.negative().is_err());
        return;
    };
    let (negative, rows) = (found.negative().unwrap(), embeds.dims()[0]);
    assert_near(&format!("{name} negative"), &negative.prompt_embeds.narrow(0, 0, rows).unwrap(), embeds);
    let pooled = negative.pooled_prompt_embeds.narrow(0, 0, rows).unwrap();
    assert_near(&format!("{name} negative pooled"), &pooled, &expected["negative_pooled_prompt_embeds"]);
}

#[test]
fn embeddings_of_every_pipeline_are_those_of_diffusers() {
    for name in PIPELINES {
        let (folder, info) = reference(name);
        let scratch = tempfile::tempdir().unwrap();
        let file = write_prompts(scratch.path(), &prompts(&info));
        let source = PromptSource { max_sequence_length: Some(16), ..PromptSource::new(file) };
        let found = encode(&folder.join("pipeline"), source, name != "flux_dev");
        assert_eq!(found.prompts.as_ref(), Some(&prompts(&info)));
        assert_equal(name, &found, &folder.join("conditioning.safetensors"));
    }
}

#[test]
fn the_digits_prompts_give_the_calibration_embeddings_without_t5() {
    let source = PromptSource::new(models("sd3_digits/prompts.txt"));
    let found = encode(&models("sd3_digits/pipeline"), source, true);
    assert_equal("sd3_digits", &found, &models("sd3_digits/calibration.safetensors"));
}

#[test]
fn skipped_layers_cut_texts_and_a_negative_prompt_are_those_of_diffusers() {
    let source = PromptSource {
        negative_prompt: Some("blurry photo of a dog".into()),
        max_sequence_length: Some(10),
        clip_skip: Some(1),
        ..PromptSource::new(data("tokenizers/prompts.txt"))
    };
    let found = encode(&data("pipelines/sd3_medium/pipeline"), source, true);
    assert_equal("sd3_medium, clip skip 1", &found, &data("tokenizers/sd3_medium_clip_skip_1.safetensors"));
    let negative = found.negative().unwrap();
    assert_eq!(
        negative.prompt_embeds.narrow(0, 0, 1).unwrap().to_vec().unwrap(),
        negative.prompt_embeds.narrow(0, 1, 1).unwrap().to_vec().unwrap()
    );
}

#[test]
fn sequence_lengths_default_to_those_of_the_published_models() {
    let scratch = tempfile::tempdir().unwrap();
    let file = write_prompts(scratch.path(), &["a cat"]);
    for (name, tokens) in [("sd3_medium", 77 + 256), ("flux_dev", 512)] {
        let model = reference(name).0.join("pipeline");
        assert_eq!(encode(&model, PromptSource::new(&file), false).tokens(), tokens, "{name}");
    }
}

#[test]
fn a_choice_of_prompts_has_the_rows_of_all_of_them() {
    let model = models("sd3_digits/pipeline");
    let all = encode(&model, PromptSource::new(models("sd3_digits/prompts.txt")), false);
    let source = PromptSource { num_samples: Some(7), seed: 3, ..PromptSource::new(models("sd3_digits/prompts.txt")) };
    let some = encode(&model, source, false);
    let (all_texts, texts) = (all.prompts.as_ref().unwrap(), some.prompts.as_ref().unwrap());
    assert_eq!((some.rows(), texts.len()), (7, 7));
    for (row, text) in texts.iter().enumerate() {
        let same = all_texts.iter().position(|other| other == text).unwrap();
        let (found, expected) = (some.prompt_embeds.narrow(0, row, 1), all.prompt_embeds.narrow(0, same, 1));
        assert_eq!(found.unwrap().to_vec().unwrap(), expected.unwrap().to_vec().unwrap());
    }
}
