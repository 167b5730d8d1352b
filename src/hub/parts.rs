//! Which files of a repository a job needs: never another format, precision variant or single-file checkpoint of
//! weights that are there as safetensors, and no pictures.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::pipeline::{CONFIG, MODEL_INDEX};
use crate::checkpoint::save::{REPORT_FILE, is_licence};
use crate::checkpoint::shards::SINGLE_FILE;
use crate::error::{Error, Result};

/// A part of a pipeline beyond `model_index.json` and the transformer's configuration, which every job reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The transformer's weights.
    Transformer,
    /// What a trajectory follows: the configurations of scheduler and VAE.
    Trajectory,
    /// The VAE's weights.
    Vae,
    /// Text encoders and tokenizers.
    Text,
    /// All that a copy needs to load in diffusers: the parts above, whatever else `model_index.json` names, licences.
    Everything,
    /// `obsdiff.json`, if it is there.
    Report,
}

/// The weights of a transformers model when they are one file.
const ENCODER_FILE: &str = "model.safetensors";
const TRANSFORMER: &str = "transformer";
/// One of these makes a tokenizer.
const TOKENIZERS: [&str; 3] = ["tokenizer.json", "vocab.json", "spiece.model"];
/// Endings of weights (in any format), of programs for other machines and of pictures.
const NOT_WANTED: [&str; 23] = [
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".gguf",
    ".msgpack",
    ".h5",
    ".onnx",
    ".onnx_data",
    ".pb",
    ".xml",
    ".tflite",
    ".pkl",
    ".zip",
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".gif",
    ".svg",
    ".mp4",
    ".md",
];

/// The files of a repository at one commit, known by name.
pub(super) trait Files {
    /// Every file, as `folder/name`.
    fn names(&self) -> &BTreeSet<String>;
    /// True if [`names`](Self::names) is all that was published, false if it is what happens to be in the cache.
    fn are_all(&self) -> bool;
    /// Reads a JSON file of [`names`](Self::names).
    fn read(&self, file: &str) -> Result<Value>;
    /// The error that `file` (or what it says) is needed and not there.
    fn absent(&self, file: &str) -> Error;
}

/// The files that `parts` need, sorted.
///
/// # Errors
/// Those of [`Files::read`], [`Files::absent`], and [`Error::Malformed`] for an index of weights that is none.
pub(super) fn select(files: &impl Files, parts: &[Part]) -> Result<Vec<String>> {
    let mut selection = Selection { files, wanted: BTreeSet::new() };
    let everything = parts.contains(&Part::Everything);
    let wants = |part| everything || parts.contains(&part);
    if parts.contains(&Part::Report) {
        selection.take_if_there(REPORT_FILE);
    }
    if everything {
        let licences = files.names().iter().filter(|name| !name.contains('/') && is_licence(name));
        selection.wanted.extend(licences.cloned());
    }
    if !selection.has(MODEL_INDEX) && selection.has(CONFIG) {
        selection.take(CONFIG)?;
        if wants(Part::Transformer) {
            selection.weights("", SINGLE_FILE)?;
        }
        return Ok(selection.sorted());
    }

    selection.take(MODEL_INDEX)?;
    let index = files.read(MODEL_INDEX)?;
    selection.take("transformer/config.json")?;
    if wants(Part::Transformer) {
        selection.weights("transformer/", SINGLE_FILE)?;
    }
    for component in components(&index) {
        let folder = format!("{component}/");
        let is_text = component.starts_with("text_encoder") || component.starts_with("tokenizer");
        let wanted = match component {
            TRANSFORMER => {
                if everything {
                    selection.side_files(&folder);
                }
                continue;
            }
            "scheduler" | "vae" if wants(Part::Trajectory) => {
                let config = if component == "vae" { CONFIG } else { "scheduler_config.json" };
                selection.take_published(&format!("{folder}{config}"))?;
                everything || (component == "vae" && wants(Part::Vae))
            }
            "vae" => wants(Part::Vae),
            _ if is_text => wants(Part::Text),
            _ => everything,
        };
        if !wanted || !selection.is_published(&folder)? {
            continue;
        }
        selection.side_files(&folder);
        match component {
            "vae" => selection.weights(&folder, SINGLE_FILE)?,
            _ if component.starts_with("text_encoder") => selection.weights(&folder, ENCODER_FILE)?,
            _ if component.starts_with("tokenizer") => selection.tokenizer(&folder)?,
            _ => selection.any_weights(&folder)?,
        }
    }
    Ok(selection.sorted())
}

