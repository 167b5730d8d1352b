//! Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to
//! structural similarity", eq. 13).
//!
//! In a Gaussian window of 11 x 11 pixels and sigma 1.5, with means mu, variances s^2 and covariance s_ab under it,
//!
//! ```text
//! SSIM = (2 mu_a mu_b + C1) (2 s_ab + C2) / ((mu_a^2 + mu_b^2 + C1) (s_a^2 + s_b^2 + C2)),
//! C1 = (0.01 * 255)^2,  C2 = (0.03 * 255)^2
//! ```
//!
//! averaged over every window that lies inside the picture, and over red, green and blue. It is the number that
//! scikit-image gives with `structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
//! channel_axis=2, data_range=255)`.

use rayon::prelude::*;

use super::check_sizes;
use crate::error::Result;
use crate::pictures::Picture;

/// Pixels on a side of the window.
pub const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
const CHANNELS: usize = 3;
/// Products whose windowed means are needed: a, b, a^2, b^2, a b.
const MOMENTS: usize = 5;

/// Of two pictures of equal size; 1 if they are equal. `None` if the window does not fit into the picture: no other
/// window is taken instead, because numbers of different windows cannot be compared.
///
/// # Errors
/// [`crate::Error::Runtime`] if the sizes differ.
pub fn ssim(a: &Picture, b: &Picture) -> Result<Option<f64>> {
    check_sizes("SSIM", a, b)?;
    if a.width < WINDOW || a.height < WINDOW {
        return Ok(None);
    }
    let weights = gaussian();
    let rows = a.height - WINDOW + 1;
    let windows = (rows * (a.width - WINDOW + 1)) as f64;
    let sums: Vec<[f64; CHANNELS]> = (0..rows).into_par_iter().map(|top| row(a, b, top, &weights)).collect();
    let mean = |channel: usize| sums.iter().map(|row| row[channel]).sum::<f64>() / windows;
    Ok(Some((0..CHANNELS).map(mean).sum::<f64>() / CHANNELS as f64))
}

/// One side of the window, with sum 1.
fn gaussian() -> [f64; WINDOW] {
    let centre = (WINDOW / 2) as f64;
    let bells: [f64; WINDOW] = std::array::from_fn(|i| (-0.5 * ((i as f64 - centre) / SIGMA).powi(2)).exp());
    let sum: f64 = bells.iter().sum();
    bells.map(|bell| bell / sum)
}

/// Sums over the windows whose first row is `top`, per channel.
fn row(a: &Picture, b: &Picture, top: usize, weights: &[f64; WINDOW]) -> [f64; CHANNELS] {
    let width = a.width;
    // Columns first: moments of every pixel column under the window's height, then along the row.
    let mut columns = vec![[[0.0f64; MOMENTS]; CHANNELS]; width];
    for (dy, weight) in weights.iter().enumerate() {
        let start = (top + dy) * width * CHANNELS;
        let line = |picture: &'_ Picture| -> Vec<f64> {
            picture.rgb[start..start + width * CHANNELS].iter().map(|&x| f64::from(x)).collect()
        };
        let (line_a, line_b) = (line(a), line(b));
        for x in 0..width {
            for channel in 0..CHANNELS {
                let (a, b) = (line_a[x * CHANNELS + channel], line_b[x * CHANNELS + channel]);
                let moments = &mut columns[x][channel];
                for (moment, value) in moments.iter_mut().zip([a, b, a * a, b * b, a * b]) {
                    *moment += weight * value;
                }
            }
        }
    }
    let mut sums = [0.0; CHANNELS];
    for left in 0..=width - WINDOW {
        for (channel, sum) in sums.iter_mut().enumerate() {
            let mut moments = [0.0; MOMENTS];
            for (column, weight) in columns[left..left + WINDOW].iter().zip(weights) {
                for (moment, value) in moments.iter_mut().zip(column[channel]) {
                    *moment += weight * value;
                }
            }
            *sum += similarity(moments);
        }
    }
    sums
}

/// SSIM of one window from its means of a, b, a^2, b^2, a b.
fn similarity([a, b, aa, bb, ab]: [f64; MOMENTS]) -> f64 {
    let (variance_a, variance_b, covariance) = (aa - a * a, bb - b * b, ab - a * b);
    (2.0 * a * b + C1) * (2.0 * covariance + C2) / ((a * a + b * b + C1) * (variance_a + variance_b + C2))
}
