//! The weights of a transformer: one safetensors file, an index and its shards, or a file in the original layout.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::config::Architecture;
use super::convert::{self, rounding};
use super::file::{SafetensorsFile, unsupported_dtype};
use super::header::{DistinctMap, Dtype, TensorInfo};
use super::layout::{Layout, swap_halves};
use super::shapes::{expected_tensors, is_block_tensor};
use crate::error::{Error, Result};

/// The weights when they are one file.
pub const SINGLE_FILE: &str = "diffusion_pytorch_model.safetensors";
/// The index when they are several.
pub const INDEX_FILE: &str = "diffusion_pytorch_model.safetensors.index.json";

/// The memory-mapped weights of a transformer, under the names of diffusers whatever the layout of the file.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    /// Sorted by file name.
    shards: Vec<SafetensorsFile>,
    /// Tensor name to its place.
    pieces: BTreeMap<String, Piece>,
    sharded: bool,
    layout: Layout,
    /// In front of the transformer's names in a file of the original layout.
    prefix: &'static str,
    /// Tensors of other networks in a file of the original layout, in the order of the data.
    carried: Vec<String>,
}

/// Where a tensor lies: in the original layout it may be some rows of a larger one.
#[derive(Debug)]
pub(super) struct Piece {
    pub shard: usize,
    /// As the tensor is read, with its bytes in the file of the shard.
    pub info: TensorInfo,
    /// Whether the file has the lower half of the rows first.
    pub halves_swapped: bool,
}

#[derive(Deserialize)]
struct Index {
    weight_map: DistinctMap<String>,
}

