//! The reference pipelines in both layouts.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::{Value, json};

use crate::support::original::{Stored, stored, to_original, write};
use crate::support::{Run, copy_folder, data, edit, obsdiff, text};

/// A pipeline of every architecture.
pub const PIPELINES: [&str; 4] = ["sd3_medium", "sd35_medium", "sd35_large", "flux_dev"];
/// What ComfyUI's files have in front of the names.
pub const BUNDLED: &str = "model.diffusion_model.";

/// One model in both layouts.
pub struct Scene {
    folder: tempfile::TempDir,
    pub name: &'static str,
}

impl Scene {
    /// `transformer`, a diffusers folder, and `model.safetensors`, its original file with `prefix` and, if there is
    /// one, with tensors of other networks.
    pub fn new(name: &'static str, prefix: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scene = Scene { folder, name };
        copy_folder(&data("pipelines").join(name).join("pipeline/transformer"), &scene.transformer());
        if name == "sd3_medium" {
            // Without q and k norms nothing in a file shows the size of a head, which all published models have
            // at 64.
            let config = scene.transformer().join("config.json");
            edit(&config, "\"attention_head_dim\": 16", "\"attention_head_dim\": 64");
            edit(&config, "\"num_attention_heads\": 4", "\"num_attention_heads\": 1");
        }
        let mut tensors = to_original(&scene.diffusers(), prefix);
        if !prefix.is_empty() {
            tensors.insert(1, ("first_stage_model.decoder.conv_in.bias".into(), other_network(Dtype::F16, 12)));
            tensors.push(("text_encoders.t5xxl.transformer.shared.weight".into(), other_network(Dtype::F8_E4M3, 7)));
        }
        write(&scene.file(), &metadata(), &tensors);
        scene
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn transformer(&self) -> PathBuf {
        self.path("transformer")
    }

    pub fn file(&self) -> PathBuf {
        self.path("model.safetensors")
    }

    /// The tensors of the diffusers folder.
    pub fn diffusers(&self) -> std::collections::BTreeMap<String, Stored> {
        stored(&self.transformer().join("diffusion_pytorch_model.safetensors"))
    }

    pub fn conditioning(&self) -> PathBuf {
        data("pipelines").join(self.name).join("conditioning.safetensors")
    }

    /// Prunes a model of this scene in three steps.
    pub fn prune(&self, model: &Path, output: &str, more: &[&str]) -> Run {
        let (conditioning, output) = (self.conditioning(), self.path(output));
        let own = ["prune", text(model), "-o", text(&output), "--calibration", text(&conditioning)];
        let sampling = ["--num-inference-steps=3", "--height=64", "--width=96"];
        obsdiff(&own.iter().chain(&sampling).chain(more).collect::<Vec<_>>())
    }

    /// Changes the tensors of the original file.
    pub fn change(&self, change: impl FnOnce(&mut Vec<(String, Stored)>)) {
        let mut tensors: Vec<_> = stored(&self.file()).into_iter().collect();
        change(&mut tensors);
        write(&self.file(), &metadata(), &tensors);
    }

    /// Checks that pruning the file says why it cannot be used, and that nothing is written.
    #[track_caller]
    pub fn refuses(&self, parts: &[&str]) {
        let run = self.prune(&self.file(), "out", &["--method=magnitude"]);
        run.refused(3, parts);
        assert!(!self.path("out").exists());
    }
}

/// Metadata such as published files have.
pub fn metadata() -> Value {
    json!({
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": "A \"quoted\" title",
        "modelspec.hash_sha256": "0x0123",
    })
}

/// A tensor of some other network.
pub fn other_network(dtype: Dtype, elements: usize) -> Stored {
    let bytes = (0..elements * dtype.bitsize() / 8).map(|i| i as u8).collect();
    Stored { dtype, shape: vec![elements], bytes }
}

/// Every safetensors file in a folder.
pub fn safetensors_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "safetensors")).collect()
}
