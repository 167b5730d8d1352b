//! The OBS column sweep of SparseGPT on `H = R R^T`, without the inverse of `R`.
//!
//! With `U = R^-1` SparseGPT computes, column by column, `e_i = (w_i - q_i) / U[i, i]` and
//! `W[:, j] -= e_i U[i, j]` for `j > i`. Summed up, `W - Q = E U`, so `E = (W - Q) R`: the errors follow from
//! the *finished* columns, and the weights at the start of block `B` are
//!
//! ```text
//!     W_B + P U_BB      with  P = D[:, ..b0] R[..b0, B],   D = W - Q,   U_BB = R_BB^-1
//! ```
//!
//! A block therefore costs one product of depth `b0` and a `|B|`-sized inverse. Rows are independent but for
//! the unstructured selection, so tasks take `ROW_CHUNK` rows each; per block:
//!
//! ```text
//!   1. all chunks: update W_B, score it, histogram           (product on the matrix units)
//!   2. once:       cut at the exact count over all rows      (unstructured only)
//!   3. all chunks: sweep the columns of B, record D_B, mask
//! ```

use faer::linalg::matmul::matmul;
use faer::{Accum, Par};
use rayon::prelude::*;

use super::select::{Cut, Histogram};
use super::simd::vectorized;
use super::triangle::invert_upper;
use super::{ROW_CHUNK, view, view_mut};
use crate::ops::symmetric::Factor;
use crate::ops::{Mask, NM, Pattern, Rounding, SweepOptions};

/// One task's rows during the sweep.
struct Chunk<'a> {
    rows: usize,
    /// `[rows, d]`: dense weights right of the block, finished weights left of it.
    weight: &'a mut [f32],
    /// `[rows, d]`: D, dense minus finished, left of the block.
    change: &'a mut [f32],
    keep: &'a mut [bool],
    /// `[rows, width]`: `D R[..start, B]`.
    projected: Vec<f32>,
    /// `[rows, width]`: the block's weights with all earlier columns compensated.
    block: Vec<f32>,
    /// `[rows, width]`: `|w| / U[i, i]`, whose order is that of `w^2 / U[i, i]^2`.
    scores: Vec<f32>,
    loss: f64,
}

/// The factor within one block of columns.
struct Block<'a> {
    factor: &'a Factor,
    start: usize,
    width: usize,
    /// `U_BB`, `[width, width]` row-major, upper triangular.
    inverse: Vec<f32>,
    /// `R[i, i] = 1 / U[i, i]`.
    pivots: Vec<f32>,
}

/// Prunes `weight` (f32 `[rows, d]` row-major, in place) and compensates the weights that stay.
///
/// Dead columns are zeroed first, without compensation. Removed weights are exactly 0 and counted by the
/// returned mask; unstructured counts follow `options.count`, N:M groups lose exactly `M - N` weights each. The
/// number is `tr(D (H + damping) D^T)` with `D` the change of the weights.
pub fn sweep(weight: &mut [f32], factor: &Factor, options: &SweepOptions) -> (Mask, f64) {
    let d = factor.size();
    let rows = weight.len() / d;
    for row in weight.chunks_exact_mut(d) {
        factor.dead().iter().for_each(|&column| row[column] = 0.0);
    }
    let mut mask = Mask::all(rows, d);
    let mut change = vec![0.0; rows * d];
    let mut chunks: Vec<Chunk> = weight
        .chunks_mut(ROW_CHUNK * d)
        .zip(change.chunks_mut(ROW_CHUNK * d))
        .zip(mask.as_mut_slice().chunks_mut(ROW_CHUNK * d))
        .map(|((weight, change), keep)| {
            let rows = weight.len() / d;
            let (projected, block, scores) = (Vec::new(), Vec::new(), Vec::new());
            Chunk { rows, weight, change, keep, projected, block, scores, loss: 0.0 }
        })
        .collect();

    for start in (0..d).step_by(options.block_size) {
        let block = Block::new(factor, start, options.block_size.min(d - start));
        match options.pattern {
            Pattern::Unstructured(sparsity) => {
                let count = options.count.block_count(sparsity, rows, start, start + block.width);
                let histogram = chunks
                    .par_iter_mut()
                    .map(|chunk| {
                        chunk.update(&block);
                        chunk.score(&block);
                        Histogram::of(&chunk.scores)
                    })
                    .reduce_with(Histogram::merge);
                let Some(histogram) = histogram else { break };
                let cut = Cut::smallest(&histogram, chunks.iter().map(|chunk| chunk.scores.as_slice()), count);
                chunks.par_iter_mut().enumerate().for_each(|(index, chunk)| {
                    chunk.mark(&block, &cut, index * ROW_CHUNK * block.width);
                    chunk.sweep_columns(&block, None, options.rounding);
                });
            }
            Pattern::NM(nm) => chunks.par_iter_mut().for_each(|chunk| {
                chunk.update(&block);
                chunk.sweep_columns(&block, Some(nm), options.rounding);
            }),
        }
    }
    let damped_loss = chunks.iter().map(|chunk| chunk.loss).sum();
    drop(chunks);
    (mask, damped_loss)
}

