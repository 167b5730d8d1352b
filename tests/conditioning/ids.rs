//! Token ids against transformers.

use std::fs;
use std::path::{Path, PathBuf};

use obsdiff::conditioning::tokenizer::{ClipTokenizer, T5Tokenizer};
use serde_json::{Value, json};

use super::common::{PIPELINES, prompts, reference};
use crate::support::{copy_folder, data, json as read_json, read};

/// Checks the ids of every recorded prompt against the rows `name` of `ids.json`.
fn check(name: &str, encode: impl Fn(&str, usize) -> Vec<u32>) {
    let all = read_json(&data("tokenizers/ids.json"));
    let (prompts, rows) = (all["prompts"].as_array().unwrap(), all[name].as_array().unwrap());
    assert!(prompts.len() >= 25 && prompts.len() == rows.len());
    let mut wrong = Vec::new();
    for (prompt, row) in prompts.iter().zip(rows) {
        let expected: Vec<u32> = row.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let found = encode(prompt.as_str().unwrap(), expected.len());
        if found != expected {
            wrong.push(format!("{prompt}\nfound    {found:?}\nexpected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{name}: {} of {} differ\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

fn tokenizer(folder: &str) -> PathBuf {
    data("pipelines/sd3_medium/pipeline").join(folder)
}

#[test]
fn ids_of_every_pipeline_are_those_of_diffusers() {
    for name in PIPELINES {
        let (folder, info) = reference(name);
        let expected = read(folder.join("expected.safetensors"));
        let mut compared = 0;
        for (key, array) in expected.iter().filter(|(key, _)| key.starts_with("input_ids.")) {
            let (path, length) = (folder.join("pipeline").join(&key["input_ids.".len()..]), array.shape[1]);
            let clip = path.join("vocab.json").is_file().then(|| ClipTokenizer::open(&path).unwrap());
            let encode = |text: &String| match &clip {
                Some(tokenizer) => tokenizer.encode(text, length).unwrap(),
                None => T5Tokenizer::open(&path).unwrap().encode(text, length).unwrap(),
            };
            let ids: Vec<f64> = prompts(&info).iter().flat_map(|text| encode(text).ids).map(f64::from).collect();
            assert_eq!(ids, array.values, "{name} {key}");
            compared += 1;
        }
        assert_eq!(compared, if name == "flux_dev" { 2 } else { 3 }, "{name}");
    }
}

#[test]
fn clip_ids_of_difficult_texts_are_those_of_transformers() {
    for (name, folder) in [("clip_l", "tokenizer"), ("clip_g", "tokenizer_2")] {
        let tokenizer = ClipTokenizer::open(&tokenizer(folder)).unwrap();
        assert_eq!(tokenizer.max_length(), 77);
        check(name, |text, length| tokenizer.encode(text, length).unwrap().ids);
    }
}

#[test]
fn a_clip_tokenizer_that_is_only_tokenizer_json_is_that_of_the_fast_class() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(data("tokenizers/clip.tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let tokenizer = ClipTokenizer::open(folder.path()).unwrap();
    check("clip_fast", |text, length| tokenizer.encode(text, length).unwrap().ids);
}

/// The T5 tokenizer folder of the pipelines with keys of its configuration set (null removes) and files removed.
fn variant(folder: &Path, keys: Value, without: &[&str]) -> T5Tokenizer {
    copy_folder(&tokenizer("tokenizer_3"), folder);
    let path = folder.join("tokenizer_config.json");
    let mut config = read_json(&path);
    for (key, value) in keys.as_object().unwrap() {
        match value {
            Value::Null => drop(config.as_object_mut().unwrap().remove(key)),
            value => config[key] = value.clone(),
        }
    }
    fs::write(&path, config.to_string()).unwrap();
    without.iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
    T5Tokenizer::open(folder).unwrap()
}

#[test]
fn t5_ids_are_those_of_transformers_from_either_file_and_with_every_setting() {
    let bare = json!({
        "added_tokens_decoder": null, "extra_ids": null, "additional_special_tokens": null, "add_prefix_space": null,
        "legacy": null,
    });
    let variants: [(&str, Value, &[&str]); 6] = [
        ("t5_json", json!({ "add_prefix_space": null }), &[]),
        ("t5_json", json!({}), &["spiece.model"]),
        ("t5_spiece", json!({}), &["tokenizer.json"]),
        ("t5_spiece_new", json!({ "legacy": false }), &["tokenizer.json"]),
        ("t5_spiece_no_prefix", json!({ "add_prefix_space": false }), &["tokenizer.json"]),
        ("t5_spiece_bare", bare, &["tokenizer.json"]),
    ];
    for (name, keys, without) in variants {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = variant(&folder.path().join("tokenizer"), keys, without);
        check(name, |text, length| tokenizer.encode(text, length).unwrap().ids);
    }
}

#[test]
fn the_replacements_and_symbols_of_a_sentencepiece_model_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer");
    drop(variant(&path, json!({ "added_tokens_decoder": null, "extra_ids": 5 }), &["tokenizer.json"]));
    fs::copy(data("tokenizers/charsmap.spiece.model"), path.join("spiece.model")).unwrap();
    let tokenizer = T5Tokenizer::open(&path).unwrap();
    check("t5_charsmap", |text, length| tokenizer.encode(text, length).unwrap().ids);
}

#[test]
fn what_does_not_fit_is_told_and_the_end_stays() {
    let clip = ClipTokenizer::open(&tokenizer("tokenizer")).unwrap();
    let whole = clip.encode("a cat and a Dog", 8).unwrap();
    assert_eq!(whole.cut, None);
    let cut = clip.encode("a cat and a Dog", 5).unwrap();
    assert_eq!(cut.cut.as_deref(), Some("a dog"));
    assert_eq!((&cut.ids[..4], cut.ids[4]), (&whole.ids[..4], whole.ids[6]));
    let t5 = T5Tokenizer::open(&tokenizer("tokenizer_3")).unwrap();
    let whole = t5.encode("a cat", 40).unwrap();
    let end = whole.ids.iter().position(|&id| id == 1).unwrap();
    assert_eq!(t5.encode("a cat", end + 1).unwrap(), t5.encode("a cat ", end + 1).unwrap());
    let cut = t5.encode("a cat", end).unwrap();
    assert_eq!((cut.ids.len(), cut.ids.last(), cut.cut.is_some()), (end, Some(&1), true));
}
