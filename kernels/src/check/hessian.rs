//! Symmetric matrices and strided weights for the cases of several operations.

use super::random::Random;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::Result;
use crate::matrix::{Element, Matrix, MatrixMut};
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

/// f32 `[rows, columns]` on the device with rows `columns + gap` apart; NaN before, between and after the rows.
pub(super) struct Strided {
    stored: Buffer<f32>,
    rows: usize,
    columns: usize,
    gap: usize,
}

/// Values before the first row.
const LEAD: usize = 5;

impl Strided {
    pub fn new(device: &Device, columns: usize, gap: usize, values: &[f64]) -> Result<Self> {
        let mut stored = vec![f32::NAN; LEAD];
        let rows = values.len() / columns;
        for row in values.chunks_exact(columns) {
            stored.extend(row.iter().map(|&value| value as f32));
            stored.extend(vec![f32::NAN; gap]);
        }
        stored.extend([f32::NAN; LEAD]);
        Ok(Strided { stored: Buffer::from_slice(device, &stored, "weights")?, rows, columns, gap })
    }

    pub fn matrix(&self) -> Matrix<'_> {
        let Strided { stored, rows, columns, gap } = self;
        // SAFETY: `stored` holds these rows and lives as long as the matrix.
        unsafe {
            Matrix::from_address(stored.pointer().offset(LEAD).address(), Element::F32, *rows, *columns, columns + gap)
        }
    }

    pub fn matrix_mut(&mut self) -> MatrixMut<'_> {
        let Strided { stored, rows, columns, gap } = self;
        let first = stored.pointer().offset(LEAD).address();
        // SAFETY: `stored` holds these rows, is borrowed mutably and lives as long as the matrix.
        unsafe { MatrixMut::from_address(first, Element::F32, *rows, *columns, *columns + *gap) }
    }

    /// The rows, and how many values around them are no longer NaN.
    pub fn read(&self) -> Result<(Vec<f64>, usize)> {
        let stored = self.stored.to_vec()?;
        let (before, rest) = stored.split_at(LEAD);
        let (rows, after) = rest.split_at(rest.len() - LEAD);
        let mut values = Vec::with_capacity(self.rows * self.columns);
        let mut touched = before.iter().chain(after).filter(|value| !value.is_nan()).count();
        for row in rows.chunks_exact(self.columns + self.gap) {
            values.extend(row[..self.columns].iter().map(|&value| f64::from(value)));
            touched += row[self.columns..].iter().filter(|value| !value.is_nan()).count();
        }
        Ok((values, touched))
    }
}

/// `count` values of variance 1 that f32 holds.
pub(super) fn normals(count: usize, random: &mut Random) -> Vec<f64> {
    (0..count).map(|_| f64::from(random.normal() as f32)).collect()
}
