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
//! the unstructured selection, so tasks take [`ROW_CHUNK`] rows each; per block:
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
use super::triangle::invert_upper;
use super::{ROW_CHUNK, view, view_mut};
use crate::ops::{Factor, Mask, NM, Pattern, Rounding, SweepOptions, Swept};

/// One task's rows during the sweep.
struct Chunk<'a> {
    rows: usize,
    /// `[rows, d]`: dense weights right of the block, finished weights left of it.
    weight: &'a mut [f32],
    /// `[rows, d]`: D, dense minus finished, left of the block.
    change: &'a mut [f32],
    keep: &'a mut [bool],
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
/// returned mask; unstructured counts follow `options.count`, N:M groups lose exactly `M - N` weights each.
pub fn sweep(weight: &mut [f32], factor: &Factor, options: &SweepOptions) -> Swept {
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
            Chunk { rows, weight, change, keep, block: Vec::new(), scores: Vec::new(), loss: 0.0 }
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
    Swept { mask, damped_loss }
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
            let mut projected = vec![0.0; self.rows * width];
            matmul(view_mut(&mut projected, width), Accum::Replace, done, above, 1.0, Par::Seq);
            let (projected, inverse) = (view(&projected, width), view(&block.inverse, width));
            matmul(view_mut(&mut self.block, width), Accum::Add, projected, inverse, 1.0, Par::Seq);
        }
    }

    fn score(&mut self, block: &Block) {
        self.scores.resize(self.block.len(), 0.0);
        let (scores, weights) = (&mut self.scores, &self.block);
        pulp::Arch::new().dispatch(|| {
            for (scores, weights) in scores.chunks_exact_mut(block.width).zip(weights.chunks_exact(block.width)) {
                for ((score, weight), pivot) in scores.iter_mut().zip(weights).zip(&block.pivots) {
                    *score = (weight * pivot).abs();
                }
            }
        });
    }

    /// Writes the mask of the block; `position` is where this chunk's scores begin among all chunks'.
    fn mark(&mut self, block: &Block, cut: &Cut, position: usize) {
        let d = block.factor.size();
        let chunk = &mut *self;
        pulp::Arch::new().dispatch(|| {
            for (row, scores) in chunk.scores.chunks_exact(block.width).enumerate() {
                let keep = &mut chunk.keep[row * d + block.start..][..block.width];
                cut.mark(scores, position + row * block.width, keep);
            }
        });
    }

    /// Finishes the columns of the block. With `nm` the mask is chosen group by group on the updated weights,
    /// otherwise it is given.
    ///
    /// Columns are taken in strips, all rows of a strip before the next: within a strip errors spread column by
    /// column, to the columns behind it all at once. So the weights behind the strip are read and written once
    /// per strip, and the chains of dependent columns of neighbouring rows overlap in the processor.
    fn sweep_columns(&mut self, block: &Block, nm: Option<NM>, rounding: Rounding) {
        let strip = match nm {
            Some(nm) if nm.of() > STRIP => nm.of(),
            Some(nm) => STRIP / nm.of() * nm.of(),
            None => STRIP,
        };
        pulp::Arch::new().dispatch(|| {
            for from in (0..block.width).step_by(strip) {
                let to = (from + strip).min(block.width);
                for row in 0..self.rows {
                    if to - from == STRIP {
                        self.sweep_strip::<STRIP>(block, row, from, to, nm, rounding);
                    } else {
                        self.sweep_strip::<0>(block, row, from, to, nm, rounding);
                    }
                }
            }
        });
    }

    /// Finishes columns `from..to` of the block in one row. `WIDTH` is `to - from`, or 0 if that is not known
    /// when compiling.
    #[inline(always)]
    fn sweep_strip<const WIDTH: usize>(
        &mut self,
        block: &Block,
        row: usize,
        from: usize,
        to: usize,
        nm: Option<NM>,
        rounding: Rounding,
    ) {
        let width = if WIDTH == 0 { to - from } else { WIDTH };
        let place = row * block.factor.size() + block.start + from;
        let keep = &mut self.keep[place..place + width];
        let weight = &mut self.weight[place..place + width];
        let change = &mut self.change[place..place + width];
        let (head, behind) = self.block[row * block.width..(row + 1) * block.width].split_at_mut(to);
        let swept = &mut head[from..from + width];

        let mut errors = [(0.0, 0); MAX_STRIP];
        let mut count = 0;
        for i in 0..width {
            if let Some(nm) = nm.filter(|nm| i % nm.of() == 0) {
                let group = i..i + nm.of();
                let pivots = &block.pivots[from + i..from + i + nm.of()];
                choose_group(&swept[group.clone()], pivots, &mut keep[group], nm);
            }
            let value = swept[i];
            let finished = if keep[i] { rounding.apply(value) } else { 0.0 };
            change[i] = weight[i] - finished;
            weight[i] = finished;
            let error = (value - finished) * block.pivots[from + i];
            if error != 0.0 {
                errors[count] = (error, from + i);
                count += 1;
                // Entries of U left of the diagonal are zero, so the whole strip can be updated.
                let source = &block.inverse[(from + i) * block.width + from..][..width];
                swept.iter_mut().zip(source).for_each(|(value, inverse)| *value -= error * inverse);
            }
        }
        let errors = &errors[..count];
        self.loss += errors.iter().map(|&(error, _)| f64::from(error) * f64::from(error)).sum::<f64>();

        let (lines, rest) = behind.as_chunks_mut::<STRIP>();
        let full = to + lines.len() * STRIP;
        for (index, line) in lines.iter_mut().enumerate() {
            let column = to + index * STRIP;
            for &(error, i) in errors {
                let source = &block.inverse[i * block.width + column..][..STRIP];
                line.iter_mut().zip(source).for_each(|(value, inverse)| *value -= error * inverse);
            }
        }
        for &(error, i) in errors {
            let source = &block.inverse[i * block.width + full..][..rest.len()];
            rest.iter_mut().zip(source).for_each(|(value, inverse)| *value -= error * inverse);
        }
    }
}

