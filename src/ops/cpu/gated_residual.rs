//! y = residual + gate * x with one gate per batch row and channel.

use rayon::prelude::*;

use super::simd;

/// Tokens per task.
const TOKENS: usize = 64;

/// residual, x: [batch, tokens, width] row-major; gate: [batch, width]; the result has the shape of x.
pub fn gated_residual(residual: &[f32], gate: &[f32], x: &[f32], tokens: usize, width: usize) -> Vec<f32> {
    let mut out = residual.to_vec();
    if out.is_empty() {
        return out;
    }
    let sequences = out.par_chunks_mut(tokens * width).zip(x.par_chunks(tokens * width)).zip(gate.par_chunks(width));
    sequences.for_each(|((out, x), gate)| {
        out.par_chunks_mut(TOKENS * width).zip(x.par_chunks(TOKENS * width)).for_each(|(out, x)| {
            simd::vectorized(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        for ((out, &x), &gate) in out.iter_mut().zip(x).zip(gate) {
                            *out = gate.mul_add(x, *out);
                        }
                    }
                },
            )
        });
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_float64_for_every_width() {
        for width in (1..=64).chain([112]) {
            for tokens in [0, 1, 65] {
                let value = |i: usize| ((i * 7919 % 2003) as f32 - 900.0) * 1e-3;
                let residual: Vec<f32> = (0..2 * tokens * width).map(value).collect();
                let x: Vec<f32> = (0..2 * tokens * width).map(|i| value(i + 3)).collect();
                let gate: Vec<f32> = (0..2 * width).map(|i| value(i + 5)).collect();
                let out = gated_residual(&residual, &gate, &x, tokens, width);
                for i in 0..x.len() {
                    let gate = f64::from(gate[i / (tokens * width) * width + i % width]);
                    let expected = f64::from(residual[i]) + gate * f64::from(x[i]);
                    assert!((f64::from(out[i]) - expected).abs() < 1e-6, "width {width}, tokens {tokens}, {i}");
                }
            }
        }
    }
}
