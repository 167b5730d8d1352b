//! A model folder like another one with some weights replaced.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use super::convert::{from_f32, rounding};
use super::file::SafetensorsFile;
use super::header::{Dtype, TensorInfo, render};
use super::layout::{OBS_DIFF_KEY, swap_halves};
use super::pipeline::{CONFIG, MODEL_INDEX, Pipeline};
use super::shards::{Checkpoint, INDEX_FILE};
use super::writer::{AtomicFile, write_atomic};
use crate::error::{Error, Result};
use crate::ops::Rounding;

/// The report beside the model.
pub const REPORT_FILE: &str = "obsdiff.json";
/// The recipe beside the model.
pub const RECIPE_FILE: &str = "recipe.toml";

/// Elements that are rounded at a time, so that a large tensor is never held twice.
const ROUNDED_AT_ONCE: usize = 1 << 22;
/// Deepest folder that is followed inside a component; more can only be a cycle of links.
const MAX_DEPTH: usize = 8;

/// Writes the shards (and the index) of `source` into `folder` with the same names, sharding, order, dtypes
/// and shapes. `replaced` gives the new values, f32 row-major, of the tensors that change; they are rounded
/// to the stored dtype (to nearest, ties to even). All other tensors are copied byte for byte. At most one
/// replacement is held at a time.
///
/// # Errors
/// Whatever `replaced` returns; [`Error::Shape`] for a wrong number of values, [`Error::NonFinite`] for
/// values that are not finite once rounded, [`Error::Unsupported`] for a replaced tensor that is not F32, F16
/// or BF16, [`Error::Io`], [`Error::DiskFull`].
pub fn save_like<'a>(
    source: &Checkpoint,
    folder: &Path,
    mut replaced: impl FnMut(&str) -> Result<Option<Cow<'a, [f32]>>>,
) -> Result<()> {
    for shard in source.shards() {
        let name = shard.path().file_name().unwrap_or(OsStr::new("weights.safetensors"));
        let mut file = AtomicFile::create(&folder.join(name))?;
        file.write(&header_of(shard))?;
        for (name, _) in &shard.header().tensors {
            write_tensor(source, name, &mut replaced, &mut |bytes| file.write(bytes))?;
        }
        file.commit()?;
    }
    if source.is_sharded() {
        copy_file(&source.folder().join(INDEX_FILE), &folder.join(INDEX_FILE))?;
    }
    Ok(())
}

/// One tensor of an output file: tensors of a checkpoint, one below the other.
pub(super) struct Entry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Names in the checkpoint.
    pub parts: Vec<String>,
    /// Whether the lower half of the rows comes first in the file.
    pub halves_swapped: bool,
}

/// Orders tensors as the safetensors serialiser does: larger dtypes first, then by name.
pub(super) fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
}

/// Writes `entries`, in their order, as one safetensors file with the weights of `source`; `replaced` as in
/// [`save_like`].
///
/// # Errors
/// Those of [`save_like`].
pub(super) fn write_entries<'a>(
    path: &Path,
    metadata: &[(String, String)],
    entries: &[Entry],
    source: &Checkpoint,
    mut replaced: impl FnMut(&str) -> Result<Option<Cow<'a, [f32]>>>,
) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    let bytes_of = |entry: &Entry| entry.shape.iter().product::<usize>() * entry.dtype.bitsize() / 8;
    let tensors = entries.iter().map(|e| (e.name.as_str(), e.dtype, e.shape.as_slice(), bytes_of(e)));
    file.write(&render(metadata, tensors))?;
    for entry in entries {
        for part in &entry.parts {
            if entry.halves_swapped {
                let mut whole = Vec::new();
                write_tensor(source, part, &mut replaced, &mut |bytes| {
                    whole.extend_from_slice(bytes);
                    Ok(())
                })?;
                file.write(&swap_halves(&whole))?;
            } else {
                write_tensor(source, part, &mut replaced, &mut |bytes| file.write(bytes))?;
            }
        }
    }
    file.commit()
}

/// Writes the source's `config.json` plus the key `_obs_diff` (an older one is replaced) into the
/// transformer's `folder`, laid out as diffusers does.
///
/// # Errors
/// [`Error::Io`], [`Error::DiskFull`].
pub fn write_config(pipeline: &Pipeline, folder: &Path, obs_diff: Value) -> Result<()> {
    let mut config = pipeline.config.clone();
    if let Some(keys) = config.as_object_mut() {
        keys.shift_remove(OBS_DIFF_KEY);
        // diffusers sorts the keys: it belongs to those with an underscore, which come first.
        let place = keys.keys().take_while(|key| key.as_str() < OBS_DIFF_KEY).count();
        keys.shift_insert(place, OBS_DIFF_KEY.to_string(), obs_diff);
    }
    write_atomic(folder.join(CONFIG), format!("{config:#}\n").as_bytes())
}

/// Copies what is not the transformer's weights or `config.json`: `model_index.json`, the folders that it
/// names, licences, and the transformer folder's other files. Links are followed. Single-file checkpoints
/// beside the folders, hidden files, and this program's own files of an earlier run stay behind. `root` is
/// the output; its transformer folder is created.
///
/// # Errors
/// [`Error::Io`], [`Error::DiskFull`].
pub fn copy_components(pipeline: &Pipeline, root: &Path) -> Result<()> {
    let transformer = pipeline.transformer_in(root);
    create_folder(&transformer)?;
    copy_folder_files(&pipeline.transformer, &transformer, is_transformer_extra)?;
    if pipeline.model_index.is_some() {
        copy_folder_files(&pipeline.root, root, |name| name == MODEL_INDEX || is_licence(name))?;
    }
    for component in &pipeline.components {
        copy_tree(&pipeline.root.join(component), &root.join(component), 0)?;
    }
    Ok(())
}

