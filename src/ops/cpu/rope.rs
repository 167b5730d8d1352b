//! Rotary position embedding on neighbouring pairs: (a, b) -> (a cos - b sin, b cos + a sin).

use rayon::prelude::*;

use super::simd;

/// Tokens per task.
const TOKENS: usize = 16;

/// Rotates x: [batch, tokens, heads * head_dim] in place; cos, sin: [tokens, head_dim / 2], one angle per
/// pair of channels, the same for every head.
pub fn rope(x: &mut [f32], cos: &[f32], sin: &[f32], tokens: usize, width: usize, head_dim: usize) {
    if x.is_empty() {
        return;
    }
    let pairs = head_dim / 2;
    x.par_chunks_mut(tokens * width).for_each(|sequence| {
        let angles = cos.par_chunks(TOKENS * pairs).zip(sin.par_chunks(TOKENS * pairs));
        sequence.par_chunks_mut(TOKENS * width).zip(angles).for_each(|(chunk, (cos, sin))| {
            simd::vectorized(
                #[inline(always)]
                || {
                    let angles = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
                    for (token, (cos, sin)) in chunk.chunks_exact_mut(width).zip(angles) {
                        for head in token.chunks_exact_mut(head_dim) {
                            rotate(head, cos, sin);
                        }
                    }
                },
            )
        });
    });
}

#[inline(always)]
fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (pairs, _) = head.as_chunks_mut::<2>();
    for ((pair, &cos), &sin) in pairs.iter_mut().zip(cos).zip(sin) {
        let [a, b] = *pair;
        *pair = [a * cos - b * sin, b * cos + a * sin];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_float64_for_every_length() {
        let (batch, heads) = (2, 3);
        for tokens in (0..=64).chain([127]) {
            for head_dim in [2, 16, 24] {
                let width = heads * head_dim;
                let x: Vec<f32> = (0..batch * tokens * width).map(|i| ((i * 31 % 101) as f32 - 50.0) * 0.02).collect();
                let angles: Vec<f32> = (0..tokens * head_dim / 2).map(|i| i as f32 * 0.37).collect();
                let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
                let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
                let mut out = x.clone();
                rope(&mut out, &cos, &sin, tokens, width, head_dim);
                for (i, &y) in out.iter().enumerate() {
                    let (token, channel) = (i / width % tokens, i % head_dim);
                    let angle = token * head_dim / 2 + channel / 2;
                    let (own, other) = (f64::from(x[i]), f64::from(x[i ^ 1]));
                    let sign = if channel % 2 == 0 { -1.0 } else { 1.0 };
                    let expected = own * f64::from(cos[angle]) + sign * other * f64::from(sin[angle]);
                    assert!((f64::from(y) - expected).abs() < 1e-6, "tokens {tokens}, head_dim {head_dim}, {i}");
                }
            }
        }
    }
}
