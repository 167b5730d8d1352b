//! A diffusers pipeline folder (with `model_index.json`), a transformer folder alone (with `config.json`), or a
//! transformer in one file of the original layout.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::Architecture;
use super::layout::{Layout, OBS_DIFF_KEY};
use super::original::{Source, only_file_in};
use super::shards::Checkpoint;
use super::writer::parent_of;
use crate::error::{Error, Result};

/// File that makes a folder a pipeline.
pub const MODEL_INDEX: &str = "model_index.json";
/// Configuration of a model inside its folder.
pub const CONFIG: &str = "config.json";
/// Component that is pruned.
const TRANSFORMER: &str = "transformer";

/// An opened model; weights are opened by [`Pipeline::weights`].
#[derive(Debug)]
pub struct Pipeline {
    /// The folder or file that was given.
    pub root: PathBuf,
    /// The folder of the transformer: `root/transformer`, or `root` itself; in the original layout its file.
    pub transformer: PathBuf,
    pub layout: Layout,
    /// The transformer's `config.json`, keys in file order, unknown keys included; in the original layout what
    /// diffusers would write.
    pub config: Value,
    pub architecture: Architecture,
    /// `scheduler/scheduler_config.json`.
    pub scheduler: Option<Value>,
    /// `vae/config.json`.
    pub vae: Option<Value>,
    /// `model_index.json`; `None` for a transformer folder alone.
    pub model_index: Option<Value>,
    /// The folders that `model_index.json` names and that are there, other than the transformer's, in file
    /// order.
    pub components: Vec<String>,
}

impl Pipeline {
    /// Opens a model: a diffusers folder, of which the JSON files are read, or a file in the original layout (or a
    /// folder with such a file and no other safetensors), of which the header is read; weights are not touched.
    ///
    /// # Errors
    /// [`Error::Missing`] for an absent folder or configuration, [`Error::Malformed`] for broken JSON or
    /// files that contradict each other, [`Error::Unsupported`] for a model of another class or a quantised
    /// one; for a file those of [`Source::open`].
    pub fn open(model: impl AsRef<Path>) -> Result<Self> {
        let root = model.as_ref().to_path_buf();
        if root.is_file() {
            return Self::open_original(root.clone(), root);
        }
        if !root.is_dir() {
            return Err(Error::Missing { path: root, needed_for: "as the model folder".into() });
        }
        let index_path = root.join(MODEL_INDEX);
        if !index_path.is_file() {
            if !root.join(CONFIG).is_file() {
                if let Some(file) = only_file_in(&root)? {
                    return Self::open_original(root, file);
                }
                return Err(Error::Missing {
                    path: index_path,
                    needed_for: "in a diffusers pipeline folder (or config.json in a transformer folder, or one \
                                 safetensors file in the original layout)"
                        .into(),
                });
            }
            let (config, architecture) = read_config(&root)?;
            return Ok(Pipeline {
                transformer: root.clone(),
                root,
                layout: Layout::Diffusers,
                config,
                architecture,
                scheduler: None,
                vae: None,
                model_index: None,
                components: Vec::new(),
            });
        }

        let model_index = read_json(&index_path, "as the list of the pipeline's parts")?;
        let class = transformer_class(&model_index, &index_path)?;
        let transformer = root.join(TRANSFORMER);
        if !transformer.is_dir() {
            return Err(Error::Missing { path: transformer, needed_for: format!("as {MODEL_INDEX} names it") });
        }
        let (config, architecture) = read_config(&transformer)?;
        if class != architecture.class_name() {
            return Err(Error::malformed(
                &index_path,
                format!("names the transformer a {class}, its {CONFIG} says {}", architecture.class_name()),
            ));
        }
        let optional = |path: PathBuf| if path.is_file() { read_json(&path, "").map(Some) } else { Ok(None) };
        Ok(Pipeline {
            scheduler: optional(root.join("scheduler/scheduler_config.json"))?,
            vae: optional(root.join("vae").join(CONFIG))?,
            components: component_folders(&model_index, &root),
            transformer,
            layout: Layout::Diffusers,
            config,
            architecture,
            model_index: Some(model_index),
            root,
        })
    }

    /// A transformer in one file of the original layout.
    fn open_original(root: PathBuf, file: PathBuf) -> Result<Self> {
        let source = Source::open(&file)?;
        let mut config = source.architecture.to_config();
        let pruned = source.metadata().iter().find(|(key, _)| key == OBS_DIFF_KEY);
        if let Some(entry) = pruned.and_then(|(_, text)| serde_json::from_str::<Value>(text).ok()) {
            config[OBS_DIFF_KEY] = entry;
        }
        let architecture = source.architecture;
        Ok(Pipeline { root, transformer: file, layout: Layout::Original, config, ..Self::published(architecture) })
    }