/// Bytes that a copy of the model takes: weights and components.
///
/// # Errors
/// [`Error::Io`].
pub fn output_bytes(pipeline: &Pipeline, weights: &Checkpoint) -> Result<u64> {
    let mut total = weights.file_bytes();
    for component in &pipeline.components {
        total += tree_bytes(&pipeline.root.join(component), 0)?;
    }
    Ok(total)
}

/// The source's header if its metadata is what diffusers wants, else one with that metadata.
fn header_of(shard: &SafetensorsFile) -> Cow<'_, [u8]> {
    let metadata = [("format".to_string(), "pt".to_string())];
    let header = shard.header();
    if header.metadata == metadata {
        return Cow::Borrowed(shard.header_bytes());
    }
    let tensors = header.tensors.iter();
    Cow::Owned(render(&metadata, tensors.map(|(name, t)| (name.as_str(), t.dtype, t.shape.as_slice(), t.range.len()))))
}

/// Hands the bytes of a tensor, replaced or as they are, to `write`.
fn write_tensor<'a>(
    source: &Checkpoint,
    name: &str,
    replaced: &mut impl FnMut(&str) -> Result<Option<Cow<'a, [f32]>>>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    match (replaced(name)?, source.info(name)) {
        (Some(values), Some(info)) => write_rounded(&source.shard_path(name), name, info, &values, write)?,
        _ => write(&source.bytes(name)?)?,
    }
    source.release(name);
    Ok(())
}

fn write_rounded(
    source: &Path,
    name: &str,
    info: &TensorInfo,
    values: &[f32],
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if values.len() != info.elements() {
        return Err(Error::Shape {
            path: source.to_path_buf(),
            tensor: name.to_string(),
            expected: format!("{} values for the replacement, got {}", info.elements(), values.len()),
            found: info.shape.clone(),
        });
    }
    let mut bytes = Vec::new();
    for part in values.chunks(ROUNDED_AT_ONCE) {
        if !from_f32(part, info.dtype, &mut bytes) {
            return Err(Error::Unsupported {
                what: format!("dtype of replaced tensor `{name}` in {}", source.display()),
                found: info.dtype.to_string(),
                supported: "F32, F16, BF16".into(),
            });
        }
        if let Some(value) = first_not_finite(part, info.dtype) {
            return Err(Error::NonFinite {
                tensor: name.to_string(),
                found: value.to_string(),
                context: format!("among its new values (to be stored as {})", info.dtype),
            });
        }
        write(&bytes)?;
    }
    Ok(())
}

/// The first value that is NaN, infinite, or too large for `dtype`.
fn first_not_finite(values: &[f32], dtype: Dtype) -> Option<f32> {
    let rounding = rounding(dtype).unwrap_or(Rounding::None);
    values.par_iter().copied().find_first(|&value| !rounding.apply(value).is_finite())
}

/// Everything in a transformer folder but weights in any format, the configuration and our own files.
fn is_transformer_extra(name: &str) -> bool {
    const WEIGHTS: [&str; 10] =
        [".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".msgpack", ".h5", ".onnx", ".index.json"];
    !WEIGHTS.iter().any(|ending| name.ends_with(ending))
        && ![CONFIG, REPORT_FILE, RECIPE_FILE, "report.html", "report.json"].contains(&name)
}

/// A licence or a notice beside a model, which goes with every copy.
pub fn is_licence(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.starts_with("LICENSE") || name.starts_with("LICENCE") || name.starts_with("NOTICE")
}

/// Copies the visible plain files of one folder whose names `wanted` accepts.
fn copy_folder_files(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    for name in visible_entries(from)? {
        let path = from.join(&name);
        if path.is_file() && wanted(&name) {
            copy_file(&path, &to.join(&name))?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path, depth: usize) -> Result<()> {
    check_depth(from, depth)?;
    create_folder(to)?;
    copy_folder_files(from, to, |_| true)?;
    for name in visible_entries(from)? {
        if from.join(&name).is_dir() {
            copy_tree(&from.join(&name), &to.join(&name), depth + 1)?;
        }
    }
    Ok(())
}

fn tree_bytes(folder: &Path, depth: usize) -> Result<u64> {
    check_depth(folder, depth)?;
    let mut total = 0;
    for name in visible_entries(folder)? {
        let path = folder.join(&name);
        total += if path.is_dir() {
            tree_bytes(&path, depth + 1)?
        } else {
            fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len()
        };
    }
    Ok(total)
}

fn check_depth(folder: &Path, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::malformed(folder, format!("more than {MAX_DEPTH} folders deep; is a link its own parent?")));
    }
    Ok(())
}

/// Names in a folder that are not hidden, sorted.
fn visible_entries(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let name = entry.map_err(|e| Error::io(folder, e))?.file_name();
        let name = name.into_string().map_err(|name| {
            Error::malformed(folder, format!("holds a file name that is not UTF-8: {}; rename it", name.display()))
        })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))
}

/// Copies content, not permissions: the copy gets those of the umask.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(|e| Error::io(from, e))?;
    let mut file = AtomicFile::create(to)?;
    file.copy_from(&mut source)?;
    file.commit()
}
