//! The output folder: built under a hidden name beside its place, moved there in one step when complete.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::pipeline::{CONFIG, MODEL_INDEX};
use super::writer::{parent_of, partial_sibling, sync_folder};
use crate::error::{Error, Result};

/// What a folder holds, so that `--overwrite` replaces nothing else.
#[derive(Debug, Clone, Copy)]
pub struct FolderKind {
    /// With its article.
    pub name: &'static str,
    /// Files of which a folder of this kind has at least one.
    pub markers: &'static [&'static str],
}

/// Models, pipelines or transformers alone.
const MODEL: FolderKind = FolderKind { name: "a model folder", markers: &[MODEL_INDEX, CONFIG] };

/// A folder under construction. Dropped without [`commit`](Self::commit), it disappears; a killed process
/// leaves it behind as `.NAME.partial-PID`, never under its name.
#[derive(Debug)]
pub struct OutputFolder {
    partial: PathBuf,
    destination: PathBuf,
    /// Folders above the destination that did not exist, outermost first.
    created: Vec<PathBuf>,
    overwrite: bool,
    committed: bool,
}

impl OutputFolder {
    /// Checks everything that could refuse the output, then starts it: the destination is free (or a model
    /// folder and `overwrite` is given), shares no path with the `inputs` (files and folders that are read),
    /// and has room for `needed` bytes. Missing folders above it are created.
    ///
    /// # Errors
    /// [`Error::OutputExists`], [`Error::Usage`] (overlap with an input, or overwriting what is no model
    /// folder), [`Error::NotEnoughSpace`], [`Error::Io`].
    pub fn create(destination: impl AsRef<Path>, inputs: &[&Path], needed: u64, overwrite: bool) -> Result<Self> {
        Self::create_kind(MODEL, destination, inputs, needed, overwrite)
    }

    /// [`OutputFolder::create`] for folders of another kind, which replace only their own kind.
    ///
    /// # Errors
    /// Those of [`OutputFolder::create`].
    pub fn create_kind(
        kind: FolderKind,
        destination: impl AsRef<Path>,
        inputs: &[&Path],
        needed: u64,
        overwrite: bool,
    ) -> Result<Self> {
        let given = destination.as_ref();
        let exists = given.symlink_metadata().is_ok();
        if exists && !overwrite {
            return Err(Error::OutputExists { path: given.to_path_buf() });
        }
        let destination = resolve(given, exists)?;
        for input in inputs {
            let input = input.canonicalize().map_err(|e| Error::io(input, e))?;
            if destination.starts_with(&input) || input.starts_with(&destination) {
                return Err(Error::Usage(format!(
                    "the output {} and the input {} lie in each other; choose another output",
                    given.display(),
                    input.display()
                )));
            }
        }
        if exists {
            check_replaceable(&destination, kind)?;
        }
        let missing: Vec<&Path> = destination.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        check_free_space(parent_of(missing.last().unwrap_or(&destination.as_path())), needed)?;

        let created: Vec<PathBuf> = missing.into_iter().rev().map(Path::to_path_buf).collect();
        fs::create_dir_all(parent_of(&destination)).map_err(|e| Error::io(parent_of(&destination), e))?;
        let partial = partial_sibling(&destination)?;
        if partial.is_dir() {
            // Left by a killed process whose number this one got.
            fs::remove_dir_all(&partial).map_err(|e| Error::io(&partial, e))?;
        }
        fs::create_dir(&partial).map_err(|e| Error::io(&partial, e))?;
        Ok(OutputFolder { partial, destination, created, overwrite, committed: false })
    }

    /// Where to write until the commit.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Where the folder will be.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Moves the complete folder to its place, and removes what it replaces.
    ///
    /// # Errors
    /// [`Error::OutputExists`] if somebody else was faster, [`Error::Io`]; an old folder then stays.
    pub fn commit(mut self) -> Result<()> {
        sync_folders(&self.partial)?;
        let replaced = partial_sibling(&self.destination)?.with_extension(format!("replaced-{}", std::process::id()));
        let replaces = self.overwrite && self.destination.exists();
        if replaces {
            fs::rename(&self.destination, &replaced).map_err(|e| Error::io(&self.destination, e))?;
        }
        if let Err(error) = fs::rename(&self.partial, &self.destination) {
            if replaces {
                fs::rename(&replaced, &self.destination).map_err(|e| Error::io(&replaced, e))?;
            }
            return Err(match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory => {
                    Error::OutputExists { path: self.destination.clone() }
                }
                _ => Error::io(&self.destination, error),
            });
        }
        self.committed = true;
        sync_folder(parent_of(&self.destination))?;
        if replaces {
            fs::remove_dir_all(&replaced).map_err(|e| Error::io(&replaced, e))?;
        }
        Ok(())
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.partial) {
            tracing::warn!("could not remove the incomplete output {}: {error}", self.partial.display());
        }
        for folder in self.created.iter().rev() {
            // Somebody else may have put something there; then it stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Refuses if the disk of `folder` has less than `needed` bytes free for this user. Where the system does
/// not tell, nothing is refused.
///
/// # Errors
/// [`Error::NotEnoughSpace`].
pub fn check_free_space(folder: &Path, needed: u64) -> Result<()> {
    #[cfg(unix)]
    if let Ok(disk) = rustix::fs::statvfs(folder) {
        let available = disk.f_bavail.saturating_mul(disk.f_frsize);
        if available < needed {
            return Err(Error::NotEnoughSpace { path: folder.to_path_buf(), needed, available });
        }
    }
    #[cfg(not(unix))]
    let _ = (folder, needed);
    Ok(())
}

/// The absolute path; links are followed as far as it exists.
fn resolve(given: &Path, exists: bool) -> Result<PathBuf> {
    if exists {
        return given.canonicalize().map_err(|e| Error::io(given, e));
    }
    let name = given
        .file_name()
        .ok_or_else(|| Error::Usage(format!("{} does not end in a name; choose another output", given.display())))?;
    let parent = parent_of(given);
    let parent = match parent.canonicalize() {
        Err(e) if e.kind() == ErrorKind::NotFound && parent.symlink_metadata().is_err() => resolve(parent, false)?,
        found => found.map_err(|e| Error::io(parent, e))?,
    };
    Ok(parent.join(name))
}

/// Only an empty folder or one of the same kind may be replaced: `--overwrite` must not delete a home folder.
fn check_replaceable(destination: &Path, kind: FolderKind) -> Result<()> {
    let is_kind = kind.markers.iter().any(|file| destination.join(file).is_file());
    let is_empty = || fs::read_dir(destination).is_ok_and(|mut entries| entries.next().is_none());
    if is_kind || is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} is not {}, so --overwrite does not replace it; choose another output",
        destination.display(),
        kind.name
    )))
}

/// Brings the names in `folder` and below to the disk.
fn sync_folders(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    sync_folder(folder)
}
