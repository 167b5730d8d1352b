//! How far two sets of latents lie apart.

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::ops::Tensor;

/// Distance of final latents z from those of the dense model, equal noise and prompts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Mean over all values of (z - z_dense)^2.
    pub latent_mse: f64,
    /// |z - z_dense|^2 / |z_dense|^2 over all items together.
    pub latent_rel: f64,
    /// The same ratio item by item.
    pub per_item: Spread,
}

/// Distribution of one number over items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub items: usize,
    #[serde(deserialize_with = "number")]
    pub min: f64,
    #[serde(deserialize_with = "number")]
    pub median: f64,
    #[serde(deserialize_with = "number")]
    pub mean: f64,
    #[serde(deserialize_with = "number")]
    pub max: f64,
    /// Standard deviation over the items (divided by their number).
    #[serde(deserialize_with = "number")]
    pub std: f64,
}

/// JSON knows no infinity and no NaN: what was one comes back as NaN.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl Comparison {
    /// Both [items, ...], in host memory and of the same shape.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the shapes differ.
    pub fn new(dense: &Tensor, pruned: &Tensor) -> Result<Self> {
        if dense.dims() != pruned.dims() || dense.elements() == 0 {
            return Err(Error::Runtime(format!("no distance between {dense:?} and {pruned:?}")));
        }
        let item = dense.elements() / dense.dim(0)?;
        let squares = |values: &[f32]| values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let items = dense.as_slice()?.chunks_exact(item).zip(pruned.as_slice()?.chunks_exact(item));
        let (errors, sizes): (Vec<f64>, Vec<f64>) = items
            .map(|(dense, pruned)| {
                let change: Vec<f32> = pruned.iter().zip(dense).map(|(pruned, dense)| pruned - dense).collect();
                (squares(&change), squares(dense))
            })
            .unzip();
        let (error, size) = (errors.iter().sum::<f64>(), sizes.iter().sum::<f64>());
        let ratios = errors.iter().zip(&sizes).map(|(error, size)| error / size).collect();
        Ok(Comparison {
            latent_mse: error / dense.elements() as f64,
            latent_rel: error / size,
            per_item: Spread::new(ratios),
        })
    }
}

impl Spread {
    /// Of at least one value; the median of an even number is the mean of the middle two.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let items = values.len();
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let mean = values.iter().sum::<f64>() / items as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / items as f64;
        Spread {
            items,
            min: at(0),
            median: (at(items.saturating_sub(1) / 2) + at(items / 2)) / 2.0,
            mean,
            max: at(items.saturating_sub(1)),
            std: variance.sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_spread_follow_their_formulas() {
        let dense = Tensor::from_vec(vec![1.0, 1.0, 2.0, 0.0], [2, 2]).unwrap();
        let pruned = Tensor::from_vec(vec![1.0, 0.0, 2.0, 2.0], [2, 2]).unwrap();
        let found = Comparison::new(&dense, &pruned).unwrap();
        assert_eq!((found.latent_mse, found.latent_rel), (5.0 / 4.0, 5.0 / 6.0));
        let spread = Spread { items: 2, min: 0.5, median: 0.75, mean: 0.75, max: 1.0, std: 0.25 };
        assert_eq!(found.per_item, spread);
        assert_eq!(Spread::new(vec![3.0, 1.0, 2.0]).median, 2.0);
    }
}
