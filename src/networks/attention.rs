//! Attention over one token sequence with a causal mask or a bias on the scores.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::{Tensor, simd};

/// What is done to the scores before the softmax.
#[derive(Debug, Clone, Copy)]
pub enum Scores<'a> {
    /// Nothing.
    All,
    /// A query sees the keys up to its own place.
    Causal,
    /// One number is added per head, query and key: [heads, tokens, tokens].
    Biased(&'a Tensor),
}

/// softmax(scale * q k^T, masked or biased) v for every row and head.
///
/// `query`, `key` and `value` are [rows, tokens, heads * head_dim], as is the result. A task holds the scores of one row
/// and head, tokens^2 numbers, so there are no more of them than threads. Sums have an order that depends on the shapes
/// alone.
///
/// # Errors
/// [`Error::Runtime`] if the shapes do not fit each other.
pub fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    heads: usize,
    scale: f32,
    scores: Scores,
) -> Result<Tensor> {
    let (rows, tokens, width) = query.dims3()?;
    let fits = |tensor: &Tensor| tensor.dims() == query.dims();
    if heads == 0 || !width.is_multiple_of(heads) || !fits(key) || !fits(value) {
        let problem = format!("attention: {query:?}, {key:?} and {value:?} with {heads} heads");
        return Err(Error::Runtime(problem));
    }
    let bias = match scores {
        Scores::Biased(bias) if bias.dims() != [heads, tokens, tokens] => {
            return Err(Error::Runtime(format!("attention: bias {bias:?} for {heads} heads and {tokens} tokens")));
        }
        Scores::Biased(bias) => Some(bias.as_slice()?),
        Scores::All | Scores::Causal => None,
    };
    let causal = matches!(scores, Scores::Causal);
    let head_dim = width / heads;
    let (query, key, value) = (query.as_slice()?, key.as_slice()?, value.as_slice()?);
    let mut out = vec![0f32; query.len()];
    if !out.is_empty() {
        out.par_chunks_mut(tokens * head_dim).enumerate().for_each_init(
            || vec![0f32; tokens * tokens],
            |scores, (index, out)| {
                let (row, head) = (index / heads, index % heads);
                let start = row * tokens * width + head * head_dim;
                product(Factor { rows: &query[start..], stride: width }, &key[start..], width, head_dim, scale, scores);
                for (place, scores) in scores.chunks_exact_mut(tokens).enumerate() {
                    if let Some(bias) = bias {
                        let bias = &bias[(head * tokens + place) * tokens..][..tokens];
                        scores.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
                    }
                    let (seen, hidden) = scores.split_at_mut(if causal { place + 1 } else { tokens });
                    softmax(seen);
                    hidden.fill(0.0);
                }
                weighted_sum(scores, &value[start..], width, head_dim, out);
            },
        );
    }
    Tensor::from_vec(out, [rows, heads, tokens, head_dim])?.permute(&[0, 2, 1, 3])?.reshape([rows, tokens, width])
}

/// A matrix whose rows lie `stride` values apart.
struct Factor<'a> {
    rows: &'a [f32],
    stride: usize,
}

