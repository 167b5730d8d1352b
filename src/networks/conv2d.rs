//! 2-D convolution of a picture whose channels lie together, [height, width, channels], without im2col.
//!
//! In that layout the inputs of one row of the kernel are one run of `columns * channels` neighbours in memory, and the
//! run of the next output pixel begins `stride * channels` later. So a convolution is, per kernel row, a product of a
//! matrix with overlapping rows:
//!
//! ```text
//! tile of the input, gathered with its padding            weights, packed once
//!   (y, x-1) (y, x) (y, x+1) ...  channels each             [features / PANEL][kernel row][columns * channels][PANEL]
//!   |----- run of x ----|
//!           |---- run of x+1 ---|
//! ```
//!
//! A task is a few whole rows of the output. It gathers the input rows that it needs into a buffer of about TILE_BYTES
//! (where upsampling, normalisation and activation happen on the way, so that they need no memory of their own), and
//! multiplies BLOCK pixels at a time by one panel of weights after the other. How the work is cut, and the order of
//! every sum, depend on the shapes alone.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Affine, Weights};
use crate::error::{Error, Result};
use crate::ops::{Tensor, simd};

/// Output channels per packed panel: two 512-bit registers.
const PANEL: usize = 32;
/// Output pixels whose sums are held together: 96 x PANEL are 12 KiB, which with a slab of weights fill the L1 cache.
const BLOCK: usize = 96;
/// Terms of a sum per pass over a block: a slab of DEPTH x PANEL weights is 24 KiB. It divides 3 channels * 3 columns
/// for 64, 128, 256 and 512 channels.
const DEPTH: usize = 192;
/// Bytes of gathered input per task, unless a single row of output needs more.
const TILE_BYTES: usize = 4 << 20;
/// Tasks that a picture is cut into, where it has as many rows.
const TASKS: usize = 32;

/// A convolution with its weights packed.
#[derive(Debug)]
pub struct Conv2d {
    /// [ceil(features / PANEL)][kernel rows][kernel columns * channels][PANEL], zero beyond the last feature.
    packed: Vec<f32>,
    /// `[features]`
    bias: Vec<f32>,
    channels: usize,
    /// Rows and columns.
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
}

/// What happens to a picture on its way into a convolution, before it is padded with zeros.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Every pixel is read this many times in each direction (nearest-neighbour upsampling).
    pub upsample: usize,
    /// A normalisation, with or without activation.
    pub affine: Option<&'a Affine>,
}

impl Default for Reading<'_> {
    fn default() -> Self {
        Reading { upsample: 1, affine: None }
    }
}

