//! One safetensors file, memory-mapped: nothing is read before it is asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::convert;
use super::header::{Dtype, Header, TensorInfo};
use crate::error::{Error, Result};

/// A checked, memory-mapped safetensors file.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    map: Mmap,
    header: Header,
    /// Tensor name to its place in `header.tensors`.
    places: BTreeMap<String, usize>,
}

impl SafetensorsFile {
    /// Maps the file and checks its header.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`], or whatever [`Header::parse`] refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let file = File::open(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Missing { path: path.clone(), needed_for: "as a safetensors file".into() }
            }
            _ => Error::io(&path, e),
        })?;
        let metadata = file.metadata().map_err(|e| Error::io(&path, e))?;
        if !metadata.is_file() {
            return Err(Error::malformed(&path, "not a file; a safetensors file is expected here"));
        }
        // SAFETY: a mapping is only sound while nobody changes the file. Checkpoints are written once and
        // replaced by renaming (this program does the same), so a mapped file keeps its content; and only
        // plain bytes are read, for which every bit pattern is valid.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(&path, e))?;
        let header = Header::parse(&map, &path)?;
        let places = header.tensors.iter().enumerate().map(|(i, (name, _))| (name.clone(), i)).collect();
        Ok(SafetensorsFile { path, map, header, places })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The parsed header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Length field and header as they stand in the file.
    pub fn header_bytes(&self) -> &[u8] {
        &self.map[..self.header.data_start]
    }

    /// Size of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Dtype, shape and byte range of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.places.get(name).map(|&i| &self.header.tensors[i].1)
    }

    /// Like [`info`](Self::info).
    ///
    /// # Errors
    /// [`Error::TensorMissing`].
    pub fn require(&self, name: &str) -> Result<&TensorInfo> {
        self.info(name).ok_or_else(|| Error::TensorMissing {
            path: self.path.clone(),
            tensor: name.to_string(),
            hint: format!("the file holds {} tensors", self.places.len()),
        })
    }

    /// The stored bytes of a tensor.
    ///
    /// # Errors
    /// [`Error::TensorMissing`].
    pub fn bytes(&self, name: &str) -> Result<&[u8]> {
        Ok(&self.map[self.require(name)?.range.clone()])
    }

    /// An F32, F16 or BF16 tensor widened to `f32`, row-major.
    ///
    /// # Errors
    /// [`Error::TensorMissing`], [`Error::Unsupported`] for other dtypes.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.convert(name, convert::to_f32, "F32, F16, BF16")
    }

    /// An F64, F32, F16 or BF16 tensor widened to `f64`, row-major.
    ///
    /// # Errors
    /// [`Error::TensorMissing`], [`Error::Unsupported`] for other dtypes.
    pub fn to_f64(&self, name: &str) -> Result<Vec<f64>> {
        self.convert(name, convert::to_f64, "F64, F32, F16, BF16")
    }

    /// An integer or BOOL tensor widened to `i64`, row-major.
    ///
    /// # Errors
    /// [`Error::TensorMissing`], [`Error::Unsupported`] for other dtypes (U64 among them).
    pub fn to_i64(&self, name: &str) -> Result<Vec<i64>> {
        self.convert(name, convert::to_i64, "I64, I32, I16, I8, U32, U16, U8, BOOL")
    }

    /// Bytes of the file.
    ///
    /// # Panics
    /// If the range does not lie within it.
    pub(super) fn slice(&self, range: &Range<usize>) -> &[u8] {
        &self.map[range.clone()]
    }

    /// Gives the resident pages of a tensor back to the system; the next access reads them again. Without
    /// this a converted tensor counts twice. Does nothing for an unknown name.
    pub fn release(&self, name: &str) {
        if let Some(info) = self.info(name) {
            self.release_range(&info.range);
        }
    }

    /// [`SafetensorsFile::release`] for some bytes of the file.
    pub(super) fn release_range(&self, range: &Range<usize>) {
        if range.is_empty() {
            return;
        }
        #[cfg(unix)]
        {
            // SAFETY: the mapping is read-only and backed by the file, so dropped pages come back with the
            // same content, and slices into them stay valid. A refusal only costs memory.
            let _ = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
    }

    fn convert<T>(&self, name: &str, read: impl Fn(&[u8], Dtype) -> Option<Vec<T>>, supported: &str) -> Result<Vec<T>> {
        let info = self.require(name)?;
        read(&self.map[info.range.clone()], info.dtype)
            .ok_or_else(|| unsupported_dtype(&self.path, name, info.dtype, supported))
    }
}

/// A tensor cannot be read as numbers of the kind that is needed.
pub(super) fn unsupported_dtype(path: &Path, name: &str, dtype: Dtype, supported: &str) -> Error {
    Error::Unsupported {
        what: format!("dtype of tensor `{name}` in {}", path.display()),
        found: dtype.to_string(),
        supported: supported.into(),
    }
}
