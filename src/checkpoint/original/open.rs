//! A file in the original layout, opened: its sizes, and its tensors under the names of diffusers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::detect::{detect, is_carried, refuse_other_formats, refuse_quantised};
use super::infer::{Shapes, infer};
use super::is_original;
use super::table::{Fused, table};
use crate::checkpoint::config::Architecture;
use crate::checkpoint::file::SafetensorsFile;
use crate::checkpoint::header::TensorInfo;
use crate::checkpoint::shards::{Checkpoint, Piece};
use crate::error::{Error, Result};

/// A checked file in the original layout.
pub struct Source {
    file: SafetensorsFile,
    prefix: &'static str,
    pub architecture: Architecture,
}

impl Source {
    /// Opens a file and infers its architecture from names and shapes; no tensor is read.
    ///
    /// # Errors
    /// Those of [`SafetensorsFile::open`]; [`Error::Unsupported`] for another kind of file, another model or
    /// quantised weights; [`Error::TensorMissing`], [`Error::Shape`] and [`Error::Malformed`] for tensors that do not
    /// fit together or do not belong there.
    pub fn open(path: &Path) -> Result<Self> {
        refuse_other_formats(path)?;
        let file = SafetensorsFile::open(path)?;
        let (family, prefix) = detect(&file)?;
        refuse_quantised(&file, prefix)?;
        let tensors = &file.header().tensors;
        let own = tensors.iter().filter(|(name, _)| !is_carried(name, prefix));
        let shapes = own.filter_map(|(name, info)| Some((name.strip_prefix(prefix)?, info.shape.as_slice()))).collect();
        let architecture = infer(family, &Shapes { shapes, prefix, path })?;
        let source = Source { file, prefix, architecture };
        source.check()?;
        Ok(source)
    }

    /// The `__metadata__` of the file.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.file.header().metadata
    }

    /// Every tensor of the architecture is there with its shape, and nothing else that would belong to it.
    fn check(&self) -> Result<()> {
        let table = table(&self.architecture);
        let class = self.architecture.class_name();
        for entry in &table {
            let tensor = self.name_of(entry);
            let info = self.file.info(&tensor).ok_or_else(|| Error::TensorMissing {
                path: self.file.path().to_path_buf(),
                tensor: tensor.clone(),
                hint: format!(
                    "a {class} of the sizes in this file has one of shape {:?}; download it again",
                    entry.shape
                ),
            })?;
            if info.shape != entry.shape {
                return Err(Error::Shape {
                    path: self.file.path().to_path_buf(),
                    tensor,
                    expected: format!("{:?} (a {class} of the other sizes in this file)", entry.shape),
                    found: info.shape.clone(),
                });
            }
        }
        let known: BTreeSet<String> = table.iter().map(|entry| self.name_of(entry)).collect();
        let unknown = self.file.names().filter(|&name| !is_carried(name, self.prefix) && !known.contains(name));
        let unknown: Vec<&str> = unknown.collect();
        match unknown.first() {
            None => Ok(()),
            Some(first) => Err(Error::Unsupported {
                what: format!("tensors in {}", self.file.path().display()),
                found: format!("{} that a {class} does not have, first `{first}`", unknown.len()),
                supported: "SD3, SD3.5 and FLUX.1 as published; a model that is built differently cannot be pruned"
                    .into(),
            }),
        }
    }

    /// The tensors under the names of diffusers, and those of other networks under their own.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a tensor of another network with a name of diffusers' transformer.
    pub fn into_checkpoint(self) -> Result<Checkpoint> {
        let mut pieces = BTreeMap::new();
        for entry in table(&self.architecture) {
            pieces.extend(cut(&entry, self.file.require(&self.name_of(&entry))?));
        }
        let mut carried = Vec::new();
        for (name, info) in self.file.header().tensors.iter().filter(|(name, _)| is_carried(name, self.prefix)) {
            let piece = Piece { shard: 0, info: info.clone(), halves_swapped: false };
            if pieces.insert(name.clone(), piece).is_some() {
                let problem =
                    format!("tensor `{name}` lies beside those under `{}` and has a name of theirs", self.prefix);
                return Err(Error::malformed(self.file.path(), problem));
            }
            carried.push(name.clone());
        }
        Ok(Checkpoint::from_original(self.file, self.prefix, pieces, carried))
    }

    fn name_of(&self, entry: &Fused) -> String {
        format!("{}{}", self.prefix, entry.name)
    }
}

/// The parts of a tensor: consecutive rows.
fn cut(entry: &Fused, whole: &TensorInfo) -> Vec<(String, Piece)> {
    let mut start = whole.range.start;
    let row_bytes = whole.range.len() / whole.shape[0];
    let pieces = entry.parts.iter().zip(&entry.rows).map(|(part, &rows)| {
        let range = start..start + rows * row_bytes;
        start = range.end;
        let shape = std::iter::once(rows).chain(whole.shape[1..].iter().copied()).collect();
        let info = TensorInfo { dtype: whole.dtype, shape, range };
        (part.clone(), Piece { shard: 0, info, halves_swapped: entry.halves_swapped })
    });
    pieces.collect()
}

/// The only visible safetensors file in a folder, if it is in the original layout.
///
/// # Errors
/// Those of [`SafetensorsFile::open`].
pub fn only_file_in(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut files = entries.flatten().map(|entry| entry.path()).filter(|path| {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|ending| ending == "safetensors") && path.is_file()
    });
    match (files.next(), files.next()) {
        (Some(path), None) => Ok(is_original(&SafetensorsFile::open(&path)?).then_some(path)),
        _ => Ok(None),
    }
}