impl Conv2d {
    /// From `weight` [features, channels, rows, columns] and `bias` `[features]`, as PyTorch stores them; `padding` zeros
    /// on every side.
    ///
    /// # Errors
    /// [`Error::Runtime`] for other shapes, an empty kernel or a stride of 0.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: usize) -> Result<Self> {
        let (features, channels, rows, columns) = weight.dims4()?;
        let bias = bias.map_or_else(|| Ok(vec![0.0; features]), |bias| bias.to_vec())?;
        if bias.len() != features || features * channels * rows * columns * stride == 0 {
            let message = format!("conv2d: weight {weight:?} with {} biases and stride {stride}", bias.len());
            return Err(Error::Runtime(message));
        }
        let (values, taps) = (weight.as_slice()?, rows * columns);
        let panel_size = taps * channels * PANEL;
        let mut packed = vec![0.0; features.div_ceil(PANEL) * panel_size];
        packed.par_chunks_mut(panel_size).enumerate().for_each(|(panel, packed)| {
            for lane in 0..PANEL.min(features - panel * PANEL) {
                let feature = &values[(panel * PANEL + lane) * channels * taps..][..channels * taps];
                for channel in 0..channels {
                    for tap in 0..taps {
                        packed[(tap * channels + channel) * PANEL + lane] = feature[channel * taps + tap];
                    }
                }
            }
        });
        Ok(Conv2d { packed, bias, channels, kernel: [rows, columns], stride, padding })
    }

    /// `module.weight` [features, channels, kernel, kernel] and `module.bias` of a network; stride 1, and the padding
    /// that keeps the size.
    ///
    /// # Errors
    /// Those of [`Weights::tensor`].
    pub fn read(weights: &Weights, module: &str, features: usize, channels: usize, kernel: usize) -> Result<Self> {
        let weight = weights.tensor(&format!("{module}.weight"), &[features, channels, kernel, kernel])?;
        let bias = weights.tensor(&format!("{module}.bias"), &[features])?;
        Conv2d::new(&weight, Some(&bias), 1, kernel / 2)
    }

    /// The convolution of `x` [height, width, channels]: [height', width', features] with
    /// `height' = (height + 2 padding - rows) / stride + 1`.
    ///
    /// # Errors
    /// [`Error::Runtime`] if `x` has other channels or is smaller than the kernel.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.apply_with(x, Reading::default(), None)
    }

    /// [`Conv2d::apply`] of what `reading` makes of `x`, added to `onto`, which has the shape of the result and gives its
    /// memory.
    ///
    /// # Errors
    /// Those of [`Conv2d::apply`], and [`Error::Runtime`] for a normalisation or `onto` of another shape.
    pub fn apply_with(&self, x: &Tensor, reading: Reading, onto: Option<Tensor>) -> Result<Tensor> {
        let (height, width, channels) = x.dims3()?;
        let padded = |size: usize| size * reading.upsample + 2 * self.padding;
        let [rows, columns] = self.kernel;
        let fits = padded(height) >= rows && padded(width) >= columns && height * width * reading.upsample > 0;
        let normalises = reading.affine.is_none_or(|affine| affine.scale.len() == channels);
        if channels != self.channels || !fits || !normalises {
            return Err(Error::Runtime(format!(
                "conv2d: {x:?} on {} channels and kernel {:?}",
                self.channels, self.kernel
            )));
        }
        let out = |size: usize, kernel: usize| (padded(size) - kernel) / self.stride + 1;
        let shape = [out(height, rows), out(width, columns), self.bias.len()];
        let adds = onto.is_some();
        let mut result = match onto {
            Some(onto) if onto.dims() == shape => onto,
            Some(onto) => return Err(Error::Runtime(format!("conv2d: {shape:?} cannot be added to {onto:?}"))),
            None => Tensor::from_vec(vec![0.0; shape.iter().product()], shape)?,
        };
        let source = Source { values: x.as_slice()?, height, width, channels, reading };
        let tile_rows = self.tile_rows(shape[0], padded(width) * channels);
        let row_size = shape[1] * shape[2];
        result.as_mut_slice()?.par_chunks_mut(tile_rows * row_size).enumerate().for_each_init(
            Vec::new,
            |tile, (index, out)| {
                let first = index * tile_rows * self.stride;
                let count = (out.len() / row_size - 1) * self.stride + rows;
                source.gather(first, count, self.padding, tile);
                pulp::Arch::new().dispatch(Product {
                    conv: self,
                    tile,
                    tile_width: padded(width),
                    out,
                    width: shape[1],
                    adds,
                });
            },
        );
        Ok(result)
    }

    /// Output rows of a task, for input rows of `row` values.
    fn tile_rows(&self, height: usize, row: usize) -> usize {
        let input_rows = TILE_BYTES / (row * size_of::<f32>());
        let fitting = (input_rows.saturating_sub(self.kernel[0]) / self.stride + 1).max(1);
        fitting.min(height.div_ceil(TASKS))
    }
}

/// A picture to be read.
struct Source<'a> {
    values: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
    reading: Reading<'a>,
}

impl Source<'_> {
    /// Rows `first .. first + count` of the padded picture into `tile`, [count, padded width, channels].
    fn gather(&self, first: usize, count: usize, padding: usize, tile: &mut Vec<f32>) {
        let Source { height, width, channels, reading, .. } = *self;
        let factor = reading.upsample;
        let row_size = (width * factor + 2 * padding) * channels;
        tile.resize(count * row_size, 0.0);
        for (row, out) in tile.chunks_exact_mut(row_size).enumerate() {
            let y = (first + row).checked_sub(padding).filter(|y| *y < height * factor);
            let Some(y) = y else {
                out.fill(0.0);
                continue;
            };
            let (left, out) = out.split_at_mut(padding * channels);
            let (out, right) = out.split_at_mut(width * factor * channels);
            left.fill(0.0);
            right.fill(0.0);
            let source = &self.values[y / factor * width * channels..][..width * channels];
            let pixels = out.chunks_exact_mut(factor * channels).zip(source.chunks_exact(channels));
            match reading.affine {
                None => pixels.for_each(|(out, pixel)| {
                    out.chunks_exact_mut(channels).for_each(|out| out.copy_from_slice(pixel));
                }),
                Some(affine) => pixels.for_each(|(out, pixel)| {
                    let (first, others) = out.split_at_mut(channels);
                    affine.apply(pixel, first);
                    others.chunks_exact_mut(channels).for_each(|out| out.copy_from_slice(first));
                }),
            }
        }
    }
}

