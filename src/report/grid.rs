//! Latents as a picture: items side by side, one row per model, nearest-neighbour enlargement.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};

use crate::error::{Error, Result};
use crate::ops::Tensor;

/// Items per row.
const COLUMNS: usize = 10;
/// Items are enlarged by a whole factor to about this many pixels.
const ITEM_PIXELS: usize = 64;
/// Pixels between items.
const GAP: usize = 2;
/// Colour between items.
const BACKGROUND: Rgb<u8> = Rgb([32, 32, 48]);

/// How channels became colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// One channel in [-1, 1] as grey.
    Grey,
    /// Three channels in [-1, 1] as red, green, blue.
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

    /// The sentence that goes with the picture.
    pub fn describe(self) -> &'static str {
        match self {
            Colours::Grey => "latents in [-1, 1] as grey",
            Colours::Rgb => "latents in [-1, 1] as red, green and blue",
            Colours::FalseColour => "the first three latent channels in false colour; not decoded pictures",
        }
    }
}

/// A PNG of the latents of one or more models, each [items, channels, height, width] in host memory with the same items:
/// item by item, the rows of the models stand below each other.
///
/// # Errors
/// [`Error::Runtime`] if the tensors do not have these shapes.
pub fn png(models: &[Tensor]) -> Result<Vec<u8>> {
    let Some(first) = models.first() else { return Ok(Vec::new()) };
    let (items, channels, height, width) = first.dims4()?;
    let values = models.iter().map(Tensor::as_slice).collect::<Result<Vec<&[f32]>>>()?;
    let ranges = channel_ranges(values[0], channels, height * width);
    let scale = (ITEM_PIXELS / height.max(width).max(1)).max(1);
    let columns = items.clamp(1, COLUMNS);
    let (cell_width, cell_height) = (width * scale + GAP, height * scale + GAP);
    let rows = items.div_ceil(columns) * models.len();
    let size = (columns * cell_width + GAP, rows * cell_height + GAP);
    let mut picture = RgbImage::from_pixel(size.0 as u32, size.1 as u32, BACKGROUND);
    for (model, values) in values.iter().enumerate() {
        for item in 0..items {
            let left = GAP + item % columns * cell_width;
            let top = GAP + (item / columns * models.len() + model) * cell_height;
            for y in 0..height * scale {
                for x in 0..width * scale {
                    let colour = ranges.map(|range| {
                        let index = ((item * channels + range.channel) * height + y / scale) * width + x / scale;
                        range.byte(values.get(index).copied().unwrap_or(0.0))
                    });
                    picture.put_pixel((left + x) as u32, (top + y) as u32, Rgb(colour));
                }
            }
        }
    }
    let mut bytes = Vec::new();
    picture
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .map_err(|e| Error::io("PNG in memory", std::io::Error::other(e)))?;
    Ok(bytes)
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
        (share.clamp(0.0, 1.0) * 255.0).round() as u8
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
    fn rows_alternate_between_models_and_values_become_grey() {
        let dense = Tensor::from_vec(vec![-1.0; 12 * 64], [12, 1, 8, 8]).unwrap();
        let pruned = Tensor::from_vec(vec![1.0; 12 * 64], [12, 1, 8, 8]).unwrap();
        let picture = image::load_from_memory(&png(&[dense, pruned]).unwrap()).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (10 * 66 + 2, 4 * 66 + 2));
        let grey = |row: u32| picture.get_pixel(30, row * 66 + 30).0;
        assert_eq!([grey(0), grey(1), grey(2), grey(3)], [[0; 3], [255; 3], [0; 3], [255; 3]]);
    }

    #[test]
    fn many_channels_are_stretched_to_their_range() {
        let latents = Tensor::from_vec((0..64u8).map(f32::from).collect(), [1, 16, 2, 2]).unwrap();
        let picture = image::load_from_memory(&png(&[latents]).unwrap()).unwrap().to_rgb8();
        assert_eq!(picture.get_pixel(2, 2).0, [0; 3]);
        assert_eq!(picture.get_pixel(2 + 63, 2 + 63).0, [255; 3]);
    }
}
