//! How far two sets of latents lie apart.

use serde::{Deserialize, Serialize};

use super::Spread;
use crate::error::{Error, Result};
use crate::ops::Tensor;

/// Distance of final latents z from those of the dense model, equal noise and prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatentDistance {
    /// Mean over all values of (z - z_dense)^2.
    pub latent_mse: f64,
    /// |z - z_dense|^2 / |z_dense|^2 over all items together.
    pub latent_rel: f64,
    /// The same ratio item by item.
    pub items: Vec<f64>,
}

impl LatentDistance {
    /// Both [items, ...], in host memory and of the same shape.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the shapes differ.
    pub fn new(dense: &Tensor, pruned: &Tensor) -> Result<Self> {
        if dense.dims() != pruned.dims() || dense.elements() == 0 {
            return Err(Error::Runtime(format!("no distance between {dense:?} and {pruned:?}")));
        }
        let item = dense.elements() / dense.dim(0)?;
        let pairs = dense.as_slice()?.chunks_exact(item).zip(pruned.as_slice()?.chunks_exact(item));
        let squares: Vec<Squares> = pairs.map(|(dense, pruned)| Squares::of(dense, pruned)).collect();
        let total = squares.iter().fold(Squares::default(), |sum, &item| sum + item);
        Ok(LatentDistance {
            latent_mse: total.error / dense.elements() as f64,
            latent_rel: total.ratio(),
            items: squares.into_iter().map(Squares::ratio).collect(),
        })
    }

    /// The ratios of the items.
    pub fn per_item(&self) -> Spread {
        Spread::new(self.items.clone())
    }
}

/// |z - z_dense|^2 and |z_dense|^2, summed in float64.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Squares {
    pub error: f64,
    pub size: f64,
}

impl Squares {
    /// Of two slices of equal length.
    pub fn of(dense: &[f32], pruned: &[f32]) -> Self {
        let square = |x: f32| f64::from(x) * f64::from(x);
        Squares {
            error: pruned.iter().zip(dense).map(|(pruned, dense)| square(pruned - dense)).sum(),
            size: dense.iter().map(|&x| square(x)).sum(),
        }
    }

    /// error / size.
    pub fn ratio(self) -> f64 {
        self.error / self.size
    }
}

impl std::ops::Add for Squares {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Squares { error: self.error + other.error, size: self.size + other.size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_follow_their_formulas() {
        let dense = Tensor::from_vec(vec![1.0, 1.0, 2.0, 0.0], [2, 2]).unwrap();
        let pruned = Tensor::from_vec(vec![1.0, 0.0, 2.0, 2.0], [2, 2]).unwrap();
        let found = LatentDistance::new(&dense, &pruned).unwrap();
        assert_eq!((found.latent_mse, found.latent_rel), (5.0 / 4.0, 5.0 / 6.0));
        assert_eq!(found.items, [0.5, 1.0]);
        let spread = Spread { items: 2, min: 0.5, median: 0.75, mean: 0.75, max: 1.0, std: 0.25 };
        assert_eq!(found.per_item(), spread);
    }
}