/// The product of one task: out: [rows, width, features].
struct Product<'a> {
    conv: &'a Conv2d,
    /// [input rows, tile_width, channels]
    tile: &'a [f32],
    tile_width: usize,
    out: &'a mut [f32],
    width: usize,
    /// Whether the result is added to what `out` holds.
    adds: bool,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { conv, tile, tile_width, out, width, adds } = self;
        let features = conv.bias.len();
        let [kernel_rows, kernel_columns] = conv.kernel;
        // Terms of one kernel row, which lie together in the tile.
        let run = kernel_columns * conv.channels;
        let mut sums = [0f32; BLOCK * PANEL];
        for (row, out) in out.chunks_exact_mut(width * features).enumerate() {
            for (block, out) in out.chunks_mut(BLOCK * features).enumerate() {
                let pixels = out.len() / features;
                let sums = &mut sums[..pixels * PANEL];
                for (panel, weights) in conv.packed.chunks_exact(kernel_rows * run * PANEL).enumerate() {
                    let lanes = panel * PANEL..features.min((panel + 1) * PANEL);
                    sums.fill(0.0);
                    for kernel_row in 0..kernel_rows {
                        let start = (row * conv.stride + kernel_row) * tile_width + block * BLOCK * conv.stride;
                        let line = &tile[start * conv.channels..];
                        for first in (0..run).step_by(DEPTH) {
                            let depth = DEPTH.min(run - first);
                            let weights = &weights[(kernel_row * run + first) * PANEL..][..depth * PANEL];
                            product(simd, &line[first..], conv.stride * conv.channels, weights, sums);
                        }
                    }
                    for (out, sums) in out.chunks_exact_mut(features).zip(sums.chunks_exact(PANEL)) {
                        let terms = sums.iter().zip(&conv.bias[lanes.clone()]);
                        for (out, (sum, bias)) in out[lanes.clone()].iter_mut().zip(terms) {
                            *out = if adds { *out + (sum + bias) } else { sum + bias };
                        }
                    }
                }
            }
        }
    }
}

/// sums[p, :] += sum over k of line[p * stride + k] * weights[k, :] for all pixels p; weights: [depth, PANEL],
/// sums: [pixels, PANEL].
#[inline(always)]
fn product<S: Simd>(simd: S, line: &[f32], stride: usize, weights: &[f32], sums: &mut [f32]) {
    match PANEL / S::F32_LANES {
        2 => rows::<S, 2, 8>(simd, line, stride, weights, sums),
        4 => rows::<S, 4, 2>(simd, line, stride, weights, sums),
        8 => rows::<S, 8, 2>(simd, line, stride, weights, sums),
        _ => rows::<S, PANEL, 1>(simd, line, stride, weights, sums),
    }
}

/// [`product`] with VECTORS registers per pixel, ROWS pixels at a time and the rest in halves of that: accumulators fill
/// at most half of the register file of AVX-512, AVX2 and NEON and hide the latency of the multiply-adds.
#[inline(always)]
fn rows<S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    line: &[f32],
    stride: usize,
    weights: &[f32],
    sums: &mut [f32],
) {
    let pixels = sums.len() / PANEL;
    let mut pixel = 0;
    while pixel + ROWS <= pixels {
        kernel::<S, VECTORS, ROWS>(simd, &line[pixel * stride..], stride, weights, &mut sums[pixel * PANEL..]);
        pixel += ROWS;
    }
    if ROWS > 4 && pixel + 4 <= pixels {
        kernel::<S, VECTORS, 4>(simd, &line[pixel * stride..], stride, weights, &mut sums[pixel * PANEL..]);
        pixel += 4;
    }
    if ROWS > 2 && pixel + 2 <= pixels {
        kernel::<S, VECTORS, 2>(simd, &line[pixel * stride..], stride, weights, &mut sums[pixel * PANEL..]);
        pixel += 2;
    }
    if ROWS > 1 && pixel < pixels {
        kernel::<S, VECTORS, 1>(simd, &line[pixel * stride..], stride, weights, &mut sums[pixel * PANEL..]);
    }
}

/// [`product`] of ROWS pixels.
#[inline(always)]
fn kernel<S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    line: &[f32],
    stride: usize,
    weights: &[f32],
    sums: &mut [f32],
) {
    let (weights, _) = S::as_simd_f32s(weights);
    let (weights, _) = weights.as_chunks::<VECTORS>();
    let depth = weights.len();
    let inputs: [&[f32]; ROWS] = std::array::from_fn(|row| &line[row * stride..][..depth]);
    let mut accumulators = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (term, weights) in weights.iter().enumerate() {
        for row in 0..ROWS {
            let factor = simd.splat_f32s(inputs[row][term]);
            for vector in 0..VECTORS {
                accumulators[row][vector] = simd.mul_add_f32s(factor, weights[vector], accumulators[row][vector]);
            }
        }
    }
    for (sums, accumulators) in sums.chunks_exact_mut(PANEL).zip(&accumulators) {
        let (sums, _) = S::as_mut_simd_f32s(sums);
        for (sum, &accumulator) in sums.iter_mut().zip(accumulators) {
            *sum = simd.add_f32s(*sum, accumulator);
        }
    }
}

/// y = x scale + shift per channel, and SiLU.
impl Affine {
    /// Of one pixel.
    fn apply(&self, pixel: &[f32], out: &mut [f32]) {
        let affine = self.scale.iter().zip(&self.shift);
        if self.silu {
            simd::vectorized(
                #[inline(always)]
                || {
                    for ((out, x), (scale, shift)) in out.iter_mut().zip(pixel).zip(affine.clone()) {
                        let y = x.mul_add(*scale, *shift);
                        *out = y / (1.0 + simd::exp(-y));
                    }
                },
            );
        } else {
            for ((out, x), (scale, shift)) in out.iter_mut().zip(pixel).zip(affine) {
                *out = x * scale + shift;
            }
        }
    }
}
