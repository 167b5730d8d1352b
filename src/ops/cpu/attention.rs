//! Attention over the concatenation of token streams: softmax(q k^T / sqrt(head_dim)) v per batch row
//! and head, softmax over the keys of all streams.
//!
//! ```text
//! keys and values of one head, packed once        one task: QUERY_ROWS queries, all heads
//!   k: [keys / 16][head_dim][16]                    scores [QUERY_ROWS][KEY_TILE] -> online softmax
//!   v: [head_dim / 16][keys][16]                    out += scores v, rescaled when the maximum grows
//! ```
//!
//! No task holds more scores than one tile, and how the work is cut depends on the shapes alone, so the
//! result does not depend on the number of threads.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::simd;

/// Keys (or value channels) per packed panel: one 512-bit register.
const PANEL: usize = 16;
/// Query rows of the inner kernel: with one to four registers per row the accumulators fit the register
/// files of AVX-512, AVX2 and NEON.
const KERNEL_ROWS: usize = 6;
/// Query rows of a task, a multiple of KERNEL_ROWS.
const QUERY_ROWS: usize = 96;
/// Keys of a tile, a multiple of PANEL: scores of 96 x 256 are 96 KiB and stay in the L2 cache.
const KEY_TILE: usize = 256;

/// Projections of one token stream; each [batch, tokens, heads * head_dim], row-major.
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    pub query: &'a [f32],
    pub key: &'a [f32],
    pub value: &'a [f32],
    pub tokens: usize,
}

/// Sizes that the streams share.
#[derive(Clone, Copy)]
pub struct Shape {
    pub batch: usize,
    pub heads: usize,
    pub head_dim: usize,
}

/// One result per stream, [batch, tokens, heads * head_dim].
pub fn attention(streams: &[Stream], shape: Shape) -> Vec<Vec<f32>> {
    let width = shape.heads * shape.head_dim;
    let mut outputs: Vec<Vec<f32>> = streams.iter().map(|s| vec![0.0; shape.batch * s.tokens * width]).collect();
    if shape.batch * width == 0 {
        return outputs;
    }
    let packed = Packed::new(streams, shape);
    let mut tasks = Vec::new();
    for (stream, out) in streams.iter().zip(&mut outputs).filter(|(stream, _)| stream.tokens > 0) {
        let sequences = out.chunks_mut(stream.tokens * width).zip(stream.query.chunks(stream.tokens * width));
        for (batch, (out, query)) in sequences.enumerate() {
            let blocks = out.chunks_mut(QUERY_ROWS * width).zip(query.chunks(QUERY_ROWS * width));
            tasks.extend(blocks.map(|(out, query)| (batch, query, out)));
        }
    }
    tasks.into_par_iter().for_each_init(
        || Scratch::new(packed.keys, shape.head_dim),
        |scratch, (batch, query, out)| {
            pulp::Arch::new().dispatch(Block { packed: &packed, shape, batch, query, out, scratch });
        },
    );
    outputs
}

/// Keys and values of every (batch row, head) in panels.
struct Packed {
    /// [batch * heads][ceil(keys / PANEL)][head_dim][PANEL], zero beyond the last key.
    key: Vec<f32>,
    /// [batch * heads][ceil(head_dim / PANEL)][keys][PANEL], zero beyond the last channel.
    value: Vec<f32>,
    keys: usize,
}

impl Packed {
    fn new(streams: &[Stream], shape: Shape) -> Self {
        let Shape { batch, heads, head_dim } = shape;
        let keys: usize = streams.iter().map(|s| s.tokens).sum();
        let key_size = keys.div_ceil(PANEL) * head_dim * PANEL;
        let value_size = head_dim.div_ceil(PANEL) * keys * PANEL;
        let mut key = vec![0.0; batch * heads * key_size];
        let mut value = vec![0.0; batch * heads * value_size];
        if keys > 0 {
            let heads_of = key.par_chunks_mut(key_size).zip(value.par_chunks_mut(value_size)).with_min_len(heads);
            heads_of.enumerate().for_each(|(index, (key, value))| {
                let (row, head) = (index / heads, index % heads);
                let mut first = 0;
                for stream in streams {
                    let start = row * stream.tokens * heads * head_dim + head * head_dim;
                    pack_keys(&stream.key[start.min(stream.key.len())..], stream.tokens, first, shape, key);
                    pack_values(
                        &stream.value[start.min(stream.value.len())..],
                        stream.tokens,
                        first,
                        keys,
                        shape,
                        value,
                    );
                    first += stream.tokens;
                }
            });
        }
        Packed { key, value, keys }
    }
}

