//! `tr(X H X^T)`.

use super::symm::symm;

/// `x`: `[rows, size]`; `h`: `[size, size]`, of which the lower triangle is read; `diagonal` stands in the place of
/// h's own.
pub fn energy(x: &[f64], h: &[f64], size: usize, diagonal: Option<&[f64]>) -> f64 {
    let mut h = h.to_vec();
    for (i, &value) in diagonal.unwrap_or_default().iter().enumerate() {
        h[i * size + i] = value;
    }
    symm(x, &h, size).iter().zip(x).map(|(product, x)| product * x).sum()
}
