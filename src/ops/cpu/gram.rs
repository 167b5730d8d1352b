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