impl<'a> Block<'a> {
    fn new(factor: &'a Factor, start: usize, width: usize) -> Self {
        let d = factor.size();
        let upper: Vec<f64> = factor.matrix.data[start * d..(start + width) * d]
            .chunks_exact(d)
            .flat_map(|row| row[start..start + width].iter().map(|&value| f64::from(value)))
            .collect();
        let inverse = invert_upper(&upper, width).into_iter().map(|value| value as f32).collect();
        let pivots = (start..start + width).map(|i| factor.pivot(i)).collect();
        Block { factor, start, width, inverse, pivots }
    }
}

impl Chunk<'_> {
    /// `block = W_B + D R[..start, B] U_BB`.
    fn update(&mut self, block: &Block) {
        let d = block.factor.size();
        let &Block { start, width, .. } = block;
        self.block.resize(self.rows * width, 0.0);
        for (target, source) in self.block.chunks_exact_mut(width).zip(self.weight.chunks_exact(d)) {
            target.copy_from_slice(&source[start..start + width]);
        }
        if start > 0 {
            let done = view(self.change, d).subcols(0, start);
            let above = view(&block.factor.matrix.data[..start * d], d).subcols(start, width);
            self.projected.resize(self.rows * width, 0.0);
            matmul(view_mut(&mut self.projected, width), Accum::Replace, done, above, 1.0, Par::Seq);
            let (projected, inverse) = (view(&self.projected, width), view(&block.inverse, width));
            matmul(view_mut(&mut self.block, width), Accum::Add, projected, inverse, 1.0, Par::Seq);
        }
    }

    fn score(&mut self, block: &Block) {
        self.scores.resize(self.block.len(), 0.0);
        let (scores, weights) = (&mut self.scores, &self.block);
        vectorized(
            #[inline(always)]
            || {
                for (scores, weights) in scores.chunks_exact_mut(block.width).zip(weights.chunks_exact(block.width)) {
                    for ((score, weight), pivot) in scores.iter_mut().zip(weights).zip(&block.pivots) {
                        *score = (weight * pivot).abs();
                    }
                }
            },
        );
    }

    /// Writes the mask of the block; `position` is where this chunk's scores begin among all chunks'.
    fn mark(&mut self, block: &Block, cut: &Cut, position: usize) {
        let d = block.factor.size();
        let chunk = &mut *self;
        vectorized(
            #[inline(always)]
            || {
                for (row, scores) in chunk.scores.chunks_exact(block.width).enumerate() {
                    let keep = &mut chunk.keep[row * d + block.start..][..block.width];
                    cut.mark(scores, position + row * block.width, keep);
                }
            },
        );
    }

    /// Finishes the columns of the block. With `nm` the mask is chosen group by group on the updated weights,
    /// otherwise it is given.
    fn sweep_columns(&mut self, block: &Block, nm: Option<NM>, rounding: Rounding) {
        let d = block.factor.size();
        let width = block.width;
        let chunk = &mut *self;
        vectorized(
            #[inline(always)]
            || {
                let mut lanes = Lanes { value: vec![[0.0; LANES]; width], keep: vec![[true; LANES]; width] };
                for first in (0..chunk.rows).step_by(LANES) {
                    let rows = first..(first + LANES).min(chunk.rows);
                    for (lane, row) in rows.clone().enumerate() {
                        let keep = &chunk.keep[row * d + block.start..][..width];
                        let swept = &chunk.block[row * width..][..width];
                        for column in 0..width {
                            lanes.value[column][lane] = swept[column];
                            lanes.keep[column][lane] = keep[column];
                        }
                    }
                    let losses = match rounding {
                        Rounding::None => lanes.sweep(block, nm, |value| value),
                        Rounding::F16 => lanes.sweep(block, nm, crate::ops::rounding::to_f16),
                        Rounding::BF16 => lanes.sweep(block, nm, crate::ops::rounding::to_bf16),
                    };
                    for (lane, row) in rows.enumerate() {
                        let place = row * d + block.start..row * d + block.start + width;
                        let keep = &mut chunk.keep[place.clone()];
                        let weight = &mut chunk.weight[place.clone()];
                        let swept = &mut chunk.block[row * width..][..width];
                        for column in 0..width {
                            swept[column] = lanes.value[column][lane];
                            keep[column] = lanes.keep[column][lane];
                        }
                        for ((change, weight), &finished) in chunk.change[place].iter_mut().zip(weight).zip(&*swept) {
                            *change = *weight - finished;
                            *weight = finished;
                        }
                        chunk.loss += losses[lane];
                    }
                }
            },
        );
    }
}

