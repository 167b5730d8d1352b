//! The folder in which `huggingface_hub` keeps models, read and written as it does:
//!
//! ```text
//! models--owner--name/blobs/ETAG                  content
//! models--owner--name/snapshots/COMMIT/FILE       link to a blob
//! models--owner--name/refs/BRANCH                 the branch's commit
//! .locks/models--owner--name/ETAG.lock            held while a blob is written
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use serde_json::Value;

use super::error::HubError;
use super::name::{HubName, is_commit};
use super::parts::Files;
use crate::checkpoint::pipeline::read_json;
use crate::error::{Error, Result};

/// Deepest folder of a snapshot that is looked into.
const MAX_DEPTH: usize = 4;

/// One model's place in the cache.
#[derive(Debug)]
pub(super) struct ModelCache {
    root: PathBuf,
    name: HubName,
    layout: CacheRepo,
    repo: Repo,
}

impl ModelCache {
    pub fn new(root: &Path, name: &HubName) -> Self {
        let repo = Repo::with_revision(name.repository.clone(), RepoType::Model, name.revision.clone());
        let layout = Cache::new(root.to_path_buf()).repo(repo.clone());
        ModelCache { root: root.to_path_buf(), name: name.clone(), layout, repo }
    }

    /// The model's folder.
    pub fn folder(&self) -> PathBuf {
        self.root.join(self.repo.folder_name())
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// Where content with this ETag lies.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.layout.blob_path(etag)
    }

    /// Where such content is gathered.
    pub fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(format!("{etag}.incomplete"))
    }

    /// The commit that the revision had when it was last fetched.
    pub fn commit(&self) -> Option<String> {
        if self.name.is_commit() {
            return Some(self.name.revision.clone());
        }
        let text = fs::read_to_string(self.folder().join("refs").join(&self.name.revision)).ok()?;
        Some(text.trim().to_string()).filter(|commit| is_commit(commit))
    }

    /// Records which commit the revision is.
    pub fn remember(&self, commit: &str) -> Result<()> {
        if self.name.is_commit() {
            return Ok(());
        }
        let at = self.folder().join("refs").join(&self.name.revision);
        self.layout.create_ref(commit).map_err(|e| self.failed(&at, e))
    }

    /// The files of a commit that are there.
    pub fn files<'a>(&self, commit: &str, absent: &'a dyn Fn(&str) -> Error) -> CachedFiles<'a> {
        let folder = self.snapshot(commit);
        let mut names = BTreeSet::new();
        gather(&folder, "", 0, &mut names);
        CachedFiles { folder, names, absent }
    }

    /// Waits until no other process writes content with this ETag, and keeps others from it.
    pub fn lock(&self, etag: &str, file: &str) -> Result<File> {
        let folder = self.root.join(".locks").join(self.repo.folder_name());
        self.create_folder(&folder)?;
        let path = folder.join(format!("{etag}.lock"));
        let lock =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| self.failed(&path, e))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(fs::TryLockError::WouldBlock) => {
                tracing::info!("{file} of {}: another process is downloading it, waiting", self.name);
                lock.lock().map_err(|e| self.failed(&path, e))?;
                Ok(lock)
            }
            // A file system without locks: two downloads at once may then cost one of them its work.
            Err(fs::TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(lock),
            Err(fs::TryLockError::Error(e)) => Err(self.failed(&path, e)),
        }
    }

    /// Makes `file` of a commit a link to the content with this ETag.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let pointer = self.snapshot(commit).join(file);
        if let Some(folder) = pointer.parent() {
            self.create_folder(folder)?;
        }
        let up = "../".repeat(2 + file.split('/').count() - 1);
        let target = format!("{up}blobs/{etag}");
        if pointer.symlink_metadata().is_ok() {
            // A link without its content, or content that became another's while we waited.
            if pointer.exists() {
                return Ok(());
            }
            fs::remove_file(&pointer).map_err(|e| self.failed(&pointer, e))?;
        }
        match symlink(Path::new(&target), &pointer) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            // No links on this file system: the content itself goes there, as in Python.
            Err(_) => fs::rename(self.blob(etag), &pointer).map_err(|e| self.failed(&pointer, e)),
            Ok(()) => Ok(()),
        }
    }

    pub fn create_folder(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(|e| self.failed(folder, e))
    }

    /// A failed write; a full disk is one of the cache.
    pub fn failed(&self, path: &Path, error: std::io::Error) -> Error {
        match Error::io(path, error) {
            Error::DiskFull { .. } => HubError::DiskFull { cache: self.root.clone() }.into(),
            other => other,
        }
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// Adds the plain files below `folder` whose content is there.
fn gather(folder: &Path, prefix: &str, depth: usize, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if path.is_dir() {
            if depth < MAX_DEPTH {
                gather(&path, &format!("{prefix}{name}/"), depth + 1, names);
            }
        } else if path.is_file() {
            names.insert(format!("{prefix}{name}"));
        }
    }
}

/// What the cache has of a commit.
pub(super) struct CachedFiles<'a> {
    folder: PathBuf,
    names: BTreeSet<String>,
    absent: &'a dyn Fn(&str) -> Error,
}

impl Files for CachedFiles<'_> {
    fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    fn are_all(&self) -> bool {
        false
    }

    fn read(&self, file: &str) -> Result<Value> {
        read_json(&self.folder.join(file), "")
    }

    fn absent(&self, file: &str) -> Error {
        (self.absent)(file)
    }
}
