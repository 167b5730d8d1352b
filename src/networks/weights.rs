//! Weights of a network that are read when a layer needs them and given back after it.

use std::path::{Path, PathBuf};

use super::layers::{LayerNorm, Linear};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::ops::Tensor;

/// The memory-mapped weights of one network. A layer's tensors are widened to f32 when they are asked for, and the
/// pages of the file are given back, so the network takes the memory of its largest layer rather than its own size.
#[derive(Debug)]
pub struct Weights {
    checkpoint: Checkpoint,
    path: PathBuf,
}

impl Weights {
    /// The weights in `folder` that are called `single` when they are one file; see [`Checkpoint::open_named`].
    ///
    /// # Errors
    /// Those of [`Checkpoint::open_named`].
    pub fn open(folder: &Path, single: &str) -> Result<Self> {
        Ok(Weights { checkpoint: Checkpoint::open_named(folder, single)?, path: folder.into() })
    }

    /// The weights in one safetensors file.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open_file`].
    pub fn open_file(path: &Path) -> Result<Self> {
        Ok(Weights { checkpoint: Checkpoint::open_file(path)?, path: path.into() })
    }

    /// The weights of a text or picture encoder in `folder`: `model.safetensors` or the shards of its index. Where a
    /// repository was downloaded in its variant `fp16` alone, that one is taken, as a warning says.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open_named`].
    pub fn open_encoder(folder: &Path) -> Result<Self> {
        let there = |name: &str| folder.join(name).is_file();
        if !there("model.safetensors.index.json") && !there("model.safetensors") {
            for index in ["model.safetensors.index.fp16.json", "model.fp16.safetensors.index.json"] {
                if there(index) {
                    warn_of_half_precision(folder, index);
                    let checkpoint = Checkpoint::open_index(folder.join(index))?;
                    return Ok(Weights { checkpoint, path: folder.into() });
                }
            }
            let single = "model.fp16.safetensors";
            if there(single) {
                warn_of_half_precision(folder, single);
                return Weights::open_file(&folder.join(single));
            }
        }
        Weights::open(folder, "model.safetensors")
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.checkpoint.info(name).is_some()
    }

    /// Where the weights lie.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// [`Error::TensorMissing`].
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        let info = self.checkpoint.info(name).ok_or_else(|| Error::TensorMissing {
            path: self.path.clone(),
            tensor: name.into(),
            hint: "the configuration beside it needs one; download both again".into(),
        })?;
        Ok(&info.shape)
    }

    /// Refuses a tensor that is not there or has another shape; its values are not read.
    ///
    /// # Errors
    /// [`Error::TensorMissing`], [`Error::Shape`].
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        let found = self.shape(name)?;
        if found == shape {
            return Ok(());
        }
        Err(Error::Shape {
            path: self.path.clone(),
            tensor: name.into(),
            expected: format!("{shape:?}, as the configuration beside it says"),
            found: found.to_vec(),
        })
    }

    /// A tensor of this shape as f32 in host memory.
    ///
    /// # Errors
    /// Those of [`Weights::expect`], [`Error::Unsupported`] for a dtype other than F32, F16, BF16,
    /// [`Error::NonFinite`].
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.expect(name, shape)?;
        let values = self.checkpoint.to_f32(name)?;
        self.checkpoint.release(name);
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite {
                tensor: name.into(),
                found: values[index].to_string(),
                context: format!("at index {index} in {}", self.path.display()),
            });
        }
        Tensor::from_vec(values, shape)
    }

    /// Rows of a [rows, width] tensor, without reading the others: [indices, width].
    ///
    /// # Errors
    /// Those of [`Weights::tensor`], and [`Error::Malformed`] for a row that is not there.
    pub fn rows(&self, name: &str, width: usize, indices: &[u32]) -> Result<Tensor> {
        let &[rows, found] = self.shape(name)? else {
            return self.tensor(name, &[0, width]);
        };
        if found != width {
            return self.tensor(name, &[rows, width]);
        }
        if let Some(index) = indices.iter().find(|&&index| index as usize >= rows) {
            let problem = format!("`{name}` has {rows} rows, and row {index} is needed; its files belong to others");
            return Err(Error::malformed(&self.path, problem));
        }
        let mut values = Vec::with_capacity(indices.len() * width);
        for &index in indices {
            values.extend(self.checkpoint.row_to_f32(name, index as usize)?);
        }
        self.checkpoint.release(name);
        Tensor::from_vec(values, [indices.len(), width])
    }

    /// `module.weight` [features, columns] and, if there is one, `module.bias` `[features]`.
    ///
    /// # Errors
    /// Those of [`Weights::tensor`].
    pub fn linear(&self, module: &str, features: usize, columns: usize) -> Result<Linear> {
        let bias = format!("{module}.bias");
        Ok(Linear {
            weight: self.tensor(&format!("{module}.weight"), &[features, columns])?,
            bias: self.has(&bias).then(|| self.tensor(&bias, &[features])).transpose()?,
        })
    }

    /// `module.weight` and `module.bias`, both `[width]`.
    ///
    /// # Errors
    /// Those of [`Weights::tensor`].
    pub fn layer_norm(&self, module: &str, width: usize, eps: f32) -> Result<LayerNorm> {
        Ok(LayerNorm {
            weight: self.tensor(&format!("{module}.weight"), &[width])?,
            bias: self.tensor(&format!("{module}.bias"), &[width])?,
            eps,
        })
    }
}

fn warn_of_half_precision(folder: &Path, name: &str) {
    tracing::warn!("{}: only the weights of half precision are there; taking {name}", folder.display());
}