/// Writes `tokens` keys of one head from key number `first` on.
fn pack_keys(source: &[f32], tokens: usize, first: usize, shape: Shape, packed: &mut [f32]) {
    let (width, head_dim) = (shape.heads * shape.head_dim, shape.head_dim);
    for token in 0..tokens {
        let (panel, lane) = ((first + token) / PANEL, (first + token) % PANEL);
        let (rows, _) = packed[panel * head_dim * PANEL..][..head_dim * PANEL].as_chunks_mut::<PANEL>();
        for (row, &value) in rows.iter_mut().zip(&source[token * width..][..head_dim]) {
            row[lane] = value;
        }
    }
}

/// Writes `tokens` values of one head from key number `first` on.
fn pack_values(source: &[f32], tokens: usize, first: usize, keys: usize, shape: Shape, packed: &mut [f32]) {
    let (width, head_dim) = (shape.heads * shape.head_dim, shape.head_dim);
    for token in 0..tokens {
        for (panel, channels) in source[token * width..][..head_dim].chunks(PANEL).enumerate() {
            packed[(panel * keys + first + token) * PANEL..][..channels.len()].copy_from_slice(channels);
        }
    }
}

/// Working memory of one thread.
struct Scratch {
    /// [QUERY_ROWS, head_dim], scaled by 1 / sqrt(head_dim).
    query: Vec<f32>,
    /// [QUERY_ROWS, score_width]
    scores: Vec<f32>,
    score_width: usize,
    /// [QUERY_ROWS, head_dim rounded up to PANEL]
    out: Vec<f32>,
}

impl Scratch {
    fn new(keys: usize, head_dim: usize) -> Self {
        let score_width = keys.min(KEY_TILE).next_multiple_of(PANEL);
        Scratch {
            query: vec![0.0; QUERY_ROWS * head_dim],
            scores: vec![0.0; QUERY_ROWS * score_width],
            score_width,
            out: vec![0.0; QUERY_ROWS * head_dim.next_multiple_of(PANEL)],
        }
    }
}

