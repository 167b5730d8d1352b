//! Conjugate gradients, preconditioned with the diagonal, on a fixed mask.

use super::symm::symm;

/// Improves `weight`, `[rows, size]` and zero outside `mask`, towards `dense` in `iterations` steps. `h`:
/// `[size, size]`, of which the lower triangle is read.
pub fn refine(weight: &mut [f64], dense: &[f64], mask: &[u8], h: &[f64], size: usize, iterations: usize) {
    let rows = weight.chunks_exact_mut(size).zip(dense.chunks_exact(size)).zip(mask.chunks_exact(size));
    for ((weight, dense), mask) in rows {
        let masked_product = |left: &[f64]| -> Vec<f64> {
            symm(left, h, size).iter().zip(mask).map(|(value, &keep)| value * f64::from(keep)).collect()
        };
        let scaled = |residual: &[f64]| -> Vec<f64> {
            residual.iter().enumerate().map(|(i, value)| value / h[i * size + i]).collect()
        };
        let difference: Vec<f64> = dense.iter().zip(weight.iter()).map(|(dense, weight)| dense - weight).collect();
        let mut residual = masked_product(&difference);
        let mut direction = scaled(&residual);
        let mut energy = dot(&residual, &direction);
        for _ in 0..iterations {
            let product = masked_product(&direction);
            let curvature = dot(&direction, &product);
            if !(curvature > 0.0 && energy > 0.0) {
                break;
            }
            let step = energy / curvature;
            weight.iter_mut().zip(&direction).for_each(|(weight, direction)| *weight += step * direction);
            residual.iter_mut().zip(&product).for_each(|(residual, product)| *residual -= step * product);
            let ahead = scaled(&residual);
            let after = dot(&residual, &ahead);
            direction.iter_mut().zip(&ahead).for_each(|(old, ahead)| *old = ahead + after / energy * *old);
            energy = after;
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
