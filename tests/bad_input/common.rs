//! A prune in a folder of its own, with something spoiled.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Run, copy_folder, data, files_below, names_in, obsdiff, text};

/// A folder with a model, embeddings that go with it, and room for the output.
pub struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// Copies the transformer of SD3-medium, `model`, and its embeddings, `calibration.safetensors`.
    pub fn new() -> Self {
        Scene::of(&data("pipelines/sd3_medium/pipeline/transformer"), "sd3_medium")
    }

    /// The same with the bf16 checkpoint in four shards.
    pub fn sharded() -> Self {
        Scene::of(&data("pipelines/sd35_medium_sharded_bf16"), "sd35_medium")
    }

    fn of(model: &Path, conditioning: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(model, &folder.path().join("model"));
        let calibration = data("pipelines").join(conditioning).join("conditioning.safetensors");
        fs::copy(calibration, folder.path().join("calibration.safetensors")).unwrap();
        Scene { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The weights of the unsharded model.
    pub fn weights(&self) -> PathBuf {
        self.path("model/diffusion_pytorch_model.safetensors")
    }

    /// The arguments of a prune from `model` with `calibration.safetensors` to `output`.
    pub fn arguments(&self, output: &str, more: &[&str]) -> Vec<String> {
        let [model, output, calibration] = ["model", output, "calibration.safetensors"].map(|name| self.path(name));
        let own = ["prune", text(&model), "-o", text(&output), "--calibration", text(&calibration)];
        let sampling = ["--num-inference-steps=2", "--height=64", "--width=96"];
        own.iter().chain(&sampling).chain(more).map(ToString::to_string).collect()
    }

    pub fn prune(&self, more: &[&str]) -> Run {
        obsdiff(&self.arguments("out", more))
    }

    /// Every file below, hidden ones included, and the names at the top, empty folders included.
    pub fn content(&self) -> (BTreeMap<PathBuf, Vec<u8>>, Vec<String>) {
        (files_below(self.folder.path()), names_in(self.folder.path()))
    }

    /// Checks that a prune is refused with `code` and a message with all `parts`, and that nothing is written.
    #[track_caller]
    pub fn refuses(&self, more: &[&str], code: i32, parts: &[&str]) {
        self.refuses_run(code, parts, || self.prune(more));
    }

    /// The same for any run.
    #[track_caller]
    pub fn refuses_run(&self, code: i32, parts: &[&str], run: impl FnOnce() -> Run) {
        let before = self.content();
        run().refused(code, parts);
        assert!(self.content() == before, "files changed: {:?}", self.content().0.keys().collect::<Vec<_>>());
    }
}