/// Up to QUERY_ROWS queries of one batch row, all heads; query and out: [rows, heads * head_dim].
struct Block<'a> {
    packed: &'a Packed,
    shape: Shape,
    batch: usize,
    query: &'a [f32],
    out: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Block { packed, shape, batch, query, out, scratch } = self;
        let Shape { heads, head_dim, .. } = shape;
        let (width, out_width) = (heads * head_dim, head_dim.next_multiple_of(PANEL));
        let rows = query.len() / width;
        let padded_rows = rows.next_multiple_of(KERNEL_ROWS);
        let key_size = packed.keys.div_ceil(PANEL) * head_dim * PANEL;
        let value_size = head_dim.div_ceil(PANEL) * packed.keys * PANEL;
        let scale = 1.0 / (head_dim as f32).sqrt();
        for head in 0..heads {
            let key = &packed.key[(batch * heads + head) * key_size..][..key_size];
            let value = &packed.value[(batch * heads + head) * value_size..][..value_size];
            for (scaled, query) in scratch.query.chunks_exact_mut(head_dim).zip(query.chunks_exact(width)) {
                for (scaled, &query) in scaled.iter_mut().zip(&query[head * head_dim..][..head_dim]) {
                    *scaled = query * scale;
                }
            }
            // The rows that only fill up the last kernel call must not carry another task's values on.
            scratch.query[rows * head_dim..padded_rows * head_dim].fill(0.0);
            scratch.out[..padded_rows * out_width].fill(0.0);
            let mut softmax = [Softmax { maximum: f32::NEG_INFINITY, sum: 0.0 }; QUERY_ROWS];
            for first in (0..packed.keys).step_by(KEY_TILE) {
                let keys = KEY_TILE.min(packed.keys - first);
                for panel in 0..keys.div_ceil(PANEL) {
                    let key = &key[(first / PANEL + panel) * head_dim * PANEL..][..head_dim * PANEL];
                    for row in (0..padded_rows).step_by(KERNEL_ROWS) {
                        let query = &scratch.query[row * head_dim..];
                        let scores = &mut scratch.scores[row * scratch.score_width + panel * PANEL..];
                        product(simd, query, head_dim, key, scores, scratch.score_width, false);
                    }
                }
                for (row, softmax) in softmax.iter_mut().enumerate().take(padded_rows) {
                    let scores = &mut scratch.scores[row * scratch.score_width..][..keys];
                    let shrink = softmax.update(scores);
                    if shrink != 1.0 {
                        scratch.out[row * out_width..][..out_width].iter_mut().for_each(|x| *x *= shrink);
                    }
                }
                for panel in 0..out_width / PANEL {
                    let value = &value[(panel * packed.keys + first) * PANEL..][..keys * PANEL];
                    for row in (0..padded_rows).step_by(KERNEL_ROWS) {
                        let scores = &scratch.scores[row * scratch.score_width..];
                        let out = &mut scratch.out[row * out_width + panel * PANEL..];
                        product(simd, scores, scratch.score_width, value, out, out_width, true);
                    }
                }
            }
            let rows = out.chunks_exact_mut(width).zip(scratch.out.chunks_exact(out_width)).zip(&softmax);
            for ((out, scaled), softmax) in rows {
                let inverse = 1.0 / softmax.sum;
                for (out, &scaled) in out[head * head_dim..][..head_dim].iter_mut().zip(scaled) {
                    *out = scaled * inverse;
                }
            }
        }
    }
}

/// Running softmax of one query.
#[derive(Clone, Copy)]
struct Softmax {
    maximum: f32,
    /// Sum of e^(score - maximum) over the keys so far.
    sum: f32,
}

impl Softmax {
    /// Turns the scores of a tile into e^(score - maximum) and returns the factor for earlier tiles.
    #[inline(always)]
    fn update(&mut self, scores: &mut [f32]) -> f32 {
        let maximum = simd::maximum(scores, self.maximum);
        for score in scores.iter_mut() {
            *score = simd::exp(*score - maximum);
        }
        let shrink = simd::exp(self.maximum - maximum);
        self.sum = self.sum.mul_add(shrink, simd::sum(scores, |x| x));
        self.maximum = maximum;
        shrink
    }
}

/// c[KERNEL_ROWS, PANEL] (row stride c_stride) = or += a[KERNEL_ROWS, depth] (row stride a_stride)
/// b[depth, PANEL].
#[inline(always)]
fn product<S: Simd>(simd: S, a: &[f32], a_stride: usize, b: &[f32], c: &mut [f32], c_stride: usize, add: bool) {
    match PANEL / S::F32_LANES {
        1 => kernel::<S, 1>(simd, a, a_stride, b, c, c_stride, add),
        2 => kernel::<S, 2>(simd, a, a_stride, b, c, c_stride, add),
        4 => kernel::<S, 4>(simd, a, a_stride, b, c, c_stride, add),
        _ => kernel::<S, 16>(simd, a, a_stride, b, c, c_stride, add),
    }
}

