//! Layers that several networks share.

use rayon::prelude::*;

use crate::error::Result;
use crate::ops::{self, Tensor};

/// y = x weight^T + bias.
#[derive(Debug)]
pub struct Linear {
    /// [features, columns]
    pub weight: Tensor,
    /// `[features]`
    pub bias: Option<Tensor>,
}

impl Linear {
    /// [.., columns] to [.., features].
    ///
    /// # Errors
    /// [`crate::Error::Runtime`] if the last dimension of `x` is not the number of columns.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, self.bias.as_ref())
    }
}

/// y = (x - mean) / sqrt(var + eps) * weight + bias over the last axis.
#[derive(Debug)]
pub struct LayerNorm {
    /// `[width]`
    pub weight: Tensor,
    /// `[width]`
    pub bias: Tensor,
    pub eps: f32,
}

impl LayerNorm {
    /// Of `x` [.., width].
    ///
    /// # Errors
    /// [`crate::Error::Runtime`] if `x` is not f32 in host memory.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.as_slice()?, self.bias.as_slice()?);
        let mut out = x.clone();
        out.as_mut_slice()?.par_chunks_mut(weight.len()).for_each(|row| {
            let width = row.len() as f64;
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width;
            let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width;
            let inverse = 1.0 / (variance + f64::from(self.eps)).sqrt();
            for ((x, &weight), &bias) in row.iter_mut().zip(weight).zip(bias) {
                *x = ((f64::from(*x) - mean) * inverse) as f32 * weight + bias;
            }
        });
        Ok(out)
    }
}
