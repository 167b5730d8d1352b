//! Latent sizes, and FLUX's packing of 2 x 2 latent pixels into tokens.

use serde_json::Value;

use crate::checkpoint::config::Architecture;
use crate::error::{Error, Result};
use crate::ops::Tensor;

/// FLUX packs patches of this many latent pixels in each direction.
const FLUX_PATCH: usize = 2;

/// Pixels per latent pixel in each direction: 2^(levels of the VAE - 1); 8 if the VAE is unknown.
pub(super) fn vae_scale_factor(vae: &Value) -> usize {
    match vae.get("block_out_channels").and_then(Value::as_array) {
        Some(levels) if !levels.is_empty() => 1 << (levels.len() - 1),
        _ => 8,
    }
}

/// Size of the latents of one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentSize {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Latent pixels per token in each direction.
    pub patch: usize,
    /// FLUX: the transformer takes tokens rather than a picture.
    pub packed: bool,
}

impl LatentSize {
    /// For a picture of `height` x `width` pixels; `vae` is the parsed VAE config.
    ///
    /// # Errors
    /// [`Error::Usage`] if the size is zero or cannot be cut into patches.
    pub fn new(architecture: &Architecture, vae: &Value, height: usize, width: usize) -> Result<Self> {
        let scale = vae_scale_factor(vae);
        let (channels, patch, packed) = match architecture {
            Architecture::Sd3(config) => (config.in_channels, config.patch_size, false),
            Architecture::Flux(config) => (config.in_channels / (FLUX_PATCH * FLUX_PATCH), FLUX_PATCH, true),
        };
        let unit = scale * patch;
        for (flag, pixels) in [("--height", height), ("--width", width)] {
            if pixels == 0 || pixels % unit != 0 {
                return Err(Error::Usage(format!(
                    "{flag} is {pixels}, expected a positive multiple of {unit} for this model"
                )));
            }
        }
        Ok(LatentSize { channels, height: height / scale, width: width / scale, patch, packed })
    }

    /// Channels, height, width of the noise before packing.
    pub fn picture(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// Rows and columns of image tokens.
    pub fn grid(&self) -> [usize; 2] {
        [self.height / self.patch, self.width / self.patch]
    }

    /// Number of image tokens.
    pub fn tokens(&self) -> usize {
        self.grid().iter().product()
    }

    /// Latents as pictures, [batch, channels, height, width], whatever the transformer takes.
    ///
    /// # Errors
    /// [`Error::Runtime`] if `latents` is not of this size.
    pub fn unpack(&self, latents: &Tensor) -> Result<Tensor> {
        if !self.packed {
            return Ok(latents.clone());
        }
        let [rows, columns] = self.grid();
        let batch = latents.dim(0)?;
        let patches = latents.reshape([batch, rows, columns, self.channels, self.patch, self.patch])?;
        let pixels = patches.permute(&[0, 3, 1, 4, 2, 5])?;
        pixels.reshape([batch, self.channels, self.height, self.width])
    }

    /// Shape of one picture's latents as the transformer takes them: SD3 [channels, height, width], FLUX
    /// [tokens, channels * 4].
    pub fn item(&self) -> Vec<usize> {
        match self.packed {
            true => vec![self.tokens(), self.channels * self.patch * self.patch],
            false => self.picture().to_vec(),
        }
    }
}

/// FLUX: latents [batch, channels, height, width] as tokens [batch, height/2 * width/2, channels * 4].
///
/// # Errors
/// [`Error::Runtime`] if height or width is odd.
pub fn pack(latents: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = latents.dims4()?;
    let (rows, columns) = (height / FLUX_PATCH, width / FLUX_PATCH);
    let patches = latents.reshape([batch, channels, rows, FLUX_PATCH, columns, FLUX_PATCH])?;
    let tokens = patches.permute(&[0, 2, 4, 1, 3, 5])?;
    tokens.reshape([batch, rows * columns, channels * FLUX_PATCH * FLUX_PATCH])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::config::{FluxConfig, Sd3Config};
    use serde_json::json;

    #[test]
    fn sizes_follow_the_vae_and_the_patch() {
        let vae = json!({"block_out_channels": [128, 256, 512, 512]});
        let sd3 = Architecture::Sd3(Sd3Config::default());
        let size = LatentSize::new(&sd3, &vae, 1024, 768).unwrap();
        assert_eq!((size.item(), size.tokens()), (vec![16, 128, 96], 64 * 48));
        let flux = Architecture::Flux(FluxConfig::default());
        let size = LatentSize::new(&flux, &vae, 64, 96).unwrap();
        assert_eq!((size.item(), size.grid()), (vec![24, 64], [4, 6]));
        for (height, width) in [(0, 16), (16, 8), (17, 16)] {
            let error = LatentSize::new(&flux, &vae, height, width).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }

    #[test]
    fn packing_keeps_channels_together() {
        let latents = Tensor::from_vec((0..16u8).map(f32::from).collect(), [1, 2, 2, 4]).unwrap();
        let tokens = pack(&latents).unwrap();
        assert_eq!(tokens.dims(), [1, 2, 8]);
        assert_eq!(tokens.as_slice().unwrap()[..8], [0.0, 1.0, 4.0, 5.0, 8.0, 9.0, 12.0, 13.0]);
        assert_eq!(tokens.as_slice().unwrap()[8..], [2.0, 3.0, 6.0, 7.0, 10.0, 11.0, 14.0, 15.0]);
        let size = LatentSize { channels: 2, height: 2, width: 4, patch: 2, packed: true };
        let back = size.unpack(&tokens).unwrap();
        assert_eq!((back.dims(), back.as_slice().unwrap()), (latents.dims(), latents.as_slice().unwrap()));
    }
}
