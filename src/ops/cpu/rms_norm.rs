//! RMS norm over the head dimension: y = x / sqrt(mean(x^2) + eps) * weight.

use rayon::prelude::*;

use super::simd;

/// Values per task.
const CHUNK: usize = 16 * 1024;

/// Normalises every group of `weight.len()` consecutive values in place; one weight per value of a group.
pub fn rms_norm(values: &mut [f32], weight: &[f32], eps: f32) {
    let width = weight.len();
    if width == 0 {
        return;
    }
    values.par_chunks_mut(CHUNK.div_ceil(width) * width).for_each(|chunk| {
        simd::vectorized(
            #[inline(always)]
            || {
                for row in chunk.chunks_exact_mut(width) {
                    let mean_square = simd::sum(row, |x| x * x) / width as f32;
                    let inverse = 1.0 / (mean_square + eps).sqrt();
                    for (x, &weight) in row.iter_mut().zip(weight) {
                        *x = *x * inverse * weight;
                    }
                }
            },
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_float64_for_every_head_dimension() {
        for width in (1..=64).chain([128]) {
            for rows in [0, 1, 33] {
                let x: Vec<f32> =
                    (0..rows * width).map(|i| ((i * 7919 % 2003) as f32 - 1000.0) * 1e-2 + 0.005).collect();
                let weight: Vec<f32> = (0..width).map(|i| 0.5 + i as f32 * 0.01).collect();
                let mut out = x.clone();
                rms_norm(&mut out, &weight, 1e-6);
                for (row, (x, out)) in x.chunks(width).zip(out.chunks(width)).enumerate() {
                    let mean_square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / width as f64;
                    for i in 0..width {
                        let expected = f64::from(x[i]) / (mean_square + 1e-6).sqrt() * f64::from(weight[i]);
                        let error = (f64::from(out[i]) - expected).abs();
                        assert!(error < 2e-6 * expected.abs().max(1.0), "width {width}, row {row}, {i}");
                    }
                }
            }
        }
    }
}
