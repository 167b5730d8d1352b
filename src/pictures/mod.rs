//! Pictures: from what a VAE decodes (or from latents that are pictures themselves) to PNG files and captioned grids.
//!
//! ```text
//! decoded, latents -> Picture -> PNG
//!                       `-> grid (scale, text)
//! ```

pub mod grid;
mod latents;
mod png;
mod scale;
mod text;

pub use grid::{Grid, Item};
pub use latents::{Colours, from_latents};

use crate::error::{Error, Result};
use crate::ops::Tensor;

/// A picture of 8-bit red, green, blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// [height, width, 3], row-major from the top left.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// A picture of one colour.
    pub fn plain(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Picture { width, height, rgb: colour.repeat(width * height) }
    }

    /// The colour at column `x` of row `y`.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let start = self.index(x, y);
        [self.rgb[start], self.rgb[start + 1], self.rgb[start + 2]]
    }

    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        let start = self.index(x, y);
        self.rgb[start..start + 3].copy_from_slice(&colour);
    }

    fn index(&self, x: usize, y: usize) -> usize {
        assert!(x < self.width && y < self.height, "({x}, {y}) in {} x {}", self.width, self.height);
        (y * self.width + x) * 3
    }
}

/// Pictures from what `networks::VaeDecoder::decode` returns, [items, 3, height, width]:
/// `round(255 clamp(x / 2 + 1/2, 0, 1))` with ties to even, as the `VaeImageProcessor` of diffusers. NaN becomes 0, so
/// whoever decodes refuses it first.
///
/// # Errors
/// [`Error::Runtime`] if the tensor does not have that shape.
pub fn from_decoded(decoded: &Tensor) -> Result<Vec<Picture>> {
    let (_, channels, height, width) = decoded.dims4()?;
    if channels != 3 {
        return Err(Error::Runtime(format!("a decoded picture has {channels} channels, expected 3")));
    }
    let area = height * width;
    let byte = |x: f32| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    let picture = |planes: &[f32]| {
        let rgb = (0..area).flat_map(|at| [0, 1, 2].map(|channel| byte(planes[channel * area + at]))).collect();
        Picture { width, height, rgb }
    };
    Ok(decoded.as_slice()?.chunks_exact((3 * area).max(1)).map(picture).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_values_become_bytes_as_in_diffusers() {
        // (x / 2 + 0.5) * 255: 0 and 255 at the ends, clamped beyond; -0.99 gives 1.275; 127.5 is a tie.
        let planes = vec![-1.0, 1.0, -3.0, 3.0, -0.99, 0.0, 0.5, -0.5, 0.25, f32::NAN, 0.1, -0.1];
        let pictures = from_decoded(&Tensor::from_vec(planes, [2, 3, 1, 2]).unwrap()).unwrap();
        assert_eq!((pictures.len(), pictures[0].width, pictures[0].height), (2, 2, 1));
        assert_eq!(pictures[0].rgb, [0, 0, 1, 255, 255, 128]);
        assert_eq!(pictures[1].rgb, [191, 159, 140, 64, 0, 115]);
        let error = from_decoded(&Tensor::from_vec(vec![0.0; 4], [1, 1, 2, 2]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("1 channels"), "{error}");
    }
}
