//! Latents as pictures, without a VAE: as what they are, or in false colour.

use super::Picture;
use crate::error::Result;
use crate::ops::Tensor;

/// How channels become colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// One channel in [-1, 1] as grey: the latents are the picture.
    Grey,
    /// Three channels in [-1, 1] as red, green, blue: the latents are the picture.
    Rgb,
    /// The first three of more channels, each stretched to its range in the first model.
    FalseColour,
}

impl Colours {
    /// Of latents with this many channels.
    pub fn of(channels: usize) -> Self {
        match channels {
            1 => Colours::Grey,
            3 => Colours::Rgb,
            _ => Colours::FalseColour,
        }
    }

    /// Whether latents of these colours are pictures themselves, so that no VAE decodes them.
    pub fn are_pictures(self) -> bool {
        self != Colours::FalseColour
    }

    /// The sentence that goes with the picture.
    pub fn describe(self) -> &'static str {
        match self {
            Colours::Grey => "latents in [-1, 1] as grey",
            Colours::Rgb => "latents in [-1, 1] as red, green and blue",
            Colours::FalseColour => "the first three latent channels in false colour; not decoded pictures",
        }
    }
}

/// The latents of one or more models, each [items, channels, height, width] in host memory with the same channels, as
/// pictures, per model one per item.
///
/// # Errors
/// [`Error::Runtime`](crate::Error::Runtime) if the tensors do not have such shapes.
pub fn from_latents(models: &[Tensor]) -> Result<Vec<Vec<Picture>>> {
    let Some(first) = models.first() else { return Ok(Vec::new()) };
    let (_, channels, height, width) = first.dims4()?;
    let ranges = channel_ranges(first.as_slice()?, channels, height * width);
    let of_model = |latents: &Tensor| {
        let (items, channels, height, width) = latents.dims4()?;
        let (values, area) = (latents.as_slice()?, height * width);
        let picture = |item: usize| {
            let byte = |range: Range, at: usize| {
                let value = values.get((item * channels + range.channel) * area + at);
                range.byte(value.copied().unwrap_or(0.0))
            };
            let rgb = (0..area).flat_map(|at| ranges.map(|range| byte(range, at))).collect();
            Picture { width, height, rgb }
        };
        Ok((0..items).map(picture).collect())
    };
    models.iter().map(of_model).collect()
}

/// A channel and the values that become black and white.
#[derive(Clone, Copy)]
struct Range {
    channel: usize,
    low: f32,
    high: f32,
}

impl Range {
    fn byte(self, value: f32) -> u8 {
        let share = (value - self.low) / (self.high - self.low).max(f32::MIN_POSITIVE);
        (share.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
    }
}

/// The ranges of red, green and blue.
fn channel_ranges(values: &[f32], channels: usize, pixels: usize) -> [Range; 3] {
    match Colours::of(channels) {
        Colours::Grey => [Range { channel: 0, low: -1.0, high: 1.0 }; 3],
        Colours::Rgb => [0, 1, 2].map(|channel| Range { channel, low: -1.0, high: 1.0 }),
        Colours::FalseColour => [0, 1, 2].map(|colour| {
            let channel = colour.min(channels.saturating_sub(1));
            let own = values.chunks(pixels.max(1)).skip(channel).step_by(channels.max(1)).flatten();
            let (low, high) = own.fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
            Range { channel, low, high }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_three_channels_are_pictures() {
        let grey = Tensor::from_vec(vec![-1.0, 1.0, 0.0, 9.0], [2, 1, 1, 2]).unwrap();
        let pictures = from_latents(&[grey.clone(), grey]).unwrap();
        assert_eq!(pictures[0], pictures[1]);
        assert_eq!(pictures[0][1].rgb, [128, 128, 128, 255, 255, 255]);
        let rgb = Tensor::from_vec(vec![-1.0, 0.0, 1.0], [1, 3, 1, 1]).unwrap();
        assert_eq!(from_latents(&[rgb]).unwrap()[0][0].rgb, [0, 128, 255]);
        assert!([1, 3].into_iter().all(|channels| Colours::of(channels).are_pictures()));
        assert!(!Colours::of(16).are_pictures() && !Colours::of(2).are_pictures());
    }

    #[test]
    fn many_channels_are_stretched_to_the_range_of_the_first_model() {
        let latents =
            |scale: f32| Tensor::from_vec((0..64u8).map(|i| f32::from(i) * scale).collect(), [1, 16, 2, 2]).unwrap();
        let pictures = from_latents(&[latents(1.0), latents(2.0)]).unwrap();
        assert_eq!(pictures[0][0].rgb[..3], [0; 3]);
        assert_eq!(pictures[0][0].rgb[9..], [255; 3]);
        assert_eq!(pictures[1][0].rgb[..6], [0, 255, 255, 170, 255, 255]);
    }
}
