//! `left H` with a symmetric H.

/// `[rows, size]`; `left`: `[rows, size]`; `h`: `[size, size]`, of which the lower triangle is read. All row-major.
pub fn symm(left: &[f64], h: &[f64], size: usize) -> Vec<f64> {
    let entry = |i: usize, j: usize| h[i.max(j) * size + i.min(j)];
    let row = |left: &[f64]| -> Vec<f64> {
        (0..size).map(|j| left.iter().enumerate().map(|(k, left)| left * entry(k, j)).sum()).collect()
    };
    left.chunks_exact(size).flat_map(row).collect()
}
