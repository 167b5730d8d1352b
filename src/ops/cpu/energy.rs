//! `tr(W H W^T)`: how much output a weight matrix makes of its inputs.

use faer::linalg::matmul::matmul;
use faer::{Accum, Par};
use rayon::prelude::*;

use super::{ROW_CHUNK, view, view_mut};
use crate::ops::Symmetric;

/// `sum over rows w of w H w^T` for `rows_of(row range)`, f32 `[rows, d]` in chunks; `hessian` is mirrored.
pub fn energy(weight: &[f32], hessian: &Symmetric) -> f64 {
    let d = hessian.size;
    let partial: Vec<f64> = weight
        .par_chunks(ROW_CHUNK * d)
        .map(|rows| {
            let mut product = vec![0.0; rows.len()];
            matmul(view_mut(&mut product, d), Accum::Replace, view(rows, d), view(&hessian.data, d), 1.0, Par::Seq);
            super::dot(rows, &product)
        })
        .collect();
    partial.iter().sum()
}