    /// The scheduler's configuration; for a transformer alone, that of the published models of its kind.
    pub fn scheduler_config(&self) -> Value {
        self.scheduler.clone().unwrap_or_else(|| {
            let dynamic = matches!(&self.architecture, Architecture::Flux(config) if config.guidance_embeds);
            let schnell = matches!(&self.architecture, Architecture::Flux(config) if !config.guidance_embeds);
            let shift = if schnell { 1.0 } else { 3.0 };
            tracing::debug!(model = %self.root.display(), shift, dynamic, "no scheduler beside the transformer: taking the published one");
            json!({
                "_class_name": "FlowMatchEulerDiscreteScheduler",
                "num_train_timesteps": 1000,
                "shift": shift,
                "use_dynamic_shifting": dynamic,
            })
        })
    }

    /// The VAE's configuration; for a transformer alone, what the published models have of it: a scale factor
    /// of 8 and as many latent channels as the transformer takes.
    pub fn vae_config(&self) -> Value {
        self.vae.clone().unwrap_or_else(|| {
            let channels = match &self.architecture {
                Architecture::Sd3(config) => config.in_channels,
                Architecture::Flux(config) => config.in_channels / 4,
            };
            json!({ "block_out_channels": [128, 256, 512, 512], "latent_channels": channels })
        })
    }

    /// A model that is known by its configuration alone; there are no files behind it.
    pub fn published(architecture: Architecture) -> Self {
        Pipeline {
            root: PathBuf::new(),
            transformer: PathBuf::new(),
            layout: Layout::Diffusers,
            config: Value::Null,
            architecture,
            scheduler: None,
            vae: None,
            model_index: None,
            components: Vec::new(),
        }
    }

    /// Opens the weights and checks them against the configuration.
    ///
    /// # Errors
    /// Those of [`Pipeline::unchecked_weights`] and [`Checkpoint::check`].
    pub fn weights(&self) -> Result<Checkpoint> {
        let checkpoint = self.unchecked_weights()?;
        checkpoint.check(&self.architecture)?;
        Ok(checkpoint)
    }

    /// Opens the weights.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`] or, in the original layout, of [`Source::open`].
    pub fn unchecked_weights(&self) -> Result<Checkpoint> {
        match self.layout {
            Layout::Diffusers => Checkpoint::open(&self.transformer),
            Layout::Original => Source::open(&self.transformer)?.into_checkpoint(),
        }
    }

    /// The folder of the model: `root`, or the one that a file lies in.
    pub fn folder(&self) -> &Path {
        if self.root.is_file() { parent_of(&self.root) } else { &self.root }
    }

    /// Where the transformer of a diffusers copy of this model at `root` lies.
    pub fn transformer_in(&self, root: &Path) -> PathBuf {
        if self.model_index.is_some() { root.join(TRANSFORMER) } else { root.to_path_buf() }
    }
}

/// Reads a JSON file that must hold an object; key order is kept.
///
/// # Errors
/// [`Error::Missing`] (with `needed_for`), [`Error::Io`], [`Error::Malformed`].
pub fn read_json(path: &Path, needed_for: &str) -> Result<Value> {
    let text = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { path: path.to_path_buf(), needed_for: needed_for.into() },
        _ => Error::io(path, e),
    })?;
    let value: Value =
        serde_json::from_slice(&text).map_err(|e| Error::malformed(path, format!("not valid JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(Error::malformed(path, "expected a JSON object")) }
}

fn read_config(transformer: &Path) -> Result<(Value, Architecture)> {
    let path = transformer.join(CONFIG);
    let config = read_json(&path, "as the transformer's configuration")?;
    for key in ["quantization_config", "sparsity_config"] {
        if config.get(key).is_some_and(|value| !value.is_null()) {
            return Err(Error::Unsupported {
                what: format!("`{key}` in {}", path.display()),
                found: "compressed weights".into(),
                supported: "plain F32, F16 or BF16 checkpoints".into(),
            });
        }
    }
    let architecture = Architecture::from_config(&config, &path)?;
    Ok((config, architecture))
}

/// The class that `model_index.json` gives for the transformer.
fn transformer_class<'a>(model_index: &'a Value, path: &Path) -> Result<&'a str> {
    let class = model_index.get(TRANSFORMER).and_then(|entry| entry.get(1)).and_then(Value::as_str);
    match class {
        Some(class @ ("SD3Transformer2DModel" | "FluxTransformer2DModel")) => Ok(class),
        _ => {
            let pipeline = model_index.get("_class_name").and_then(Value::as_str).unwrap_or("a pipeline of no class");
            Err(Error::Unsupported {
                what: format!("transformer of {pipeline} in {}", path.display()),
                found: class.unwrap_or("none").to_string(),
                supported: "SD3Transformer2DModel, FluxTransformer2DModel".into(),
            })
        }
    }
}

/// Keys of `model_index.json` that stand for folders which exist: plain names with a [library, class] pair.
fn component_folders(model_index: &Value, root: &Path) -> Vec<String> {
    let plain = |name: &str| !name.starts_with(['_', '.']) && !name.contains(['/', '\\']);
    model_index
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, entry)| entry.is_array() && plain(name) && *name != TRANSFORMER && root.join(name).is_dir())
        .map(|(name, _)| name.clone())
        .collect()
}
