//! Layer norm without learned parameters, then a scale and shift per batch row:
//! y = (x - mean(x)) / sqrt(var(x) + eps) * (1 + scale) + shift.

use rayon::prelude::*;

use super::simd;

/// Tokens per task.
const TOKENS: usize = 64;

/// x: [batch, tokens, width] row-major; scale, shift: [batch, width]; the result has the shape of x.
pub fn layer_norm_modulate(x: &[f32], scale: &[f32], shift: &[f32], tokens: usize, width: usize, eps: f32) -> Vec<f32> {
    let mut out = x.to_vec();
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(tokens * width).enumerate().for_each(|(batch, sequence)| {
        let scale = &scale[batch * width..][..width];
        let shift = &shift[batch * width..][..width];
        sequence.par_chunks_mut(TOKENS * width).for_each(|chunk| {
            simd::vectorized(
                #[inline(always)]
                || {
                    for row in chunk.chunks_exact_mut(width) {
                        normalize(row, scale, shift, eps);
                    }
                },
            )
        });
    });
    out
}

#[inline(always)]
fn normalize(row: &mut [f32], scale: &[f32], shift: &[f32], eps: f32) {
    let width = row.len() as f32;
    let mean = simd::sum(row, |x| x) / width;
    let variance = simd::sum(row, |x| (x - mean) * (x - mean)) / width;
    let inverse = 1.0 / (variance + eps).sqrt();
    for ((x, &scale), &shift) in row.iter_mut().zip(scale).zip(shift) {
        *x = ((*x - mean) * inverse).mul_add(1.0 + scale, shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_float64_for_every_width() {
        let (batch, tokens) = (3, 65);
        for width in (1..=64).chain([112, 127, 1536]) {
            let value = |i: usize| ((i * 7919 % 2003) as f32 - 900.0) * 1e-2;
            let x: Vec<f32> = (0..batch * tokens * width).map(value).collect();
            let scale: Vec<f32> = (0..batch * width).map(|i| value(i + 5) * 0.1).collect();
            let shift: Vec<f32> = (0..batch * width).map(|i| value(i + 9) * 0.1).collect();
            let out = layer_norm_modulate(&x, &scale, &shift, tokens, width, 1e-6);
            for (row, (x, out)) in x.chunks(width).zip(out.chunks(width)).enumerate() {
                let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
                let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / width as f64;
                for i in 0..width {
                    let parameter = row / tokens * width + i;
                    let normal = (f64::from(x[i]) - mean) / (variance + 1e-6).sqrt();
                    let expected = normal * (1.0 + f64::from(scale[parameter])) + f64::from(shift[parameter]);
                    let error = (f64::from(out[i]) - expected).abs();
                    assert!(error < 1e-5, "width {width}, row {row}, {i}: {} instead of {expected}", out[i]);
                }
            }
        }
        assert!(layer_norm_modulate(&[], &[], &[], 4, 8, 1e-6).is_empty());
    }
}