/// Rows that are swept together, one per lane of the widest f32 register.
const LANES: usize = 16;

/// Columns that are finished before the columns behind them are updated; with N:M the nearest multiple of M.
const STRIP: usize = 16;

/// A block of columns of [`LANES`] rows, turned: one array of rows per column. Columns depend on each other,
/// rows do not, so every step works on all lanes.
struct Lanes {
    value: Vec<[f32; LANES]>,
    keep: Vec<[bool; LANES]>,
}

impl Lanes {
    /// Replaces the values by the finished weights and, with `nm`, chooses `keep`; returns the squared errors of
    /// each row.
    #[inline(always)]
    fn sweep(&mut self, block: &Block, nm: Option<NM>, round: impl Fn(f32) -> f32) -> [f64; LANES] {
        let width = block.width;
        let strip = nm.map_or(STRIP, |nm| nm.of() * (STRIP / nm.of()).max(1));
        let mut losses = [0.0; LANES];
        let mut errors = [[0.0f32; LANES]; NM::MAX_GROUP];
        for from in (0..width).step_by(strip) {
            let to = (from + strip).min(width);
            for i in from..to {
                if let Some(nm) = nm.filter(|nm| (i - from).is_multiple_of(nm.of())) {
                    self.choose_group(i, &block.pivots, nm);
                }
                let value = self.value[i];
                let error = &mut errors[i - from];
                for lane in 0..LANES {
                    let finished = if self.keep[i][lane] { round(value[lane]) } else { 0.0 };
                    error[lane] = (value[lane] - finished) * block.pivots[i];
                    self.value[i][lane] = finished;
                }
                for lane in 0..LANES {
                    losses[lane] += f64::from(error[lane]) * f64::from(error[lane]);
                }
                for (value, &inverse) in self.value[i + 1..to].iter_mut().zip(&block.inverse[i * width + i + 1..]) {
                    for lane in 0..LANES {
                        value[lane] -= error[lane] * inverse;
                    }
                }
            }
            for j in to..width {
                let mut value = self.value[j];
                for (error, i) in errors.iter().zip(from..to) {
                    let inverse = block.inverse[i * width + j];
                    for lane in 0..LANES {
                        value[lane] -= error[lane] * inverse;
                    }
                }
                self.value[j] = value;
            }
        }
        losses
    }

    /// Keeps the highest scores of the group that begins at column `start` in each row; of equal scores the
    /// earlier falls.
    #[inline(always)]
    fn choose_group(&mut self, start: usize, pivots: &[f32], nm: NM) {
        let falling = (nm.of() - nm.keep()) as u32;
        let mut scores = [[0.0f32; LANES]; NM::MAX_GROUP];
        for (i, score) in scores[..nm.of()].iter_mut().enumerate() {
            for lane in 0..LANES {
                score[lane] = (self.value[start + i][lane] * pivots[start + i]).abs();
            }
        }
        for i in 0..nm.of() {
            let mut lower = [0u32; LANES];
            for j in 0..nm.of() {
                for lane in 0..LANES {
                    let below =
                        if j < i { scores[j][lane] <= scores[i][lane] } else { scores[j][lane] < scores[i][lane] };
                    lower[lane] += u32::from(below);
                }
            }
            for lane in 0..LANES {
                self.keep[start + i][lane] = lower[lane] >= falling;
            }
        }
    }
}
