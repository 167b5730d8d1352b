//! A pruned model in either layout: everything that can be refused is refused before anything is written.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::layout::Layout;
use super::original;
use super::pipeline::Pipeline;
use super::save::{Entry, copy_components, output_bytes, save_like, sort, write_config, write_entries};
use super::shapes::expected_tensors;
use super::shards::{Checkpoint, SINGLE_FILE};
use crate::error::Result;

/// The file of the original layout that comes from a folder of diffusers.
pub const ORIGINAL_FILE: &str = "transformer.safetensors";

/// Writes copies of one model with some weights replaced.
pub struct ModelWriter<'a> {
    pipeline: &'a Pipeline,
    source: &'a Checkpoint,
    layout: Layout,
    /// The tensors of the one file that is written; `None` for a copy of a diffusers folder.
    entries: Option<Vec<Entry>>,
}

impl<'a> ModelWriter<'a> {
    /// Prepares to write the model of `pipeline`, whose weights are `source`, in `layout`, or its own if `None`.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a model that the layout cannot describe.
    pub fn new(pipeline: &'a Pipeline, source: &'a Checkpoint, layout: Option<Layout>) -> Result<Self> {
        let layout = layout.unwrap_or(pipeline.layout);
        let entries = match (pipeline.layout, layout) {
            (_, Layout::Original) => Some(original::entries(source, &pipeline.architecture)?),
            (Layout::Original, Layout::Diffusers) => Some(diffusers_entries(pipeline, source)),
            (Layout::Diffusers, Layout::Diffusers) => None,
        };
        Ok(ModelWriter { pipeline, source, layout, entries })
    }

    /// The layout that is written.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Bytes that the model will take.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn bytes(&self) -> Result<u64> {
        match self.entries {
            Some(_) => Ok(self.source.file_bytes()),
            None => output_bytes(self.pipeline, self.source),
        }
    }

    /// Writes the model into the folder `root`: `replaced` as in [`save_like`], `obs_diff` as in [`write_config`]; in
    /// the original layout it is in the metadata of the file.
    ///
    /// # Errors
    /// Those of [`save_like`], [`copy_components`] and [`write_config`].
    pub fn save<'b>(
        &self,
        root: &Path,
        obs_diff: Value,
        replaced: impl FnMut(&str) -> Result<Option<Cow<'b, [f32]>>>,
    ) -> Result<()> {
        match (&self.entries, self.layout) {
            (None, _) => {
                copy_components(self.pipeline, root)?;
                let transformer = self.pipeline.transformer_in(root);
                save_like(self.source, &transformer, replaced)?;
                write_config(self.pipeline, &transformer, obs_diff)
            }
            (Some(entries), Layout::Diffusers) => {
                let left_out = self.source.carried().len();
                if left_out > 0 {
                    tracing::warn!(
                        "{left_out} tensors of other networks (VAE, text encoders) are not part of a transformer folder \
                         and are left out"
                    );
                }
                let metadata = [("format".to_string(), "pt".to_string())];
                write_entries(&root.join(SINGLE_FILE), &metadata, entries, self.source, replaced)?;
                write_config(self.pipeline, root, obs_diff)
            }
            (Some(entries), Layout::Original) => {
                let metadata = original::metadata(self.source, &obs_diff);
                write_entries(&root.join(self.file_name()), &metadata, entries, self.source, replaced)
            }
        }
    }

    /// The name of a file of the original layout.
    fn file_name(&self) -> PathBuf {
        match self.pipeline.layout {
            Layout::Original => self.pipeline.transformer.file_name().unwrap_or(OsStr::new(ORIGINAL_FILE)).into(),
            Layout::Diffusers => ORIGINAL_FILE.into(),
        }
    }
}

/// The transformer under the names of diffusers.
fn diffusers_entries(pipeline: &Pipeline, source: &Checkpoint) -> Vec<Entry> {
    let entry = |(name, shape): (String, Vec<usize>)| {
        let dtype = source.info(&name)?.dtype;
        Some(Entry { parts: vec![name.clone()], name, dtype, shape, halves_swapped: false })
    };
    let mut entries: Vec<_> = expected_tensors(&pipeline.architecture).into_iter().filter_map(entry).collect();
    sort(&mut entries);
    entries
}
