//! Several files that appear in a folder together, in which others may lie.

use std::fs;
use std::path::{Path, PathBuf};

use super::writer::{parent_of, sync_folder, write_atomic};
use crate::error::{Error, Result};

/// Files under construction in a hidden folder inside their own. Dropped without [`commit`](Self::commit), they
/// disappear, and so do the folders that were made for them.
#[derive(Debug)]
pub struct StagedFiles {
    folder: PathBuf,
    partial: PathBuf,
    names: Vec<String>,
    /// Folders that did not exist, outermost first.
    created: Vec<PathBuf>,
}

impl StagedFiles {
    /// Starts files that will be in `folder`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn create(folder: &Path) -> Result<Self> {
        let missing = folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let mut created: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
        created.reverse();
        let partial = folder.join(format!(".obsdiff.partial-{}", std::process::id()));
        let staged = StagedFiles { folder: folder.into(), partial, names: Vec::new(), created };
        if staged.partial.is_dir() {
            // Left by a killed process whose number this one got.
            fs::remove_dir_all(&staged.partial).map_err(|e| Error::io(&staged.partial, e))?;
        }
        fs::create_dir_all(&staged.partial).map_err(|e| Error::io(&staged.partial, e))?;
        Ok(staged)
    }

    /// Registers the file `name` and says where to write it until the commit.
    pub fn file(&mut self, name: &str) -> PathBuf {
        self.names.push(name.into());
        self.partial.join(name)
    }

    /// Writes the file `name`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.file(name);
        write_atomic(path, bytes)
    }

    /// Moves every file to its place, in the order in which they were added, then removes those of `old` files that
    /// nothing replaced. Returns the paths of the new files.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn commit(mut self, old: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let path = self.folder.join(name);
            fs::rename(self.partial.join(name), &path).map_err(|e| Error::io(&path, e))?;
            paths.push(path);
        }
        for path in old.iter().filter(|path| !paths.contains(path)) {
            fs::remove_file(path).map_err(|e| Error::io(path, e))?;
        }
        self.created.clear();
        sync_folder(&self.folder)?;
        sync_folder(parent_of(&self.folder))?;
        Ok(paths)
    }
}

impl Drop for StagedFiles {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.partial) {
            tracing::warn!("could not remove the incomplete output {}: {error}", self.partial.display());
        }
        for folder in self.created.iter().rev() {
            // Somebody else may have put something there; then it stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_together_and_replace_old_ones() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let mut staged = StagedFiles::create(&folder).unwrap();
        staged.add("one", b"1").unwrap();
        fs::write(staged.file("two"), b"2").unwrap();
        assert!(names(&folder).iter().all(|name| name.starts_with('.')));
        let paths = staged.commit(&[]).unwrap();
        assert_eq!(paths, [folder.join("one"), folder.join("two")]);
        fs::write(folder.join("other"), b"stays").unwrap();
        let mut again = StagedFiles::create(&folder).unwrap();
        again.add("one", b"new").unwrap();
        again.commit(&paths).unwrap();
        assert_eq!(names(&folder), ["one", "other"]);
        assert_eq!(fs::read(folder.join("one")).unwrap(), b"new");
    }

    #[test]
    fn what_is_not_committed_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut staged = StagedFiles::create(&root.path().join("a/b")).unwrap();
        staged.add("one", b"1").unwrap();
        drop(staged);
        assert_eq!(names(root.path()), [""; 0]);
        fs::create_dir(root.path().join("a")).unwrap();
        drop(StagedFiles::create(&root.path().join("a")).unwrap());
        assert_eq!(names(root.path()), ["a"]);
        fs::write(root.path().join("file"), b"").unwrap();
        let error = StagedFiles::create(&root.path().join("file/below")).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        assert_eq!(names(root.path()), ["a", "file"]);
    }
}
