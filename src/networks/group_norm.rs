//! Group normalisation of a picture whose channels lie together.

use rayon::prelude::*;

use super::Weights;
use crate::error::{Error, Result};
use crate::ops::{Tensor, simd};

/// Pieces that a picture is cut into for its statistics, where it has as many pixels.
const PIECES: usize = 64;

/// y = (x - mean) / sqrt(var + eps) * weight + bias, mean and variance over all pixels of a group of neighbouring channels.
#[derive(Debug)]
pub struct GroupNorm {
    /// Module path, for messages.
    name: String,
    /// `[channels]`
    weight: Tensor,
    /// `[channels]`
    bias: Tensor,
    groups: usize,
    eps: f64,
}

/// y = x scale + shift per channel, then SiLU if wanted: what a normalisation is once its statistics are known.
#[derive(Debug, Clone)]
pub struct Affine {
    /// `[channels]`
    pub scale: Vec<f32>,
    /// `[channels]`
    pub shift: Vec<f32>,
    /// Whether y / (1 + e^-y) follows.
    pub silu: bool,
}

impl GroupNorm {
    /// With `weight` and `bias` `[channels]`; `name` stands in messages.
    ///
    /// # Errors
    /// [`Error::Runtime`] if they differ in length or cannot be cut into `groups`.
    pub fn new(name: &str, weight: Tensor, bias: Tensor, groups: usize, eps: f64) -> Result<Self> {
        let channels = weight.dims1()?;
        if bias.dims1()? != channels || groups == 0 || !channels.is_multiple_of(groups) {
            return Err(Error::Runtime(format!("group_norm: {weight:?} and {bias:?} in {groups} groups")));
        }
        Ok(GroupNorm { name: name.into(), weight, bias, groups, eps })
    }

    /// `module.weight` and `module.bias` of a network.
    ///
    /// # Errors
    /// Those of [`Weights::tensor`] and [`GroupNorm::new`].
    pub fn read(weights: &Weights, module: &str, channels: usize, groups: usize, eps: f64) -> Result<Self> {
        let tensor = |name: &str| weights.tensor(&format!("{module}.{name}"), &[channels]);
        GroupNorm::new(module, tensor("weight")?, tensor("bias")?, groups, eps)
    }

    /// The normalisation of `x` [height, width, channels], followed by SiLU if `silu`, to be applied where `x` is read.
    /// Sums are taken in f64, in an order that depends on the shape alone.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if `x` holds NaN or infinity; [`Error::Runtime`] for another shape.
    pub fn affine(&self, x: &Tensor, silu: bool) -> Result<Affine> {
        let (height, width, channels) = x.dims3()?;
        let (weight, bias) = (self.weight.as_slice()?, self.bias.as_slice()?);
        if channels != weight.len() || x.elements() == 0 {
            return Err(Error::Runtime(format!("group_norm: {x:?} on {channels} channels")));
        }
        let piece = (height * width).div_ceil(PIECES) * channels;
        let sums = |pixels: &[f32]| {
            let (mut sums, mut squares) = (vec![0f64; channels], vec![0f64; channels]);
            simd::vectorized(
                #[inline(always)]
                || {
                    for pixel in pixels.chunks_exact(channels) {
                        for ((&x, sum), square) in pixel.iter().zip(&mut sums).zip(&mut squares) {
                            let x = f64::from(x);
                            *sum += x;
                            *square += x * x;
                        }
                    }
                },
            );
            [sums, squares]
        };
        let pieces: Vec<[Vec<f64>; 2]> = x.as_slice()?.par_chunks(piece).map(sums).collect();
        let members = channels / self.groups;
        let count = (height * width * members) as f64;
        let mut affine = Affine { scale: vec![0.0; channels], shift: vec![0.0; channels], silu };
        for group in 0..self.groups {
            let own = group * members..(group + 1) * members;
            let total = |which: usize| -> f64 { pieces.iter().flat_map(|sums| &sums[which][own.clone()]).sum() };
            let mean = total(0) / count;
            let variance = (total(1) / count - mean * mean).max(0.0);
            let inverse = 1.0 / (variance + self.eps).sqrt();
            if !(mean.is_finite() && variance.is_finite()) {
                return Err(Error::NonFinite {
                    tensor: self.name.clone(),
                    found: "NaN or infinity".into(),
                    context: "in its input".into(),
                });
            }
            for channel in own {
                let scale = f64::from(weight[channel]) * inverse;
                affine.scale[channel] = scale as f32;
                affine.shift[channel] = (f64::from(bias[channel]) - mean * scale) as f32;
            }
        }
        Ok(affine)
    }

    /// The normalised `x` [height, width, channels].
    ///
    /// # Errors
    /// Those of [`GroupNorm::affine`].
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let affine = self.affine(x, false)?;
        let mut out = x.clone();
        out.as_mut_slice()?.par_chunks_mut(affine.scale.len()).with_min_len(64).for_each(|pixel| {
            for (x, (scale, shift)) in pixel.iter_mut().zip(affine.scale.iter().zip(&affine.shift)) {
                *x = *x * scale + shift;
            }
        });
        Ok(out)
    }
}
