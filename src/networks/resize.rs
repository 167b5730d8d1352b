//! Bicubic resizing of u8 pictures, bit for bit as Pillow did it up to version 12, which is what CLIP was trained on.
//! Since version 13 Pillow takes columns first where the height shrinks by more than the width, which changes some bytes
//! there; pictures whose sides shrink alike, squares above all, are the same in every version.
//!
//! Rows are resized first, columns second, each rounded to u8. The kernel (a = -1/2) is stretched by the factor by which
//! the picture shrinks, so that no source pixel is passed over; its weights are fixed-point numbers.

use rayon::prelude::*;

/// Bits behind the binary point of a weight: 32 less 8 for the pixel and 2 for the overshoot of the kernel.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// Half the width of the kernel, in pixels of the coarser grid.
const SUPPORT: f64 = 2.0;
/// Red, green, blue.
const CHANNELS: usize = 3;

/// `pixels` [height, width, 3] of `from` = (width, height) as [height, width, 3] of `to`; all sizes are positive.
pub fn resize(pixels: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    assert_eq!(pixels.len(), from.0 * from.1 * CHANNELS, "resize: number of values");
    let wide = if from.0 == to.0 { pixels.to_vec() } else { resize_rows(pixels, from.0, to.0) };
    if from.1 == to.1 { wide } else { resize_columns(&wide, to.0, from.1, to.1) }
}

/// The source pixels of one pixel and their weights.
struct Window {
    first: usize,
    /// With [`PRECISION_BITS`] bits behind the binary point.
    weights: Vec<i32>,
}

impl Window {
    /// The weighted sum of bytes, rounded and clamped.
    fn apply(&self, pixels: impl Iterator<Item = u8>) -> u8 {
        let sum = self.weights.iter().zip(pixels).map(|(&weight, pixel)| weight * i32::from(pixel)).sum::<i32>();
        ((sum + (1 << (PRECISION_BITS - 1))) >> PRECISION_BITS).clamp(0, 255) as u8
    }
}

/// One window per pixel of a line that goes from `from` to `to` pixels.
fn windows(from: usize, to: usize) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    let window = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        // Truncated as C does it, towards zero.
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let weights: Vec<f64> =
            (first..end).map(|source| kernel((source as f64 - centre + 0.5) * (1.0 / stretch))).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: f64| {
            let scaled = weight / total * f64::from(1 << PRECISION_BITS);
            (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
        };
        Window { first, weights: weights.into_iter().map(fixed).collect() }
    };
    (0..to).map(window).collect()
}

/// Keys' cubic convolution with a = -1/2.
fn kernel(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn resize_rows(pixels: &[u8], from: usize, to: usize) -> Vec<u8> {
    let windows = windows(from, to);
    let mut out = vec![0; pixels.len() / from * to];
    out.par_chunks_mut(to * CHANNELS).zip(pixels.par_chunks(from * CHANNELS)).for_each(|(out, row)| {
        for (pixel, window) in out.chunks_mut(CHANNELS).zip(&windows) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = window.apply(row[window.first * CHANNELS + channel..].iter().step_by(CHANNELS).copied());
            }
        }
    });
    out
}

fn resize_columns(pixels: &[u8], width: usize, from: usize, to: usize) -> Vec<u8> {
    let stride = width * CHANNELS;
    let mut out = vec![0; to * stride];
    out.par_chunks_mut(stride).zip(windows(from, to)).for_each(|(out, window)| {
        for (place, value) in out.iter_mut().enumerate() {
            *value = window.apply(pixels[window.first * stride + place..].iter().step_by(stride).copied());
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat_at_every_size() {
        for (from, to) in (1..40).flat_map(|from| (1..40).map(move |to| (from, to))) {
            let out = resize(&vec![201; from * 3 * CHANNELS], (from, 3), (to, 5));
            assert_eq!(out, vec![201; to * 5 * CHANNELS], "{from} to {to}");
        }
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let pixels: Vec<u8> = (0..7 * 5 * CHANNELS).map(|i| (i * 37 % 256) as u8).collect();
        assert_eq!(resize(&pixels, (7, 5), (7, 5)), pixels);
    }
}
