//! Files that appear whole or not at all: written under a hidden name, synced, renamed.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::header::{Dtype, render};
use crate::error::{Error, Result};

/// A file under construction. Dropped without [`commit`](Self::commit), it disappears.
pub struct AtomicFile {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Starts a file that will be at `path`, readable by whom the umask allows.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn create(path: &Path) -> Result<Self> {
        let partial = partial_sibling(path)?;
        let file = File::create(&partial).map_err(|e| Error::io(&partial, e))?;
        Ok(AtomicFile { file, partial, path: path.to_path_buf(), committed: false })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, e))
    }

    /// Appends the rest of an open file; the kernel copies where it can.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn copy_from(&mut self, source: &mut File) -> Result<()> {
        std::io::copy(source, &mut self.file).map_err(|e| Error::io(&self.path, e))?;
        Ok(())
    }

    /// Brings the data to the disk and the file to its name.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn commit(mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.path, e))?;
        fs::rename(&self.partial, &self.path).map_err(|e| Error::io(&self.path, e))?;
        self.committed = true;
        sync_folder(parent_of(&self.path))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing sensible is left to do if even the removal fails.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Writes `bytes` to `path` atomically; an old file there is replaced.
///
/// # Errors
/// [`Error::Io`], [`Error::DiskFull`].
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path.as_ref())?;
    file.write(bytes)?;
    file.commit()
}

/// A tensor to be written.
#[derive(Debug, Clone)]
pub struct TensorOut<'a> {
    pub name: &'a str,
    pub dtype: Dtype,
    pub shape: &'a [usize],
    /// Little-endian, row-major.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> TensorOut<'a> {
    /// An F32 tensor.
    pub fn f32(name: &'a str, shape: &'a [usize], values: &[f32]) -> Self {
        Self::owned(name, Dtype::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An F64 tensor.
    pub fn f64(name: &'a str, shape: &'a [usize], values: &[f64]) -> Self {
        Self::owned(name, Dtype::F64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An I64 tensor.
    pub fn i64(name: &'a str, shape: &'a [usize], values: &[i64]) -> Self {
        Self::owned(name, Dtype::I64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn owned(name: &'a str, dtype: Dtype, shape: &'a [usize], bytes: Vec<u8>) -> Self {
        TensorOut { name, dtype, shape, bytes: Cow::Owned(bytes) }
    }
}

/// Writes a safetensors file atomically. The bytes depend on the content alone: metadata in the given
/// order, then the tensors as the safetensors serialiser sorts them (larger dtypes first, then by name).
///
/// # Errors
/// [`Error::Usage`] for bytes that do not fit dtype and shape or a repeated name, [`Error::Io`],
/// [`Error::DiskFull`].
pub fn write_safetensors(path: impl AsRef<Path>, tensors: &[TensorOut], metadata: &[(String, String)]) -> Result<()> {
    let path = path.as_ref();
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort_by(|a, b| b.dtype.cmp(&a.dtype).then(a.name.cmp(b.name)));
    for tensor in &sorted {
        let bits = tensor.shape.iter().product::<usize>() * tensor.dtype.bitsize();
        if bits != tensor.bytes.len() * 8 {
            return Err(Error::Usage(format!(
                "cannot write tensor `{}` to {}: {} bytes do not fit dtype {} and shape {:?}",
                tensor.name,
                path.display(),
                tensor.bytes.len(),
                tensor.dtype,
                tensor.shape
            )));
        }
    }
    let mut names: Vec<_> = sorted.iter().map(|t| t.name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Usage(format!("cannot write tensor `{}` to {} twice", pair[0], path.display())));
    }
    let mut file = AtomicFile::create(path)?;
    file.write(&render(metadata, sorted.iter().map(|t| (t.name, t.dtype, t.shape, t.bytes.len()))))?;
    for tensor in sorted {
        file.write(&tensor.bytes)?;
    }
    file.commit()
}

/// The hidden name beside `path` under which it is built: `.NAME.partial-PID`.
///
/// # Errors
/// [`Error::Usage`] if `path` does not end in a name.
pub(super) fn partial_sibling(path: &Path) -> Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::Usage(format!("{} does not end in a name; choose another output", path.display())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".partial-{}", std::process::id()));
    Ok(parent_of(path).join(hidden))
}

/// The folder of `path`; `.` for a bare name.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Brings the names in a folder to the disk.
///
/// # Errors
/// [`Error::Io`], [`Error::DiskFull`].
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    // Only Unix can open a folder to sync it.
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io(folder, e))?;
    }
    Ok(())
}