/// [`product`] with VECTORS registers per panel row.
#[inline(always)]
fn kernel<S: Simd, const VECTORS: usize>(
    simd: S,
    a: &[f32],
    a_stride: usize,
    b: &[f32],
    c: &mut [f32],
    c_stride: usize,
    add: bool,
) {
    let (panel_rows, _) = S::as_simd_f32s(b);
    let (panel_rows, _) = panel_rows.as_chunks::<VECTORS>();
    let depth = panel_rows.len();
    let rows: [&[f32]; KERNEL_ROWS] = std::array::from_fn(|row| &a[row * a_stride..][..depth]);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; KERNEL_ROWS];
    for step in 0..depth {
        for row in 0..KERNEL_ROWS {
            let factor = simd.splat_f32s(rows[row][step]);
            for vector in 0..VECTORS {
                sums[row][vector] = simd.mul_add_f32s(factor, panel_rows[step][vector], sums[row][vector]);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let (out, _) = S::as_mut_simd_f32s(&mut c[row * c_stride..][..PANEL]);
        for (out, &sum) in out.iter_mut().zip(sums) {
            *out = if add { simd.add_f32s(*out, sum) } else { sum };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(length: usize, salt: usize) -> Vec<f32> {
        (0..length).map(|i| (((i + 13 * salt) * 7919 % 2003) as f32 - 1000.0) * 2e-3).collect()
    }

    fn check(tokens: &[usize], shape: Shape) {
        let Shape { batch, heads, head_dim } = shape;
        let width = heads * head_dim;
        let data: Vec<[Vec<f32>; 3]> =
            tokens.iter().map(|t| [1, 2, 3].map(|salt| values(batch * t * width, salt + t))).collect();
        let streams: Vec<Stream> = data
            .iter()
            .zip(tokens)
            .map(|([query, key, value], &tokens)| Stream { query, key, value, tokens })
            .collect();
        let outputs = attention(&streams, shape);
        for (own, (stream, out)) in streams.iter().zip(&outputs).enumerate() {
            assert_eq!(out.len(), stream.query.len());
            for row in 0..batch * stream.tokens * heads {
                let (sequence, head) = (row / heads / stream.tokens, row % heads);
                let query = &stream.query[row * head_dim..][..head_dim];
                let (mut total, mut largest) = (0f64, 0f64);
                let mut expected = vec![0f64; head_dim];
                for other in &streams {
                    for token in 0..other.tokens {
                        let start = ((sequence * other.tokens + token) * heads + head) * head_dim;
                        let terms = (0..head_dim).map(|d| f64::from(query[d]) * f64::from(other.key[start + d]));
                        let (score, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                        largest = largest.max(size / (head_dim as f64).sqrt());
                        let weight = (score / (head_dim as f64).sqrt()).exp();
                        total += weight;
                        for (expected, &value) in expected.iter_mut().zip(&other.value[start..]) {
                            *expected += weight * f64::from(value);
                        }
                    }
                }
                // An error of a score is a relative error of its weight; values are at most 2.
                let bound = 2.0 * f64::from(f32::EPSILON) * (4.0 + largest);
                for d in 0..head_dim {
                    let (found, expected) = (f64::from(out[row * head_dim + d]), expected[d] / total);
                    assert!(
                        (found - expected).abs() < bound,
                        "tokens {tokens:?}, head_dim {head_dim}, stream {own}, row {row}, {d}: {found}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn matches_float64_for_every_length() {
        for tokens in 0..=64 {
            check(&[tokens], Shape { batch: 1, heads: 2, head_dim: 16 });
            check(&[16, tokens], Shape { batch: 2, heads: 1, head_dim: 24 });
        }
    }

    #[test]
    fn matches_float64_at_every_tile_edge() {
        for tokens in [95, 96, 97, 255, 256, 257, 513] {
            check(&[tokens], Shape { batch: 1, heads: 1, head_dim: 8 });
        }
        check(&[100, 300], Shape { batch: 2, heads: 2, head_dim: 64 });
        check(&[333], Shape { batch: 1, heads: 1, head_dim: 128 });
        for head_dim in 1..=40 {
            check(&[5, 7], Shape { batch: 1, heads: 3, head_dim });
        }
    }

    #[test]
    fn large_scores_do_not_overflow_and_nan_is_not_hidden() {
        let (query, value) = (vec![100.0; 16], vec![1.5; 16]);
        let stream = Stream { query: &query, key: &query, value: &value, tokens: 1 };
        let shape = Shape { batch: 1, heads: 1, head_dim: 16 };
        assert_eq!(attention(&[stream, stream], shape)[1], vec![1.5; 16]);
        let bad = vec![f32::NAN; 16];
        let out = attention(&[Stream { key: &bad, ..stream }, stream], shape);
        assert!(out.iter().flatten().all(|x| x.is_nan()));
    }
}
