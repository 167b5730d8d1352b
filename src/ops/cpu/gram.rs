//! `H += weight * X^T X`, lower triangle only.
//!
//! ```text
//!       columns 0 .. i+TILE
//!      +----+
//!  i   |    |            task i computes rows i .. i+TILE up to and including the
//!      +----+----+       diagonal tile: (d/TILE + 1) / (2 d/TILE) of the full product
//!      |         |
//!      +---------+----+
//! ```

use faer::linalg::matmul::matmul;
use faer::{Accum, Par};
use rayon::prelude::*;

use super::simd::vectorized;
use super::{view, view_mut};
use crate::ops::Symmetric;

/// Rows of H per task. Smaller wastes less above the diagonal, larger packs X less often; 256 was the best
/// of 128, 256, 384 and 512 at d = 3072.
const TILE: usize = 256;

/// Adds `weight * X^T X` to the lower triangle of `h`. `x`: f32 `[tokens, h.size()]`, row-major.
///
/// Each entry is one f32 dot product over the tokens, accumulated in a fixed order.
pub fn gram(h: &mut Symmetric, x: &[f32], weight: f32) {
    let d = h.size;
    if x.is_empty() {
        return;
    }
    let x = view(x, d);
    h.data.par_chunks_mut(TILE * d).enumerate().for_each(|(tile, rows)| {
        let start = tile * TILE;
        let height = rows.len() / d;
        let target = view_mut(rows, d).subcols_mut(0, start + height);
        let (left, right) = (x.subcols(start, height).transpose(), x.subcols(0, start + height));
        matmul(target, Accum::Add, left, right, weight, Par::Seq);
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
