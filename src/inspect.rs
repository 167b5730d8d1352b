//! What a model folder or a safetensors file holds: sizes, dtypes, zeros and their pattern.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use crate::checkpoint::config::Architecture;
use crate::checkpoint::original::{is_original, refuse_other_formats};
use crate::checkpoint::scan::{Pattern, scan};
use crate::checkpoint::{Pipeline, SafetensorsFile, TensorInfo};
use crate::error::{Error, Result};
use crate::model::taps::taps;

/// Version of the JSON form of [`Inspection`].
pub const SCHEMA: &str = "obsdiff.inspect/1";

/// Everything that `inspect` tells.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// [`SCHEMA`].
    pub schema: &'static str,
    pub path: String,
    /// `diffusers`, `original (SD3)`, `original (FLUX)`; `None` for a plain file.
    pub layout: Option<&'static str>,
    /// Why the transformer in a plain file cannot be used, if there is one.
    pub refused: Option<String>,
    /// `None` for a plain file.
    pub architecture: Option<ArchitectureSummary>,
    /// Weight files.
    pub files: usize,
    /// Under the names of diffusers, where the file has fused ones, and with those of other networks.
    pub tensors: usize,
    /// Tensors of other networks in a file of the original layout: VAE, text encoders.
    pub carried: usize,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Tensors per dtype.
    pub dtypes: BTreeMap<String, usize>,
    /// Weights of `matrices` together.
    pub matrix_weights: u64,
    /// Zeros of `matrices` together.
    pub matrix_zeros: u64,
    /// The prunable Linears of a model in the order of its blocks, or every 2-D float tensor of a file by
    /// name.
    pub matrices: Vec<MatrixInspection>,
}

/// The configuration's main sizes.
#[derive(Debug, Serialize)]
pub struct ArchitectureSummary {
    pub class: &'static str,
    /// SD3 blocks or FLUX double blocks.
    pub blocks: usize,
    /// FLUX single blocks.
    pub single_blocks: usize,
    pub width: usize,
    pub heads: usize,
    pub prompt_width: usize,
    pub pooled_width: usize,
    pub dual_attention_blocks: usize,
    pub guidance_embedding: bool,
}

/// One weight matrix.
#[derive(Debug, Serialize)]
pub struct MatrixInspection {
    /// Module path of a Linear, or tensor name.
    pub name: String,
    pub rows: usize,
    pub columns: usize,
    pub dtype: String,
    pub zeros: u64,
    pub non_finite: u64,
    /// Zeros over weights.
    pub sparsity: f64,
    /// `dense`, `unstructured`, `zero`, or `N:M` (keeps at most N of M).
    pub pattern: String,
}

/// Inspects a model, or any other safetensors file. A file with a transformer that cannot be used, such as a quantised
/// one, is shown as a plain file with the reason.
///
/// # Errors
/// Those of [`Pipeline::open`], [`Pipeline::weights`], [`SafetensorsFile::open`].
pub fn inspect(path: &Path) -> Result<Inspection> {
    if !path.is_file() {
        return inspect_model(path, &Pipeline::open(path)?);
    }
    refuse_other_formats(path)?;
    if !is_original(&SafetensorsFile::open(path)?) {
        return inspect_file(path, None);
    }
    match Pipeline::open(path) {
        Ok(pipeline) => inspect_model(path, &pipeline),
        Err(error) => inspect_file(path, Some(error.to_string())),
    }
}

fn inspect_model(path: &Path, pipeline: &Pipeline) -> Result<Inspection> {
    let weights = pipeline.weights()?;
    let linears: Vec<_> = taps(&pipeline.architecture).into_iter().flat_map(|tap| tap.linears).collect();
    let matrices = linears
        .par_iter()
        .map(|linear| {
            let tensor = linear.weight();
            let missing = || Error::TensorMissing {
                path: weights.folder().to_path_buf(),
                tensor: tensor.clone(),
                hint: "the configuration requires it".into(),
            };
            let info = weights.info(&tensor).ok_or_else(missing)?;
            let matrix = inspect_matrix(&linear.name, info, &weights.bytes(&tensor)?);
            weights.release(&tensor);
            matrix.ok_or_else(missing)
        })
        .collect::<Result<Vec<_>>>()?;
    let infos: Vec<_> = weights.names().filter_map(|name| weights.info(name)).collect();
    Ok(Inspection {
        layout: Some(pipeline.layout.describe(&pipeline.architecture)),
        architecture: Some(describe(&pipeline.architecture)),
        files: weights.shards().len(),
        carried: weights.carried().len(),
        ..summary(path, &infos, matrices)
    })
}

fn inspect_file(path: &Path, refused: Option<String>) -> Result<Inspection> {
    let file = SafetensorsFile::open(path)?;
    let tensors: Vec<_> = file.names().filter_map(|name| Some((name, file.info(name)?))).collect();
    let matrices = tensors
        .par_iter()
        .map(|&(name, info)| {
            let matrix = inspect_matrix(name, info, file.bytes(name)?);
            file.release(name);
            Ok(matrix)
        })
        .collect::<Result<Vec<_>>>()?;
    let infos: Vec<_> = tensors.iter().map(|&(_, info)| info).collect();
    Ok(Inspection { refused, ..summary(path, &infos, matrices.into_iter().flatten().collect()) })
}

/// `None` for a tensor that is no 2-D float matrix.
fn inspect_matrix(name: &str, info: &TensorInfo, bytes: &[u8]) -> Option<MatrixInspection> {
    let &[rows, columns] = info.shape.as_slice() else { return None };
    let found = scan(bytes, info)?;
    Some(MatrixInspection {
        name: name.to_string(),
        rows,
        columns,
        dtype: info.dtype.to_string(),
        zeros: found.zeros,
        non_finite: found.non_finite,
        sparsity: found.sparsity(),
        pattern: if found.elements == 0 { Pattern::Dense } else { found.pattern() }.to_string(),
    })
}

/// Of one plain file.
fn summary(path: &Path, infos: &[&TensorInfo], matrices: Vec<MatrixInspection>) -> Inspection {
    let mut dtypes = BTreeMap::new();
    for info in infos {
        *dtypes.entry(info.dtype.to_string()).or_default() += 1;
    }
    Inspection {
        schema: SCHEMA,
        path: path.display().to_string(),
        layout: None,
        refused: None,
        architecture: None,
        files: 1,
        tensors: infos.len(),
        carried: 0,
        parameters: infos.iter().map(|info| info.elements() as u64).sum(),
        bytes: infos.iter().map(|info| info.range.len() as u64).sum(),
        dtypes,
        matrix_weights: matrices.iter().map(|m| m.rows as u64 * m.columns as u64).sum(),
        matrix_zeros: matrices.iter().map(|m| m.zeros).sum(),
        matrices,
    }
}

fn describe(arch: &Architecture) -> ArchitectureSummary {
    let (blocks, single_blocks, dual_attention_blocks, guidance_embedding) = match arch {
        Architecture::Sd3(c) => (c.num_layers, 0, c.dual_attention_layers.len(), false),
        Architecture::Flux(c) => (c.num_layers, c.num_single_layers, 0, c.guidance_embeds),
    };
    ArchitectureSummary {
        class: arch.class_name(),
        blocks,
        single_blocks,
        width: arch.inner_dim(),
        heads: arch.num_attention_heads(),
        prompt_width: arch.joint_attention_dim(),
        pooled_width: arch.pooled_projection_dim(),
        dual_attention_blocks,
        guidance_embedding,
    }
}
