//! What a file of the original layout consists of.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::detect::Family;
use super::infer::{Shapes, infer};
use super::table::{Fused, table};
use crate::checkpoint::config::Architecture;
use crate::checkpoint::layout::Layout;
use crate::checkpoint::layout::OBS_DIFF_KEY;
use crate::checkpoint::save::{Entry, sort};
use crate::checkpoint::shapes::expected_tensors;
use crate::checkpoint::shards::Checkpoint;
use crate::error::{Error, Result};

/// Metadata that a change of any weight makes wrong: hashes of all tensors.
const HASHES: [&str; 3] = ["modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash"];

/// The tensors of a file of the original layout with the weights of `source`: the same in the same order if it has
/// that layout, else those of the transformer without a prefix.
///
/// # Errors
/// [`Error::Unsupported`] for a model that the original layout cannot describe: fused tensors of several dtypes,
/// tensors that it has no name for, or a head size that its readers would not find.
pub fn entries(source: &Checkpoint, arch: &Architecture) -> Result<Vec<Entry>> {
    let mut table: BTreeMap<String, Fused> = table(arch).into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    if source.layout() == Layout::Original {
        let file = &source.shards()[0];
        let entry = |(name, info): &(String, crate::checkpoint::TensorInfo)| {
            let own = name.strip_prefix(source.prefix()).and_then(|name| table.remove(name));
            let (parts, halves_swapped) =
                own.map_or((vec![name.clone()], false), |own| (own.parts, own.halves_swapped));
            Entry { name: name.clone(), dtype: info.dtype, shape: info.shape.clone(), parts, halves_swapped }
        };
        return Ok(file.header().tensors.iter().map(entry).collect());
    }
    check_names(source, arch)?;
    check_sizes(source, arch, &table)?;
    let mut entries = table.into_values().map(|own| entry(source, own)).collect::<Result<Vec<_>>>()?;
    sort(&mut entries);
    Ok(entries)
}

/// The metadata of such a file: that of the source where it has the layout, and how the model was pruned.
pub fn metadata(source: &Checkpoint, obs_diff: &Value) -> Vec<(String, String)> {
    let mut metadata = match source.layout() {
        Layout::Original => source.shards()[0].header().metadata.clone(),
        Layout::Diffusers => vec![("format".into(), "pt".into())],
    };
    metadata.retain(|(key, _)| key != OBS_DIFF_KEY && !HASHES.contains(&key.as_str()));
    metadata.push((OBS_DIFF_KEY.into(), obs_diff.to_string()));
    metadata
}

fn entry(source: &Checkpoint, own: Fused) -> Result<Entry> {
    let dtypes: Vec<_> = own.parts.iter().filter_map(|part| source.info(part)).map(|info| info.dtype).collect();
    match dtypes.iter().find(|&&dtype| dtype != dtypes[0]) {
        Some(other) => Err(Error::Unsupported {
            what: format!("--output-layout original fuses {}", own.parts.join(", ")),
            found: format!("dtypes {} and {other}", dtypes[0]),
            supported: "one dtype for all of them; use --output-layout diffusers".into(),
        }),
        None => Ok(Entry {
            name: own.name,
            dtype: dtypes[0],
            shape: own.shape,
            parts: own.parts,
            halves_swapped: own.halves_swapped,
        }),
    }
}

fn check_names(source: &Checkpoint, arch: &Architecture) -> Result<()> {
    let known: BTreeMap<_, _> = expected_tensors(arch).into_iter().collect();
    match source.names().find(|&name| !known.contains_key(name)) {
        Some(name) => Err(Error::Unsupported {
            what: format!("--output-layout original of {}", source.folder().display()),
            found: format!("tensor `{name}`, which that layout has no name for"),
            supported: format!("the tensors of a {}; use --output-layout diffusers", arch.class_name()),
        }),
        None => Ok(()),
    }
}

/// A reader of the file must find the same architecture.
fn check_sizes(source: &Checkpoint, arch: &Architecture, table: &BTreeMap<String, Fused>) -> Result<()> {
    let family = match arch {
        Architecture::Sd3(_) => Family::Sd3,
        Architecture::Flux(_) => Family::Flux,
    };
    let shapes = table.values().map(|entry| (entry.name.as_str(), entry.shape.as_slice())).collect();
    let found = infer(family, &Shapes { shapes, prefix: "", path: Path::new("the file") })?;
    if found.computes_like(arch) {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: format!("--output-layout original of {}", source.folder().display()),
        found: format!(
            "{} attention heads, where a reader of that layout would find {}: it says sizes by shapes alone",
            arch.num_attention_heads(),
            found.num_attention_heads()
        ),
        supported: "the proportions of the published models; use --output-layout diffusers".into(),
    })
}