/// The folders that `model_index.json` names: plain names with a library and a class.
fn components(index: &Value) -> impl Iterator<Item = &str> {
    let plain = |name: &str| !name.starts_with(['_', '.']) && is_plain(name);
    let entries = index.as_object().into_iter().flatten();
    let named = entries.filter(move |(name, entry)| plain(name) && entry.get(1).is_some_and(Value::is_string));
    named.map(|(name, _)| name.as_str())
}

/// True for the name of a file or folder without any path.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains(['/', '\\'])
}

/// True for a path that stays inside the folder that it is joined to.
pub(super) fn stays_inside(file: &str) -> bool {
    !file.is_empty() && file.split('/').all(|part| is_plain(part) && part != "..")
}

struct Selection<'a, F> {
    files: &'a F,
    wanted: BTreeSet<String>,
}

impl<F: Files> Selection<'_, F> {
    fn has(&self, file: &str) -> bool {
        self.files.names().contains(file)
    }

    fn take(&mut self, file: &str) -> Result<()> {
        if !self.has(file) {
            return Err(self.files.absent(file));
        }
        self.wanted.insert(file.to_string());
        Ok(())
    }

    fn take_if_there(&mut self, file: &str) {
        if self.has(file) {
            self.wanted.insert(file.to_string());
        }
    }

    /// Takes a file that a repository may lack, but not a cache.
    fn take_published(&mut self, file: &str) -> Result<()> {
        if self.files.are_all() && !self.has(file) { Ok(()) } else { self.take(file) }
    }

    fn below(&self, folder: &str) -> impl Iterator<Item = &str> {
        let from = self.files.names().range(folder.to_string()..);
        let folder = folder.to_string();
        from.take_while(move |name| name.starts_with(&folder)).map(String::as_str)
    }

    /// Whether a component that `model_index.json` names was published with the rest; one that only the cache lacks is an
    /// error.
    fn is_published(&self, folder: &str) -> Result<bool> {
        match self.below(folder).next() {
            Some(_) => Ok(true),
            None if self.files.are_all() => Ok(false),
            None => Err(self.files.absent(folder.trim_end_matches('/'))),
        }
    }

    /// Everything in a folder but weights, indexes of weights, pictures and hidden files.
    fn side_files(&mut self, folder: &str) {
        let hidden = |name: &str| name.split('/').any(|part| part.starts_with('.'));
        let index = |name: &str| name.ends_with(".json") && name.contains(".index.");
        let wanted = |name: &&str| !NOT_WANTED.iter().any(|end| name.ends_with(end)) && !hidden(name) && !index(name);
        let names: Vec<String> = self.below(folder).filter(wanted).map(String::from).collect();
        self.wanted.extend(names);
    }

    /// The index and its shards, or the single file, and the configuration.
    fn weights(&mut self, folder: &str, single: &str) -> Result<()> {
        self.take(&format!("{folder}{CONFIG}"))?;
        let index = format!("{folder}{single}.index.json");
        if !self.has(&index) {
            return self.take(&format!("{folder}{single}"));
        }
        for shard in shards(&self.files.read(&index)?, &index)? {
            self.take(&format!("{folder}{shard}"))?;
        }
        self.wanted.insert(index);
        Ok(())
    }

    fn tokenizer(&mut self, folder: &str) -> Result<()> {
        if TOKENIZERS.iter().any(|file| self.has(&format!("{folder}{file}"))) {
            return Ok(());
        }
        Err(self.files.absent(&format!("{folder}tokenizer.json (or vocab.json, or spiece.model)")))
    }

    /// The weights of a component that is only copied: safetensors if there are any, else PyTorch's, or none.
    fn any_weights(&mut self, folder: &str) -> Result<()> {
        for single in [SINGLE_FILE, ENCODER_FILE] {
            if [format!("{folder}{single}"), format!("{folder}{single}.index.json")].iter().any(|file| self.has(file)) {
                return self.weights(folder, single);
            }
        }
        for single in ["diffusion_pytorch_model.bin", "pytorch_model.bin"] {
            self.take_if_there(&format!("{folder}{single}"));
        }
        Ok(())
    }

    fn sorted(self) -> Vec<String> {
        self.wanted.into_iter().collect()
    }
}