impl Checkpoint {
    /// Opens `diffusion_pytorch_model.safetensors.index.json` and its shards, or, without an index,
    /// `diffusion_pytorch_model.safetensors`, in the transformer's `folder`.
    ///
    /// # Errors
    /// [`Error::Missing`] for absent weights or shards; [`Error::Malformed`] for a broken file, or an index
    /// that disagrees with its shards; [`Error::TensorMissing`] for a tensor that only the index knows.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_named(folder, SINGLE_FILE)
    }

    /// [`Checkpoint::open`] for weights that are called `single` when they are one file, and `single.index.json` names
    /// the shards when they are several, such as the `model.safetensors` of a text encoder.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`].
    pub fn open_named(folder: impl AsRef<Path>, single: &str) -> Result<Self> {
        let folder = folder.as_ref();
        let index = folder.join(format!("{single}.index.json"));
        // diffusers prefers the index too when both are there.
        if index.is_file() {
            return Self::open_sharded(folder, index);
        }
        let single = folder.join(single);
        if !single.is_file() {
            return Err(Error::Missing {
                path: single,
                needed_for: format!("as the weights{}", other_weights(folder)),
            });
        }
        Self::open_file(single)
    }

    /// The tensors of one safetensors file.
    ///
    /// # Errors
    /// Those of [`SafetensorsFile::open`].
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(Self::of_shards(folder, vec![SafetensorsFile::open(path)?], false))
    }

    /// The tensors of the files under their own names.
    fn of_shards(folder: PathBuf, shards: Vec<SafetensorsFile>, sharded: bool) -> Self {
        let mut pieces = BTreeMap::new();
        for (shard, file) in shards.iter().enumerate() {
            let piece = |info: &TensorInfo| Piece { shard, info: info.clone(), halves_swapped: false };
            pieces.extend(file.header().tensors.iter().map(|(name, info)| (name.clone(), piece(info))));
        }
        Checkpoint { folder, shards, pieces, sharded, layout: Layout::Diffusers, prefix: "", carried: Vec::new() }
    }

    /// The tensors of one file of the original layout as `pieces`; those named `carried` belong to other networks.
    pub(super) fn from_original(
        file: SafetensorsFile,
        prefix: &'static str,
        pieces: BTreeMap<String, Piece>,
        carried: Vec<String>,
    ) -> Self {
        let folder = file.path().parent().unwrap_or(Path::new("")).to_path_buf();
        Checkpoint { folder, shards: vec![file], pieces, sharded: false, layout: Layout::Original, prefix, carried }
    }

    /// The shards that an index beside them names.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`].
    pub fn open_index(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::open_sharded(&folder, path)
    }

    fn open_sharded(folder: &Path, index_path: PathBuf) -> Result<Self> {
        let text = std::fs::read(&index_path).map_err(|e| Error::io(&index_path, e))?;
        let index: Index = serde_json::from_slice(&text)
            .map_err(|e| Error::malformed(&index_path, format!("not a valid weights index: {e}")))?;
        let claimed: BTreeMap<String, String> = index.weight_map.0.into_iter().collect();

        let file_names: BTreeSet<&str> = claimed.values().map(String::as_str).collect();
        let mut shards = Vec::with_capacity(file_names.len());
        for &name in &file_names {
            let mut parts = Path::new(name).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(Error::malformed(
                    &index_path,
                    format!("shard `{name}` is not a plain file name; shards must lie beside the index"),
                ));
            }
            let path = folder.join(name);
            if !path.is_file() {
                return Err(Error::Missing {
                    path,
                    needed_for: format!("as a shard that {} names; download it", index_path.display()),
                });
            }
            shards.push(SafetensorsFile::open(path)?);
        }

        for (shard, &file_name) in shards.iter().zip(&file_names) {
            for tensor in shard.names() {
                let problem = match claimed.get(tensor) {
                    Some(claim) if claim == file_name => None,
                    Some(claim) => Some(format!("the index places it in {claim}")),
                    None => Some("the index does not name it".to_string()),
                };
                if let Some(problem) = problem {
                    return Err(Error::malformed(
                        shard.path(),
                        format!(
                            "holds tensor `{tensor}`, but {problem}; index and shards belong to different models, download both again"
                        ),
                    ));
                }
            }
        }
        let checkpoint = Self::of_shards(folder.to_path_buf(), shards, true);
        if let Some((tensor, file)) = claimed.iter().find(|(tensor, _)| !checkpoint.pieces.contains_key(*tensor)) {
            return Err(Error::TensorMissing {
                path: folder.join(file),
                tensor: tensor.clone(),
                hint: format!("{} places it there; download both again", index_path.display()),
            });
        }
        Ok(checkpoint)
    }

    /// Compares names, shapes and dtypes with what diffusers has for `arch`. Tensors outside of the
    /// transformer's blocks that the class does not have are carried through with a warning.
    ///
    /// # Errors
    /// [`Error::TensorMissing`], [`Error::Shape`], [`Error::Unsupported`] (dtype other than F32, F16, BF16),
    /// [`Error::Malformed`] for a tensor of a block that the configuration does not have.
    pub fn check(&self, arch: &Architecture) -> Result<()> {
        let expected: BTreeMap<_, _> = expected_tensors(arch).into_iter().collect();
        let class = arch.class_name();
        for (name, shape) in &expected {
            let info = self.info(name).ok_or_else(|| Error::TensorMissing {
                path: self.folder.clone(),
                tensor: name.clone(),
                hint: format!("a {class} of this config.json has one of shape {shape:?}"),
            })?;
            let path = || self.shard_path(name);
            if info.shape != *shape {
                return Err(Error::Shape {
                    path: path(),
                    tensor: name.clone(),
                    expected: format!("{shape:?} (a {class} of this config.json)"),
                    found: info.shape.clone(),
                });
            }
            if rounding(info.dtype).is_none() {
                return Err(Error::Unsupported {
                    what: format!("dtype of tensor `{name}` in {}", path().display()),
                    found: info.dtype.to_string(),
                    supported: "F32, F16, BF16; use the checkpoint that is not quantised".into(),
                });
            }
        }
        let carried: BTreeSet<&str> = self.carried.iter().map(String::as_str).collect();
        let extra: Vec<_> =
            self.names().filter(|&name| !expected.contains_key(name) && !carried.contains(name)).collect();
        if let Some(name) = extra.iter().find(|name| is_block_tensor(name)) {
            return Err(Error::malformed(
                self.shard_path(name),
                format!(
                    "tensor `{name}` does not belong to a {class} of this config.json; weights and config.json come from different models"
                ),
            ));
        }
        if let Some(first) = extra.first() {
            tracing::warn!(
                "{}: {} tensors do not belong to a {class} (first: `{first}`); they are copied unchanged",
                self.folder.display(),
                extra.len()
            );
        }
        Ok(())
    }

    /// The folder of the weights.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files, sorted by name.
    pub fn shards(&self) -> &[SafetensorsFile] {
        &self.shards
    }

    /// True if an index names the shards.
    pub fn is_sharded(&self) -> bool {
        self.sharded
    }

    /// How the tensors are named and cut in the file.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// In front of the transformer's names in a file of the original layout, else empty.
    pub fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// Tensors of other networks that share the file; only a file of the original layout has such.
    pub fn carried(&self) -> &[String] {
        &self.carried
    }

    /// Bytes of all tensors, headers not counted.
    pub fn total_bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.file_bytes() - s.header().data_start as u64).sum()
    }

    /// Bytes of all weight files.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(SafetensorsFile::file_bytes).sum()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// True without any tensor.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.keys().map(String::as_str)
    }

    /// The number in [`shards`](Self::shards) of the file that holds a tensor.
    pub fn shard_of(&self, name: &str) -> Option<usize> {
        self.pieces.get(name).map(|piece| piece.shard)
    }

    /// Dtype, shape and byte range (in its shard) of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.pieces.get(name).map(|piece| &piece.info)
    }

    /// The bytes of a tensor, row-major; borrowed from the file where it has them in this order.
    ///
    /// # Errors
    /// [`Error::TensorMissing`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let piece = self.piece(name)?;
        let bytes = self.shards[piece.shard].slice(&piece.info.range);
        Ok(if piece.halves_swapped { Cow::Owned(swap_halves(bytes)) } else { Cow::Borrowed(bytes) })
    }

    /// A tensor widened to `f32`, row-major.
    ///
    /// # Errors
    /// [`Error::TensorMissing`], [`Error::Unsupported`] for dtypes other than F32, F16, BF16.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.convert(name, convert::to_f32)
    }

    /// Row `index` of a tensor of at least one dimension, widened to `f32`; nothing else is read.
    ///
    /// # Errors
    /// Those of [`Checkpoint::to_f32`].
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_to_f32(&self, name: &str, index: usize) -> Result<Vec<f32>> {
        let rows = self.piece(name)?.info.shape[0];
        self.convert(name, |bytes, dtype| {
            let row = bytes.len() / rows;
            convert::to_f32(&bytes[index * row..][..row], dtype)
        })
    }

    /// Gives the resident pages of a tensor back; see [`SafetensorsFile::release`].
    pub fn release(&self, name: &str) {
        if let Ok(piece) = self.piece(name) {
            self.shards[piece.shard].release_range(&piece.info.range);
        }
    }

    fn convert(&self, name: &str, read: impl Fn(&[u8], Dtype) -> Option<Vec<f32>>) -> Result<Vec<f32>> {
        let dtype = self.piece(name)?.info.dtype;
        read(&self.bytes(name)?, dtype)
            .ok_or_else(|| unsupported_dtype(&self.shard_path(name), name, dtype, "F32, F16, BF16"))
    }

    fn piece(&self, name: &str) -> Result<&Piece> {
        self.pieces.get(name).ok_or_else(|| Error::TensorMissing {
            path: self.folder.clone(),
            tensor: name.to_string(),
            hint: format!("the checkpoint holds {} tensors", self.len()),
        })
    }

    /// The file that a tensor lies in; the folder for an unknown one.
    pub(super) fn shard_path(&self, name: &str) -> PathBuf {
        self.shard_of(name).map_or_else(|| self.folder.clone(), |shard| self.shards[shard].path().to_path_buf())
    }
}

/// A hint on weights of other kinds that lie in `folder`.
fn other_weights(folder: &Path) -> String {
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".safetensors") || name.ends_with(".bin") || name.ends_with(".gguf"))
        .collect();
    found.sort();
    match found.first() {
        Some(name) if name.ends_with(".safetensors") => {
            format!("; {name} is there, rename it (or link to it) if it holds the whole model")
        }
        Some(name) => format!("; {name} is there, but only safetensors are read: convert it"),
        None => String::new(),
    }
}
