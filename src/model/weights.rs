//! The tensors of a transformer by name.

use std::collections::HashMap;

use super::{ReadTensor, taps};
use crate::checkpoint::config::Architecture;
use crate::error::{Error, Result};
use crate::ops::{self, DType, Engine, Tensor};

/// Tensors by their name in the checkpoint, all of one dtype.
pub(super) struct Weights {
    tensors: HashMap<String, Tensor>,
    dtype: DType,
}

impl Weights {
    /// Reads `names` and holds them as `dtype` on `engine`; fails on a value that is not finite.
    pub fn load(names: &[String], dtype: DType, engine: &dyn Engine, read: &mut ReadTensor) -> Result<Self> {
        let mut tensors = HashMap::with_capacity(names.len());
        for name in names {
            let (values, shape) = read(name)?;
            check_finite(name, &values, dtype)?;
            let tensor = Tensor::from_vec(values, shape)?.to_dtype(dtype)?;
            tensors.insert(name.clone(), engine.upload(&tensor)?);
        }
        Ok(Weights { tensors, dtype })
    }

    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.find(name).ok_or_else(|| Error::Unsupported {
            what: "tensor of the transformer".into(),
            found: name.into(),
            supported: "the names in its checkpoint".into(),
        })
    }

    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Replaces an existing tensor by one in host memory, keeping its dtype.
    pub fn replace(&mut self, name: &str, tensor: Tensor, engine: &dyn Engine) -> Result<()> {
        let tensor = tensor.to_dtype(self.get(name)?.dtype())?;
        self.tensors.insert(name.to_string(), engine.upload(&tensor)?);
        Ok(())
    }

    /// Packs the matrix `name` if it is 2:4 sparse; whether it was.
    pub fn pack24(&mut self, name: &str) -> Result<bool> {
        let packed = ops::pack24(self.get(name)?)?;
        let is_sparse = packed.is_some();
        self.tensors.extend(packed.map(|packed| (name.to_string(), packed)));
        Ok(is_sparse)
    }

    /// The dtype of all tensors.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn bytes(&self) -> usize {
        self.tensors.values().map(Tensor::bytes).sum()
    }
}

fn check_finite(name: &str, values: &[f32], dtype: DType) -> Result<()> {
    let largest = dtype.largest();
    let Some(index) = values.iter().position(|x| x.is_nan() || x.abs() > largest) else { return Ok(()) };
    let value = values[index];
    let context = if value.is_finite() {
        format!("at index {index}, more than {} can hold; choose another --dtype", dtype)
    } else {
        format!("at index {index} in the checkpoint")
    };
    Err(Error::NonFinite { tensor: name.to_string(), found: value.to_string(), context })
}

/// Names of all tensors that the forward pass of `architecture` reads.
pub(super) fn tensor_names(architecture: &Architecture) -> Vec<String> {
    let mut linears: Vec<String> =
        taps::taps(architecture).into_iter().flat_map(|tap| tap.linears).map(|linear| linear.name).collect();
    let mut names = Vec::new();
    linears.extend(["context_embedder", "norm_out.linear", "proj_out"].map(String::from));
    let mut embedders = vec!["timestep_embedder", "text_embedder"];
    match architecture {
        Architecture::Sd3(config) => {
            linears.push("pos_embed.proj".into());
            names.push("pos_embed.pos_embed".to_string());
            for index in 0..config.num_layers {
                let block = format!("transformer_blocks.{index}");
                linears.extend(["norm1.linear", "norm1_context.linear"].map(|norm| format!("{block}.{norm}")));
                if config.qk_norm.is_some() {
                    names.extend(joint_norms(&block));
                    if config.dual_attention_layers.contains(&index) {
                        names.extend(["norm_q", "norm_k"].map(|norm| format!("{block}.attn2.{norm}.weight")));
                    }
                }
            }
        }
        Architecture::Flux(config) => {
            linears.push("x_embedder".into());
            if config.guidance_embeds {
                embedders.push("guidance_embedder");
            }
            for index in 0..config.num_layers {
                let block = format!("transformer_blocks.{index}");
                linears.extend(["norm1.linear", "norm1_context.linear"].map(|norm| format!("{block}.{norm}")));
                names.extend(joint_norms(&block));
            }
            for index in 0..config.num_single_layers {
                let block = format!("single_transformer_blocks.{index}");
                linears.push(format!("{block}.norm.linear"));
                names.extend(["norm_q", "norm_k"].map(|norm| format!("{block}.attn.{norm}.weight")));
            }
        }
    }
    for embedder in embedders {
        linears.extend(["linear_1", "linear_2"].map(|linear| format!("time_text_embed.{embedder}.{linear}")));
    }
    names.extend(linears.into_iter().flat_map(|linear| ["weight", "bias"].map(|part| format!("{linear}.{part}"))));
    names
}

fn joint_norms(block: &str) -> [String; 4] {
    ["norm_q", "norm_k", "norm_added_q", "norm_added_k"].map(|norm| format!("{block}.attn.{norm}.weight"))
}
