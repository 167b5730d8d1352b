//! `H += weight * X^T X`, lower triangle only.
//!
//! ```text
//!      +---+
//!      | \ |              one task per tile of the lower triangle, twice as wide as high left of the
//!      +---+---+          diagonal; tiles on the diagonal compute their lower half only
//!      |   | \ |
//!      +---+---+---+
//!      |       | \ |
//!      +-------+---+
//! ```

use faer::linalg::matmul::triangular::BlockStructure::{Rectangular, TriangularLower};
use faer::linalg::matmul::{matmul, triangular};
use faer::{Accum, Par};
use rayon::prelude::*;

use super::simd::vectorized;
use super::{view, view_mut};
use crate::ops::Symmetric;

/// Rows of H per task; 512 was the best of 256, 384 and 512 at d = 3072: smaller tiles pack X more often.
const TILE: usize = 512;

/// Columns of H per task left of the diagonal: two tiles share the packing of their rows.
const WIDTH: usize = 2 * TILE;

/// Adds `weight * X^T X` to the lower triangle of `h`. `x`: f32 `[tokens, h.size()]`, row-major.
///
/// Each entry is one f32 dot product over the tokens, accumulated in a fixed order.
pub fn gram(h: &mut Symmetric, x: &[f32], weight: f32) {
    let d = h.size;
    if x.is_empty() {
        return;
    }
    let x = view(x, d);
    let mut tiles = Vec::new();
    for (tile, rows) in h.data.chunks_mut(TILE * d).enumerate() {
        let mut rest = view_mut(rows, d);
        let row = tile * TILE;
        let mut column = 0;
        while column <= row {
            // The last tile of a row is the one on the diagonal.
            let width = if column == row { TILE.min(d - row) } else { WIDTH.min(row - column) };
            let (target, right) = rest.split_at_col_mut(width);
            tiles.push((target, row, column));
            rest = right;
            column += width;
        }
    }
    tiles.into_par_iter().for_each(|(target, row, column)| {
        let left = x.subcols(row, target.nrows()).transpose();
        let right = x.subcols(column, target.ncols());
        if row == column {
            let (lower, full) = (TriangularLower, Rectangular);
            triangular::matmul(target, lower, Accum::Add, left, full, right, full, weight, Par::Seq);
        } else {
            matmul(target, Accum::Add, left, right, weight, Par::Seq);
        }
    });
}

/// Sum over tokens of each column of `x`, f32 `[tokens, columns]`: in f32 within 64 rows and in float64 beyond.
/// A sum is not finite if an input is not.
pub fn column_sums(x: &[f32], columns: usize) -> Vec<f64> {
    const ROWS: usize = 64;
    let partial: Vec<Vec<f32>> = x
        .par_chunks(ROWS * columns)
        .map(|rows| {
            vectorized(
                #[inline(always)]
                || {
                    let mut sums = vec![0.0f32; columns];
                    for row in rows.chunks_exact(columns) {
                        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                    }
                    sums
                },
            )
        })
        .collect();
    let mut total = vec![0.0; columns];
    for sums in partial {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(sum));
    }
    total
}
