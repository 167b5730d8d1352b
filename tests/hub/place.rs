//! A home of its own for every run: nothing of the caller's environment is seen.

use std::fs;
use std::path::{Path, PathBuf};

use super::server::{COMMIT, FakeHub, NAME, etag};
use crate::support::{Run, data, files_below, obsdiff_with};

/// A home folder and the variables of the runs in it.
pub struct Place {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// The small pipeline that goes by the name.
pub fn pipeline() -> PathBuf {
    data("pipelines/sd3_medium/pipeline")
}

impl Place {
    /// Nothing is cached and no hub is named; the real one must not be asked.
    pub fn new() -> Self {
        let unreachable = ("HF_ENDPOINT".into(), "http://127.0.0.1:1".into());
        Place { folder: tempfile::tempdir().unwrap(), variables: vec![unreachable] }
    }

    /// The same with a hub.
    pub fn with(hub: &FakeHub) -> Self {
        Place::new().set("HF_ENDPOINT", &hub.endpoint())
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.into(), value.into()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where models are kept if nothing says otherwise.
    pub fn cache(&self) -> PathBuf {
        self.path(".cache/huggingface/hub")
    }

    /// The folder of the model in the default cache.
    pub fn model(&self) -> PathBuf {
        self.cache().join("models--maker--small-model")
    }

    pub fn snapshot(&self) -> PathBuf {
        self.model().join("snapshots").join(COMMIT)
    }

    /// Whatever the cache holds but locks, as paths below it.
    pub fn cached(&self) -> Vec<String> {
        if !self.model().exists() {
            return Vec::new();
        }
        let files = files_below(&self.model());
        files.keys().map(|path| path.to_str().unwrap().to_string()).collect()
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        obsdiff_with(arguments, |command| {
            command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
            command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        })
    }

    /// `inspect`, which needs the transformer.
    pub fn inspect(&self, model: &str) -> Run {
        self.run(&["inspect", model, "--json"])
    }

    /// `plan`, which needs the configurations.
    pub fn plan(&self, model: &str) -> Run {
        self.run(&["plan", model, "--device=cpu", "--json"])
    }
}

/// Lays a folder into a cache as huggingface_hub does.
pub fn fill(cache: &Path, from: &Path, commit: &str, refs: &[&str]) {
    let model = cache.join(format!("models--{}", NAME.replace('/', "--")));
    for (path, content) in files_below(from) {
        let file = path.to_str().unwrap();
        let blob = model.join("blobs").join(etag(file, &content));
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, &content).unwrap();
        let pointer = model.join("snapshots").join(commit).join(file);
        fs::create_dir_all(pointer.parent().unwrap()).unwrap();
        let up = "../".repeat(2 + path.components().count() - 1);
        link(&format!("{up}blobs/{}", etag(file, &content)), &pointer);
    }
    for name in refs {
        let path = model.join("refs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, commit).unwrap();
    }
}

fn link(target: &str, path: &Path) {
    #[cfg(unix)]
    std::os::unix::fs::symlink(target, path).unwrap();
    #[cfg(not(unix))]
    fs::copy(path.parent().unwrap().join(target), path).map(|_| ()).unwrap();
}
