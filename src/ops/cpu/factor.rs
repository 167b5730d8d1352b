//! `H + damping = R R^T`, `R` upper triangular: blocked, left-looking, from the last column to the first.
//!
//! ```text
//!            J    j1..d
//!        +-----+--------+     S = H[rows, J] - R[rows, j1..] R[J, j1..]^T       (tasks over rows)
//!  rows  |  S  |   R    |     R[J, J] R[J, J]^T = H[J, J] - ...                 (float64)
//!        +-----+--------+     R[rows, J] = S R[J, J]^-T
//!   J    | RJJ | panel  |
//!        +-----+--------+
//! ```
//!
//! SparseGPT needs the upper `U` with `H^-1 = U^T U` and takes Cholesky, inverse, Cholesky for it. Here
//! `U = R^-1`, and the sweep only ever needs blocks of it: a third of `d^3` multiply-adds are left of four.

use faer::linalg::matmul::matmul;
use faer::{Accum, Par};
use rayon::prelude::*;

use super::triangle::{factor_upper, invert_upper};
use super::{ROW_CHUNK, view, view_mut};
use crate::ops::Symmetric;
use crate::ops::symmetric::Factor;

/// Columns factored at a time: its float64 work is `d * 128^2 / 3`, its products have depth of at least 128.
const BLOCK: usize = 128;

/// A factorisation that met a pivot that is not positive. The matrix is given back as it was.
#[derive(Debug)]
pub struct NonPositivePivot {
    pub matrix: Symmetric,
    /// Column of the pivot.
    pub index: usize,
}

/// Factors `H + dampening * mean(diag H) * I` (SparseGPT, OBS-Diff). Columns with `H[d, d] = 0` are dead: they get a diagonal of 1 and are listed in
/// the result.
///
/// # Errors
/// [`NonPositivePivot`], with the matrix unchanged, when a pivot is not positive and finite.
pub fn factor(mut matrix: Symmetric, dampening: f64) -> Result<Factor, NonPositivePivot> {
    let mut diagonal = matrix.diagonal();
    let dead: Vec<usize> = (0..diagonal.len()).filter(|&i| diagonal[i] == 0.0).collect();
    dead.iter().for_each(|&i| diagonal[i] = 1.0);
    let mean = diagonal.iter().map(|&h| f64::from(h)).sum::<f64>() / diagonal.len().max(1) as f64;
    let damping = (dampening * mean) as f32;

    matrix.mirror();
    let damped: Vec<f32> = diagonal.iter().map(|h| h + damping).collect();
    matrix.set_diagonal(&damped);
    match factor_in_upper_triangle(&mut matrix) {
        Ok(()) => Ok(Factor { matrix, hessian_diagonal: diagonal, damping, dead }),
        Err(index) => {
            dead.iter().for_each(|&i| diagonal[i] = 0.0);
            matrix.set_diagonal(&diagonal);
            Err(NonPositivePivot { matrix, index })
        }
    }
}

/// Replaces the upper triangle and the diagonal of a mirrored matrix by `R`; the strictly lower triangle is
/// left alone.
fn factor_in_upper_triangle(matrix: &mut Symmetric) -> Result<(), usize> {
    let d = matrix.size;
    for start in (0..d).step_by(BLOCK).rev() {
        let width = BLOCK.min(d - start);
        let end = start + width;
        let (above, block_rows) = matrix.data.split_at_mut(start * d);
        let block_rows = &mut block_rows[..width * d];
        let panel: Vec<f32> = block_rows.chunks_exact(d).flat_map(|row| &row[end..]).copied().collect();
        let inverse = factor_diagonal_block(block_rows, &panel, d, start, width)?;

        let inverse = view(&inverse, width);
        above.par_chunks_mut(ROW_CHUNK * d).for_each(|rows| {
            let (left, right) = view_mut(rows, d).split_at_col_mut(end);
            let mut target = left.subcols_mut(start, width);
            if end < d {
                let panel = view(&panel, d - end);
                matmul(target.as_mut(), Accum::Add, right.as_ref(), panel.transpose(), -1.0, Par::Seq);
            }
            let updated = target.to_owned();
            matmul(target, Accum::Replace, updated.as_ref(), inverse.transpose(), 1.0, Par::Seq);
        });
    }
    Ok(())
}

/// Factors `H[J, J] - panel panel^T` in float64, writes its upper triangle back, and returns the inverse of
/// the factor, `[width, width]`.
fn factor_diagonal_block(
    block_rows: &mut [f32],
    panel: &[f32],
    d: usize,
    start: usize,
    width: usize,
) -> Result<Vec<f32>, usize> {
    let mut block: Vec<f64> = block_rows
        .chunks_exact(d)
        .flat_map(|row| row[start..start + width].iter().map(|&value| f64::from(value)))
        .collect();
    if !panel.is_empty() {
        let panel = view(panel, panel.len() / width);
        let mut product = vec![0.0; width * width];
        matmul(view_mut(&mut product, width), Accum::Replace, panel, panel.transpose(), 1.0, Par::Seq);
        block.iter_mut().zip(&product).for_each(|(value, product)| *value -= f64::from(*product));
    }
    factor_upper(&mut block, width).map_err(|index| start + index)?;
    for (i, row) in block_rows.chunks_exact_mut(d).enumerate() {
        for j in i..width {
            row[start + j] = block[i * width + j] as f32;
        }
    }
    Ok(invert_upper(&block, width).into_iter().map(|value| value as f32).collect())
}
