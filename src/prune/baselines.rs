//! Methods without compensation, as their authors' code: they choose by a score and zero.

use rayon::prelude::*;

use crate::ops::{Mask, NM, Pattern};

/// Removes by `|w|`, compared over the whole matrix (unstructured) or within N:M groups.
///
/// `weight`: f32 `[rows, columns]`, zeroed in place. Unstructured removes exactly `int(s * rows * columns)`,
/// ties by position.
pub fn magnitude(weight: &mut [f32], columns: usize, pattern: Pattern) -> Mask {
    let rows = weight.len() / columns;
    match pattern {
        Pattern::NM(nm) => by_row(weight, columns, |row, keep| choose_groups(row, keep, nm)),
        Pattern::Unstructured(sparsity) => {
            let mut mask = Mask::all(rows, columns);
            let scores: Vec<f32> = weight.iter().map(|w| w.abs()).collect();
            choose(&scores, mask.as_mut_slice(), sparsity.count(weight.len()));
            zero(weight, mask.as_slice());
            mask
        }
    }
}

/// Removes by `|w| * sqrt(mean x^2)` (Wanda, Sun et al. 2024): the lowest `int(s * columns)` of every output
/// row, or of every N:M group.
///
/// `weight`: f32 `[rows, columns]`, zeroed in place; `square_mean`: a multiple of the mean squared input, such
/// as the diagonal of the Hessian.
pub fn wanda(weight: &mut [f32], square_mean: &[f32], pattern: Pattern) -> Mask {
    let columns = square_mean.len();
    let norm: Vec<f32> = square_mean.iter().map(|x| x.sqrt()).collect();
    by_row(weight, columns, |row, keep| {
        let scores: Vec<f32> = row.iter().zip(&norm).map(|(w, norm)| w.abs() * norm).collect();
        match pattern {
            Pattern::NM(nm) => choose_groups(&scores, keep, nm),
            Pattern::Unstructured(sparsity) => choose(&scores, keep, sparsity.count(columns)),
        }
    })
}

/// Lets `choose_row(row, keep)` set the mask of every row, then zeroes what fell.
fn by_row(weight: &mut [f32], columns: usize, choose_row: impl Fn(&[f32], &mut [bool]) + Sync) -> Mask {
    let mut mask = Mask::all(weight.len() / columns, columns);
    let keep = mask.as_mut_slice().par_chunks_mut(columns);
    weight.par_chunks_mut(columns).zip(keep).for_each(|(row, keep)| {
        choose_row(row, keep);
        zero(row, keep);
    });
    mask
}

fn zero(weight: &mut [f32], keep: &[bool]) {
    weight.iter_mut().zip(keep).for_each(|(w, &keep)| *w = if keep { *w } else { 0.0 });
}

/// Drops the `count` smallest magnitudes of `scores`, the earlier of equal ones.
fn choose(scores: &[f32], keep: &mut [bool], count: usize) {
    if count == 0 {
        return;
    }
    let mut order: Vec<(u32, usize)> = scores.iter().enumerate().map(|(i, s)| (s.abs().to_bits(), i)).collect();
    let (below, last, _) = order.select_nth_unstable(count - 1);
    keep[last.1] = false;
    below.iter().for_each(|&(_, i)| keep[i] = false);
}

fn choose_groups(scores: &[f32], keep: &mut [bool], nm: NM) {
    for (scores, keep) in scores.chunks(nm.of()).zip(keep.chunks_mut(nm.of())) {
        choose(scores, keep, nm.of() - nm.keep());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Sparsity;

    #[test]
    fn magnitude_removes_the_smallest_of_the_whole_matrix() {
        let mut weight = vec![0.1, -0.9, 0.8, -0.2, 0.3, 0.7];
        let mask = magnitude(&mut weight, 3, Pattern::Unstructured(Sparsity::new(0.5).expect("half")));
        assert_eq!(weight, [0.0, -0.9, 0.8, 0.0, 0.0, 0.7]);
        assert_eq!(mask.pruned(), 3);
    }

    #[test]
    fn wanda_weighs_by_the_input_norm_within_each_row() {
        let mut weight = vec![1.0, 0.5, 0.1, 0.1, 0.5, 1.0];
        let mask = wanda(&mut weight, &[0.01, 1.0, 100.0], Pattern::Unstructured(Sparsity::new(0.34).expect("s")));
        assert_eq!(weight, [0.0, 0.5, 0.1, 0.0, 0.5, 1.0]);
        assert_eq!(mask.row(0), [false, true, true]);
    }

    #[test]
    fn groups_keep_exactly_n_of_m_and_ties_fall_by_position() {
        let mut weight = vec![1.0, 1.0, 1.0, 1.0, 4.0, 3.0, 2.0, 1.0];
        magnitude(&mut weight, 8, Pattern::NM(NM::new(2, 4).expect("2:4")));
        assert_eq!(weight, [0.0, 0.0, 1.0, 1.0, 4.0, 3.0, 0.0, 0.0]);
    }
}
