//! `X^T diag(weights) X` and the weighted sums of the columns.

/// The lower triangle as a full `[columns, columns]` matrix with zeros above the diagonal, and the sums.
///
/// `x`: `[tokens, columns]`, row-major; `weights`: `[tokens]`.
pub fn gram(x: &[f64], columns: usize, weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut h = vec![0.0; columns * columns];
    let mut sums = vec![0.0; columns];
    for (row, &weight) in x.chunks_exact(columns).zip(weights) {
        for i in 0..columns {
            let scaled = weight * row[i];
            sums[i] += scaled;
            for (h, &right) in h[i * columns..][..=i].iter_mut().zip(row) {
                *h += scaled * right;
            }
        }
    }
    (h, sums)
}
