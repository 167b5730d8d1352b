//! Peak signal-to-noise ratio.
//!
//! PSNR = 10 log10(255^2 / MSE) in decibels, with MSE the mean over all pixels and channels of the squared difference:
//! the number that scikit-image's `peak_signal_noise_ratio(a, b, data_range=255)` gives. Equal pictures have an infinite
//! PSNR; see [`super::infinite`] for how that is written.

use super::check_sizes;
use crate::error::Result;
use crate::pictures::Picture;

/// The largest value of a channel.
const PEAK: f64 = 255.0;

/// Of two pictures of equal size, in decibels; infinite if they are equal.
///
/// # Errors
/// [`crate::Error::Runtime`] if the sizes differ.
pub fn psnr(a: &Picture, b: &Picture) -> Result<f64> {
    check_sizes("PSNR", a, b)?;
    let squares: u64 = a.rgb.iter().zip(&b.rgb).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum();
    Ok(10.0 * (PEAK * PEAK * a.rgb.len() as f64 / squares as f64).log10())
}
