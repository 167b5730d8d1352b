//! Symmetric matrices and weights for the cases of several operations.

use super::placed::{Host, Layout};
use super::random::Random;
use crate::device::Device;
use crate::error::Result;
use crate::matrix::Element;
use crate::triangle::PackedTriangle;

/// Largest over smallest eigenvalue of [`Hessian::new`], at most: those of B B^T / 2d with B a random `[d, 2d]`
/// matrix lie within (1 -+ sqrt(1/2))^2, here a little more, and 0.1 is added.
pub(super) const CONDITION: f64 = 20.0;

/// A well-conditioned Hessian on both sides. What lies above the diagonal on the host is not symmetric with it.
pub(super) struct Hessian {
    pub device: PackedTriangle,
    /// `[size, size]`, lower triangle.
    pub host: Vec<f64>,
}

impl Hessian {
    pub fn new(device: &Device, size: usize, random: &mut Random) -> Result<Self> {
        let samples = 2 * size;
        let b: Vec<f64> = (0..size * samples).map(|_| random.normal()).collect();
        let mut matrix = vec![f32::NAN; size * size];
        for i in 0..size {
            for j in 0..=i {
                let dot: f64 = b[i * samples..][..samples].iter().zip(&b[j * samples..]).map(|(a, b)| a * b).sum();
                matrix[i * size + j] = (dot / samples as f64 + if i == j { 0.1 } else { 0.0 }) as f32;
            }
        }
        let device = PackedTriangle::from_lower(device, size, &matrix, "Hessian")?;
        Ok(Hessian { device, host: matrix.iter().map(|&value| f64::from(value)).collect() })
    }
}

/// Where the weights of these cases lie: rows `columns + gap` apart, the first not on 16 bytes.
pub(super) fn strided(gap: usize) -> Layout {
    Layout { lead: 5, gap }
}

/// f32 `[values / columns, columns]` of values that f32 holds.
pub(super) fn weights(columns: usize, values: &[f64]) -> Host {
    Host { element: Element::F32, rows: values.len() / columns, columns, values: values.to_vec() }
}

/// `count` values of variance 1 that f32 holds.
pub(super) fn normals(count: usize, random: &mut Random) -> Vec<f64> {
    (0..count).map(|_| f64::from(random.normal() as f32)).collect()
}