/// Columns per strip: one register of f32 at the widest.
const STRIP: usize = 16;

/// The widest strip: one group of the largest M.
const MAX_STRIP: usize = NM::MAX_GROUP;

/// Keeps the `nm.keep()` highest scores of one group, the later of equal ones.
#[inline(always)]
fn choose_group(weights: &[f32], pivots: &[f32], keep: &mut [bool], nm: NM) {
    let falling = nm.of() - nm.keep();
    match nm.of() {
        4 => rank_group::<4>(weights, pivots, keep, falling),
        8 => rank_group::<8>(weights, pivots, keep, falling),
        _ => {
            let mut scores = [0.0; MAX_STRIP];
            for ((score, weight), pivot) in scores.iter_mut().zip(weights).zip(pivots) {
                *score = (weight * pivot).abs();
            }
            rank(&scores[..weights.len()], keep, falling);
        }
    }
}

/// [`rank`] with the size of the group known when compiling.
#[inline(always)]
fn rank_group<const M: usize>(weights: &[f32], pivots: &[f32], keep: &mut [bool], falling: usize) {
    let mut scores = [0.0; M];
    for i in 0..M {
        scores[i] = (weights[i] * pivots[i]).abs();
    }
    rank(&scores, &mut keep[..M], falling);
}

/// Keeps the entries with at least `falling` entries below them; of equal ones the earlier lies below.
#[inline(always)]
fn rank(scores: &[f32], keep: &mut [bool], falling: usize) {
    for i in 0..scores.len() {
        let before: usize = (0..i).map(|j| usize::from(scores[j] <= scores[i])).sum();
        let after: usize = (i + 1..scores.len()).map(|j| usize::from(scores[j] < scores[i])).sum();
        keep[i] = before + after >= falling;
    }
}