/// The files that an index of weights names.
fn shards(index: &Value, file: &str) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::HashMap<String, String>,
    }
    let index =
        Index::deserialize(index).map_err(|e| Error::malformed(file, format!("not a valid weights index: {e}")))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names.iter().find(|name| !is_plain(name)) {
        Some(name) => Err(Error::malformed(
            file,
            format!("shard `{name}` is not a plain file name; shards must lie beside the index"),
        )),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A repository as it is published, with everything that people put there.
    struct Published {
        names: BTreeSet<String>,
        cached: bool,
    }

    impl Files for Published {
        fn names(&self) -> &BTreeSet<String> {
            &self.names
        }

        fn are_all(&self) -> bool {
            !self.cached
        }

        fn read(&self, file: &str) -> Result<Value> {
            Ok(match file {
                MODEL_INDEX => json!({
                    "_class_name": "StableDiffusion3Pipeline",
                    "feature_extractor": ["transformers", "CLIPImageProcessor"],
                    "image_encoder": [null, null],
                    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
                    "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
                    "text_encoder_3": ["transformers", "T5EncoderModel"],
                    "tokenizer": ["transformers", "CLIPTokenizer"],
                    "tokenizer_3": ["transformers", "T5TokenizerFast"],
                    "transformer": ["diffusers", "SD3Transformer2DModel"],
                    "vae": ["diffusers", "AutoencoderKL"],
                }),
                _ => json!({ "weight_map": {
                    "a": file.rsplit('/').next().unwrap().replace(".safetensors.index.json", "-00001-of-00002.safetensors"),
                    "b": file.rsplit('/').next().unwrap().replace(".safetensors.index.json", "-00002-of-00002.safetensors"),
                }}),
            })
        }

        fn absent(&self, file: &str) -> Error {
            Error::Usage(format!("absent: {file}"))
        }
    }

    const NEEDED: [&str; 26] = [
        "LICENSE.md",
        "model_index.json",
        "feature_extractor/preprocessor_config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder_3/config.json",
        "text_encoder_3/model-00001-of-00002.safetensors",
        "text_encoder_3/model-00002-of-00002.safetensors",
        "text_encoder_3/model.safetensors.index.json",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "tokenizer_3/special_tokens_map.json",
        "tokenizer_3/spiece.model",
        "tokenizer_3/tokenizer.json",
        "tokenizer_3/tokenizer_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "transformer/notes.txt",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "obsdiff.json",
    ];
    const NOT_NEEDED: [&str; 17] = [
        ".gitattributes",
        "README.md",
        "mmdit.png",
        "sd3.5_large.safetensors",
        "SD3.5L_example_workflow.json",
        "text_encoders/clip_g.safetensors",
        "text_encoders/t5xxl_fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/pytorch_model.bin",
        "text_encoder/flax_model.msgpack",
        "text_encoder/model.onnx",
        "text_encoder_3/model.fp16-00001-of-00002.safetensors",
        "text_encoder_3/model.safetensors.index.fp16.json",
        "transformer/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "image_encoder/model.safetensors",
        "vae/sample.jpg",
    ];

    fn published() -> Published {
        Published { names: NEEDED.iter().chain(&NOT_NEEDED).map(ToString::to_string).collect(), cached: false }
    }

    #[test]
    fn a_copy_takes_what_loads_and_nothing_else() {
        let mut needed = NEEDED.to_vec();
        needed.sort_unstable();
        assert_eq!(select(&published(), &[Part::Everything, Part::Report]).unwrap(), needed);
    }

    #[test]
    fn every_part_takes_its_own_files() {
        let always = ["model_index.json", "transformer/config.json"];
        assert_eq!(select(&published(), &[]).unwrap(), always);
        let check = |part, folders: &[&str], more: usize| {
            let taken = select(&published(), &[part]).unwrap();
            assert_eq!(taken.len(), always.len() + more, "{taken:?}");
            let own = taken.iter().filter(|name| !always.contains(&name.as_str()));
            assert!(own.clone().all(|name| folders.iter().any(|folder| name.starts_with(folder))), "{taken:?}");
        };
        check(Part::Transformer, &["transformer/"], 3);
        check(Part::Trajectory, &["scheduler/scheduler_config.json", "vae/config.json"], 2);
        check(Part::Vae, &["vae/"], 2);
        check(Part::Text, &["text_encoder/", "text_encoder_3/", "tokenizer/", "tokenizer_3/"], 14);
        check(Part::Report, &["obsdiff.json"], 1);
    }

    #[test]
    fn what_a_part_cannot_do_without_is_named() {
        let lacks = |gone: &str, part| {
            let mut files = published();
            files.names.retain(|name| !name.starts_with(gone));
            select(&files, &[part]).unwrap_err().to_string()
        };
        assert!(lacks("model_index.json", Part::Vae).contains("absent: model_index.json"));
        assert!(lacks("transformer/config", Part::Vae).contains("absent: transformer/config.json"));
        let shard = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors";
        assert!(lacks(shard, Part::Transformer).contains(shard));
        assert!(
            lacks("transformer/diff", Part::Transformer).contains("transformer/diffusion_pytorch_model.safetensors")
        );
        assert!(lacks("tokenizer/vocab", Part::Text).contains("tokenizer/tokenizer.json (or vocab.json"));
        assert!(lacks("text_encoder/model.safetensors", Part::Text).contains("text_encoder/model.safetensors"));
    }

    #[test]
    fn a_component_may_be_unpublished_but_not_uncached() {
        for folder in ["text_encoder_3", "feature_extractor", "scheduler", "vae"] {
            let mut files = published();
            files.names.retain(|name| !name.starts_with(&format!("{folder}/")));
            assert!(select(&files, &[Part::Everything]).unwrap().len() < NEEDED.len(), "{folder}");
            files.cached = true;
            let error = select(&files, &[Part::Everything]).unwrap_err().to_string();
            assert!(error.contains(&format!("absent: {folder}")), "{error}");
        }
    }

    #[test]
    fn a_transformer_alone_lies_at_the_root() {
        let names = ["config.json", SINGLE_FILE, "README.md", "diffusion_pytorch_model.fp16.safetensors"];
        let files = Published { names: names.map(String::from).into(), cached: false };
        assert_eq!(select(&files, &[Part::Everything]).unwrap(), ["config.json", SINGLE_FILE]);
        assert_eq!(select(&files, &[]).unwrap(), ["config.json"]);
    }

    #[test]
    fn names_that_leave_the_folder_are_seen() {
        for file in ["../x", "a/../b", "/x", "a//b", "", "a/.", "..", "a\\b"] {
            assert!(!stays_inside(file), "{file}");
        }
        assert!(stays_inside("text_encoder/model.safetensors"));
        let index = json!({ "weight_map": { "a": "../../x.safetensors" } });
        assert!(shards(&index, "index").unwrap_err().to_string().contains("not a plain file name"));
    }
}