/// out[tokens, tokens] = scale * left[tokens, depth] right[tokens, depth]^T; the rows of `right` lie `stride` apart.
fn product(left: Factor, right: &[f32], stride: usize, depth: usize, scale: f32, out: &mut [f32]) {
    let tokens = out.len().isqrt();
    let reach = |stride: usize| (tokens - 1) * stride + depth;
    assert!(left.rows.len() >= reach(left.stride) && right.len() >= reach(stride), "attention: sizes of q and k");
    // SAFETY: all strides stay inside the slices, as checked; `out` is borrowed by nobody else.
    unsafe {
        gemm::gemm(
            tokens,
            tokens,
            depth,
            out.as_mut_ptr(),
            1,
            tokens as isize,
            false,
            left.rows.as_ptr(),
            1,
            left.stride as isize,
            right.as_ptr(),
            stride as isize,
            1,
            0.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// out[tokens, depth] = weights[tokens, tokens] value[tokens, depth]; the rows of `value` lie `stride` apart.
fn weighted_sum(weights: &[f32], value: &[f32], stride: usize, depth: usize, out: &mut [f32]) {
    let tokens = out.len() / depth;
    assert!(weights.len() == tokens * tokens && value.len() >= (tokens - 1) * stride + depth, "attention: size of v");
    // SAFETY: all strides stay inside the slices, as checked; `out` is borrowed by nobody else.
    unsafe {
        gemm::gemm(
            tokens,
            depth,
            tokens,
            out.as_mut_ptr(),
            1,
            depth as isize,
            false,
            weights.as_ptr(),
            1,
            tokens as isize,
            value.as_ptr(),
            1,
            stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// e^(x - max) / sum, in place.
fn softmax(scores: &mut [f32]) {
    simd::vectorized(
        #[inline(always)]
        || {
            let maximum = simd::maximum(scores, f32::NEG_INFINITY);
            for score in scores.iter_mut() {
                *score = simd::exp(*score - maximum);
            }
            let inverse = 1.0 / simd::sum(scores, |x| x);
            for score in scores.iter_mut() {
                *score *= inverse;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(shape: [usize; 3], salt: usize) -> Tensor {
        let count = shape.iter().product();
        let values = (0..count).map(|i| (((i + 13 * salt) * 7919 % 2003) as f32 - 1000.0) * 2e-3).collect();
        Tensor::from_vec(values, shape).unwrap()
    }

    /// Compares with the definition in float64.
    fn check(rows: usize, tokens: usize, heads: usize, head_dim: usize, kind: usize) {
        let shape = [rows, tokens, heads * head_dim];
        let (query, key, value) = (values(shape, 1), values(shape, 2), values(shape, 3));
        let bias = values([heads, tokens, tokens], 4);
        let kind = [Scores::All, Scores::Causal, Scores::Biased(&bias)][kind];
        let found = attention(&query, &key, &value, heads, 0.5, kind).unwrap();
        assert_eq!(found.dims(), shape);
        let at = |x: &Tensor, row: usize, token: usize, head: usize, d: usize| {
            f64::from(x.as_slice().unwrap()[((row * tokens + token) * heads + head) * head_dim + d])
        };
        for (row, place, head) in
            (0..rows).flat_map(|r| (0..tokens).flat_map(move |t| (0..heads).map(move |h| (r, t, h))))
        {
            let keys = if matches!(kind, Scores::Causal) { place + 1 } else { tokens };
            let mut largest = 0f64;
            let weights: Vec<f64> = (0..keys)
                .map(|token| {
                    let terms =
                        (0..head_dim).map(|d| 0.5 * at(&query, row, place, head, d) * at(&key, row, token, head, d));
                    let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                    largest = f64::max(largest, size);
                    let bias = bias.as_slice().unwrap()[(head * tokens + place) * tokens + token];
                    (sum + if matches!(kind, Scores::Biased(_)) { f64::from(bias) } else { 0.0 }).exp()
                })
                .collect();
            let total: f64 = weights.iter().sum();
            // An error of a score is a relative error of its weight; values are at most 2.
            let bound = 2.0 * f64::from(f32::EPSILON) * (6.0 + largest);
            for d in 0..head_dim {
                let expected: f64 =
                    weights.iter().enumerate().map(|(token, w)| w * at(&value, row, token, head, d)).sum::<f64>()
                        / total;
                let error = (at(&found, row, place, head, d) - expected).abs();
                assert!(
                    error < bound,
                    "{shape:?}, {heads} heads, {kind:?}: off by {error} at {row} {place} {head} {d}"
                );
            }
        }
    }

    #[test]
    fn matches_float64_for_every_length() {
        for tokens in 1..=64 {
            (0..3).for_each(|kind| check(1, tokens, 2, 8, kind));
        }
        (0..3).for_each(|kind| check(3, 77, 3, 5, kind));
        (0..3).for_each(|kind| check(2, 130, 1, 64, kind));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, bias) = (values([1, 4, 6], 1), values([2, 4, 5], 1));
        assert!(attention(&x, &x, &x, 4, 1.0, Scores::All).is_err());
        assert!(attention(&x, &values([1, 4, 5], 1), &x, 2, 1.0, Scores::All).is_err());
        assert!(attention(&x, &x, &x, 2, 1.0, Scores::Biased(&bias)).is_err());
    }

    #[test]
    fn large_scores_do_not_overflow_and_nan_is_not_hidden() {
        let large = Tensor::from_vec(vec![1e3; 2 * 8], [1, 2, 8]).unwrap();
        let value = Tensor::from_vec(vec![1.5; 2 * 8], [1, 2, 8]).unwrap();
        let out = attention(&large, &large, &value, 1, 1.0, Scores::All).unwrap().into_vec().unwrap();
        assert_eq!(out, vec![1.5; 16]);
        let nan = Tensor::from_vec(vec![f32::NAN; 2 * 8], [1, 2, 8]).unwrap();
        let out = attention(&nan, &large, &value, 1, 1.0, Scores::Causal).unwrap().into_vec().unwrap();
        assert!(out.iter().all(|x| x.is_nan()));
    }
}
