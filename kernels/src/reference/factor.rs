//! `H + damping I = R R^T` by the unblocked algorithm, from the last column to the first.

use std::ops::{Div, Mul, SubAssign};

/// A factorisation in float64.
#[derive(Debug)]
pub struct Factored {
    /// `R`, f64 `[size, size]` row-major, zero below the diagonal.
    pub upper: Vec<f64>,
    /// What was added to each diagonal entry.
    pub damping: f32,
    /// Columns with `H[d, d] = 0`.
    pub dead: Vec<usize>,
}

/// The matrix that is factored: the lower triangle of `hessian`, f32 `[size, size]` row-major, with dead columns'
/// diagonal set to 1 and `dampening` times the mean of the diagonal added; then the damping and the dead columns.
pub fn damped(hessian: &[f32], size: usize, dampening: f64) -> (Vec<f32>, f32, Vec<usize>) {
    let mut damped = hessian.to_vec();
    let mut diagonal: Vec<f32> = (0..size).map(|i| hessian[i * size + i]).collect();
    let dead: Vec<usize> = (0..size).filter(|&i| diagonal[i] == 0.0).collect();
    dead.iter().for_each(|&i| diagonal[i] = 1.0);
    let mean = diagonal.iter().map(|&h| f64::from(h)).sum::<f64>() / size as f64;
    let damping = (dampening * mean) as f32;
    diagonal.iter().enumerate().for_each(|(i, h)| damped[i * size + i] = h + damping);
    (damped, damping, dead)
}

/// Factors `hessian`, of which the lower triangle is read.
///
/// # Errors
/// The last column whose pivot is not positive and finite.
pub fn factor(hessian: &[f32], size: usize, dampening: f64) -> Result<Factored, usize> {
    let (damped, damping, dead) = damped(hessian, size, dampening);
    let values: Vec<f64> = damped.iter().map(|&value| f64::from(value)).collect();
    Ok(Factored { upper: reverse_cholesky(&values, size, f64::sqrt)?, damping, dead })
}

/// What plain float32 makes of the damped matrix: the accuracy to compare with.
///
/// # Errors
/// The last column whose pivot is not positive and finite.
pub fn plain_float32(damped: &[f32], size: usize) -> Result<Vec<f32>, usize> {
    reverse_cholesky(damped, size, f32::sqrt)
}

/// `R` from the lower triangle of `matrix`.
fn reverse_cholesky<T>(matrix: &[T], size: usize, root: fn(T) -> T) -> Result<Vec<T>, usize>
where
    T: Copy + Default + PartialOrd + Div<Output = T> + Mul<Output = T> + SubAssign + Into<f64>,
{
    let mut upper = vec![T::default(); size * size];
    for i in 0..size {
        for j in i..size {
            upper[i * size + j] = matrix[j * size + i];
        }
    }
    for j in (0..size).rev() {
        let pivot: f64 = upper[j * size + j].into();
        if !(pivot > 0.0 && pivot.is_finite()) {
            return Err(j);
        }
        let pivot = root(upper[j * size + j]);
        let mut column = vec![T::default(); j];
        for (i, value) in column.iter_mut().enumerate() {
            upper[i * size + j] = upper[i * size + j] / pivot;
            *value = upper[i * size + j];
        }
        upper[j * size + j] = pivot;
        for i in 0..j {
            for (value, &right) in upper[i * size + i..i * size + j].iter_mut().zip(&column[i..]) {
                *value -= column[i] * right;
            }
        }
    }
    Ok(upper)
}

/// Largest `|damped - R R^T|[i, k] / sqrt(damped[i, i] damped[k, k])` over the rows `rows`, with its place and both
/// values, in float64. `lower` is `R^T`, f32 `[size, size]` row-major; NaN counts as infinite.
///
/// The measure is free of scale, and a factorisation by sums of `size` terms rounded to `eps` keeps it below
/// `(size + 1) eps` (Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.3, with Cauchy and Schwarz).
pub fn residual(damped: &[f32], lower: &[f32], size: usize, rows: &[usize]) -> (f64, String) {
    let diagonal: Vec<f64> = (0..size).map(|i| f64::from(damped[i * size + i])).collect();
    let mut worst = (0.0, String::new());
    for &i in rows {
        let mut product = vec![0.0; size];
        for j in i..size {
            let row = &lower[j * size..][..=j];
            let left = f64::from(row[i]);
            product.iter_mut().zip(row).for_each(|(sum, &right)| *sum += left * f64::from(right));
        }
        for (k, &found) in product.iter().enumerate() {
            let expected = f64::from(damped[i.max(k) * size + i.min(k)]);
            let error = (expected - found).abs() / (diagonal[i] * diagonal[k]).sqrt();
            if nan_is_worst(error) > worst.0 {
                worst = (
                    nan_is_worst(error),
                    format!("entry ({i}, {k}) of {size}: R R^T is {found:e}, expected {expected:e}"),
                );
            }
        }
    }
    worst
}

/// Largest `|R U - I|[i, j] / (|R| |U|)[i, j]` of one diagonal block, with its place. `inverse` is U and `lower` is
/// `R^T`, both f32 `[width, width]` row-major.
///
/// Substitution keeps it below `(width + 1) eps` (Higham, section 14.2).
pub fn inverse_residual(inverse: &[f32], lower: &[f32], width: usize) -> (f64, String) {
    let mut worst = (0.0, String::new());
    for i in 0..width {
        for j in i..width {
            let terms = (i..=j).map(|k| f64::from(lower[k * width + i]) * f64::from(inverse[k * width + j]));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| (sum + term, size + term.abs()));
            let expected = if i == j { 1.0 } else { 0.0 };
            let error = if sum == expected { 0.0 } else { (sum - expected).abs() / size };
            if nan_is_worst(error) > worst.0 {
                worst = (nan_is_worst(error), format!("entry ({i}, {j}): R U is {sum:e}, expected {expected}"));
            }
        }
    }
    worst
}

fn nan_is_worst(error: f64) -> f64 {
    if error.is_nan() { f64::INFINITY } else { error }
}
