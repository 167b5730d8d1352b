//! Least-squares refinement on a fixed mask: `min tr((W - V) H (W - V)^T)` over the support of `V`, by
//! conjugate gradients preconditioned with the diagonal (PCG; ALPS, Meng et al. 2024, section 3.3).
//!
//! Rows are independent problems, so tasks take `ROW_CHUNK` rows through all iterations; an iteration is one
//! product of the chunk with H.

use faer::linalg::matmul::matmul;
use faer::{Accum, Par};
use rayon::prelude::*;

use super::simd::vectorized;
use super::{ROW_CHUNK, dot, sum, view, view_mut};
use crate::ops::{Mask, Symmetric};

/// Improves `weight` (f32 `[rows, d]`, zero outside `mask`) towards `dense` (same shape) in `iterations` steps.
///
/// `hessian` is the damped Hessian, mirrored ([`Factor::into_damped`](crate::ops::symmetric::Factor::into_damped)).
pub fn refine(weight: &mut [f32], dense: &[f32], mask: &Mask, hessian: &Symmetric, iterations: usize) {
    let d = hessian.size;
    let inverse_diagonal: Vec<f32> = hessian.diagonal().iter().map(|&h| 1.0 / h).collect();
    weight
        .par_chunks_mut(ROW_CHUNK * d)
        .zip(dense.par_chunks(ROW_CHUNK * d))
        .zip(mask.as_slice().par_chunks(ROW_CHUNK * d))
        .for_each(|((weight, dense), keep)| {
            refine_rows(weight, dense, keep, hessian, &inverse_diagonal, iterations);
        });
}

fn refine_rows(
    weight: &mut [f32],
    dense: &[f32],
    keep: &[bool],
    hessian: &Symmetric,
    inverse_diagonal: &[f32],
    iterations: usize,
) {
    let d = hessian.size;
    let rows = weight.len() / d;
    let hessian = view(&hessian.data, d);
    let times_hessian = |source: &[f32], target: &mut [f32]| {
        matmul(view_mut(target, d), Accum::Replace, view(source, d), hessian, 1.0, Par::Seq);
        vectorized(
            #[inline(always)]
            || {
                target.iter_mut().zip(keep).for_each(|(value, &keep)| *value = if keep { *value } else { 0.0 });
            },
        );
    };

    let mut direction: Vec<f32> = dense.iter().zip(weight.iter()).map(|(dense, weight)| dense - weight).collect();
    let mut residual = vec![0.0; rows * d];
    times_hessian(&direction, &mut residual);
    let mut product = vec![0.0; rows * d];
    let mut energy = vec![0.0; rows];
    for row in 0..rows {
        let at = row * d..(row + 1) * d;
        direction[at.clone()].fill(0.0);
        energy[row] = scaled_norm(&residual[at.clone()], inverse_diagonal);
        precondition(&residual[at.clone()], inverse_diagonal, &mut direction[at], 0.0);
    }
    for _ in 0..iterations {
        times_hessian(&direction, &mut product);
        for row in 0..rows {
            let at = row * d..(row + 1) * d;
            let curvature = dot(&direction[at.clone()], &product[at.clone()]);
            // A row that is solved, or has nothing to adjust, has no direction left.
            if !(curvature > 0.0 && energy[row] > 0.0) {
                continue;
            }
            let step = (energy[row] / curvature) as f32;
            axpy(step, &direction[at.clone()], &mut weight[at.clone()]);
            axpy(-step, &product[at.clone()], &mut residual[at.clone()]);
            let before = energy[row];
            energy[row] = scaled_norm(&residual[at.clone()], inverse_diagonal);
            let turn = (energy[row] / before) as f32;
            precondition(&residual[at.clone()], inverse_diagonal, &mut direction[at], turn);
        }
    }
}

/// `direction = residual / diag H + turn * direction`.
fn precondition(residual: &[f32], inverse_diagonal: &[f32], direction: &mut [f32], turn: f32) {
    vectorized(
        #[inline(always)]
        || {
            for ((direction, residual), inverse) in direction.iter_mut().zip(residual).zip(inverse_diagonal) {
                *direction = residual * inverse + turn * *direction;
            }
        },
    );
}

/// `<residual, residual / diag H>`.
fn scaled_norm(residual: &[f32], inverse_diagonal: &[f32]) -> f64 {
    sum(residual, inverse_diagonal, |residual, inverse| residual * residual * inverse)
}

fn axpy(scale: f32, source: &[f32], target: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            target.iter_mut().zip(source).for_each(|(target, source)| *target += scale * source);
        },
    );
}
