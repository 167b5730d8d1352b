//! What was encoded once is not encoded again, and nothing stale is used.

use std::fs;
use std::path::Path;

use super::common::write_prompts;
use crate::support::{Run, copy_folder, files_below, models, obsdiff_with, rewrite, text};

/// The digits model and its prompts, in a folder of their own, with a cache in it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&models("sd3_digits/pipeline"), &folder.path().join("model"));
        Scene { folder }
    }

    /// Samples one step of `prompts`.
    fn sample(&self, prompts: &[&str], more: &[&str]) -> Run {
        let file = write_prompts(self.folder.path(), prompts);
        let (model, output) = (self.folder.path().join("model"), self.folder.path().join("out"));
        let own = ["sample", text(&model), "--prompts", text(&file), "-o", text(&output), "--overwrite"];
        let steps = ["--num-inference-steps=1", "--guidance-scale=2"];
        obsdiff_with(&[&own[..], &steps, more].concat(), |command| {
            command.env("OBSDIFF_CACHE", self.cache());
        })
        .succeeded()
    }

    fn cache(&self) -> std::path::PathBuf {
        self.folder.path().join("cache")
    }

    fn latents(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("out/latents.safetensors")).unwrap()
    }
}

/// Checks that a run encoded so many texts.
#[track_caller]
fn assert_encoded(run: &Run, texts: usize) {
    let sentence = match texts {
        0 => "were kept from an earlier run".to_string(),
        texts => format!("encoding {texts} texts"),
    };
    assert!(run.stderr.contains(&sentence), "`{sentence}` is not in: {}", run.stderr);
    assert_eq!(run.stderr.contains("encoding"), texts > 0, "{}", run.stderr);
}

#[test]
fn only_new_prompts_are_encoded() {
    let scene = Scene::new();
    let prompts = ["the digit one", "the digit two", "the digit one"];
    // Two different prompts and the empty negative one.
    assert_encoded(&scene.sample(&prompts, &[]), 3);
    let latents = scene.latents();
    assert_encoded(&scene.sample(&prompts, &[]), 0);
    assert_eq!(scene.latents(), latents);
    assert_encoded(&scene.sample(&["the digit two", "the digit three"], &[]), 1);
    assert_encoded(&scene.sample(&prompts, &["--negative-prompt=a cat"]), 1);
    assert_encoded(&scene.sample(&prompts, &["--embeddings-cache=none"]), 3);
    assert_eq!(scene.latents(), latents);
    let other = scene.folder.path().join("other");
    assert_encoded(&scene.sample(&prompts, &["--embeddings-cache", text(&other)]), 3);
    assert_eq!(files_below(&other).keys().filter(|path| path.extension().unwrap() == "safetensors").count(), 3);
}

#[test]
fn a_changed_encoder_or_tokenizer_encodes_again_and_a_moved_one_does_not() {
    let scene = Scene::new();
    let prompts = ["the digit one"];
    assert_encoded(&scene.sample(&prompts, &[]), 2);
    let latents = scene.latents();

    let model = scene.folder.path().join("model");
    copy_folder(&model, &scene.folder.path().join("copy"));
    fs::rename(&model, scene.folder.path().join("old")).unwrap();
    fs::rename(scene.folder.path().join("copy"), &model).unwrap();
    assert_encoded(&scene.sample(&prompts, &[]), 0);

    rewrite(&model.join("text_encoder_2/model.safetensors"), |all| {
        let bias = all.get_mut("text_model.final_layer_norm.bias").unwrap();
        bias.as_mut_slice().unwrap()[0] += 1.0;
    });
    assert_encoded(&scene.sample(&prompts, &[]), 2);
    assert_ne!(scene.latents(), latents);

    let config = model.join("tokenizer/tokenizer_config.json");
    fs::write(&config, fs::read_to_string(&config).unwrap() + "\n").unwrap();
    assert_encoded(&scene.sample(&prompts, &[]), 2);
}

#[test]
fn a_damaged_entry_is_told_and_made_anew() {
    let scene = Scene::new();
    let prompts = ["the digit one"];
    scene.sample(&prompts, &[]);
    let latents = scene.latents();
    let entries = files_below(&scene.cache());
    let entries: Vec<_> = entries.keys().filter(|path| path.extension().unwrap() == "safetensors").collect();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let path = scene.cache().join(entry);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 0x40;
        fs::write(&path, bytes).unwrap();
    }
    let run = scene.sample(&prompts, &[]);
    assert!(run.stderr.contains("is damaged and is made anew"), "{}", run.stderr);
    assert_encoded(&run, 2);
    assert_eq!(scene.latents(), latents);
    assert_encoded(&scene.sample(&prompts, &[]), 0);
}

#[test]
fn a_cache_that_cannot_be_made_is_refused() {
    let scene = Scene::new();
    let file = scene.folder.path().join("occupied");
    fs::write(&file, "").unwrap();
    let prompts = write_prompts(scene.folder.path(), &["the digit one"]);
    let (model, output) = (scene.folder.path().join("model"), scene.folder.path().join("out"));
    let arguments = ["sample", text(&model), "--prompts", text(&prompts), "-o", text(&output)];
    let cache = ["--embeddings-cache", text(&file)];
    crate::support::obsdiff(&[&arguments[..], &cache].concat()).refused(3, &["occupied"]);
    assert!(!Path::new(&output).exists());
}
