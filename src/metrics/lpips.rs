//! LPIPS of two pictures; the formula and its network are in [`crate::networks::Lpips`].

use std::path::Path;

use super::check_sizes;
use crate::error::{Error, Result};
use crate::networks;
use crate::ops::Tensor;
use crate::pictures::Picture;

/// The metric with local weights.
#[derive(Debug)]
pub struct Lpips {
    network: networks::Lpips,
}

impl Lpips {
    /// Those of [`networks::Lpips::open`].
    ///
    /// # Errors
    /// Those of [`networks::Lpips::open`].
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Lpips { network: networks::Lpips::open(path)? })
    }

    /// `alex` or `vgg`.
    pub fn name(&self) -> &'static str {
        self.network.backbone().name()
    }

    /// Refuses pictures that are too small for the network.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check(&self, height: usize, width: usize) -> Result<()> {
        let smallest = self.network.backbone().smallest();
        if height.min(width) >= smallest {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "--lpips: the {} network sees nothing in pictures of {height} x {width}, it needs at least {smallest} x \
             {smallest} pixels; leave --lpips out",
            self.name()
        )))
    }

    /// Of two pictures of equal size; 0 if they are equal.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the sizes differ or are too small.
    pub fn distance(&self, a: &Picture, b: &Picture) -> Result<f64> {
        check_sizes("LPIPS", a, b)?;
        let values = |picture: &Picture| {
            let values = picture.rgb.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
            Tensor::from_vec(values, [picture.height, picture.width, 3])
        };
        self.network.distance(&values(a)?, &values(b)?)
    }
}
