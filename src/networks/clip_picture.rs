//! Pictures as CLIP takes them, as `CLIPImageProcessor` of transformers 4.51 makes them.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::component::parse;
use super::resize::resize;
use crate::checkpoint::pipeline::read_json;
use crate::error::{Error, Result};

/// Red, green, blue.
pub const CHANNELS: usize = 3;
/// Pillow's number of the bicubic filter.
const BICUBIC: u32 = 3;

/// A picture: `height` rows of `width` pixels of red, green and blue.
#[derive(Debug, Clone, Copy)]
pub struct Rgb<'a> {
    pub width: usize,
    pub height: usize,
    /// [height, width, 3]
    pub pixels: &'a [u8],
}

/// Keys of `preprocessor_config.json` with the defaults of `CLIPImageProcessor`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    do_resize: bool,
    do_center_crop: bool,
    do_rescale: bool,
    do_normalize: bool,
    resample: u32,
    size: Size,
    crop_size: Size,
    rescale_factor: f64,
    image_mean: [f32; CHANNELS],
    image_std: [f32; CHANNELS],
}

/// One number, or named ones.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Number(usize),
    Shortest { shortest_edge: usize },
    Both { height: usize, width: usize },
}

impl Default for Config {
    fn default() -> Self {
        Config {
            do_resize: true,
            do_center_crop: true,
            do_rescale: true,
            do_normalize: true,
            resample: BICUBIC,
            size: Size::Shortest { shortest_edge: 224 },
            crop_size: Size::Both { height: 224, width: 224 },
            rescale_factor: 1.0 / 255.0,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }
}

/// Resizes, crops the middle out, and normalises.
#[derive(Debug)]
pub struct Preprocessor {
    config: Config,
    /// Height and width of the result.
    crop: usize,
}

impl Preprocessor {
    /// Reads `preprocessor_config.json` in `folder`, for a network that takes squares of `side` pixels.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`], [`Error::Unsupported`] for steps that no CLIP has.
    pub fn open(folder: &Path, side: usize) -> Result<Self> {
        let path = folder.join("preprocessor_config.json");
        let value = read_json(&path, "to know how pictures are prepared for the network beside it")?;
        expect_clip(&value, &path)?;
        let config: Config = parse(value, &path)?;
        let steps = [
            ("do_resize", config.do_resize),
            ("do_center_crop", config.do_center_crop),
            ("do_rescale", config.do_rescale),
            ("do_normalize", config.do_normalize),
        ];
        if let Some((key, _)) = steps.iter().find(|(_, wanted)| !wanted) {
            return Err(unsupported(&path, key, "false", "true"));
        }
        if config.resample != BICUBIC {
            return Err(unsupported(&path, "resample", &config.resample.to_string(), "3 (bicubic)"));
        }
        let (height, width) = match config.crop_size {
            Size::Number(side) | Size::Shortest { shortest_edge: side } => (side, side),
            Size::Both { height, width } => (height, width),
        };
        if (height, width) != (side, side) {
            let problem = format!("`crop_size` is {height}x{width}, and the network beside it takes {side}x{side}");
            return Err(Error::malformed(path, problem));
        }
        let smallest = match config.size {
            Size::Number(edge) | Size::Shortest { shortest_edge: edge } => edge,
            Size::Both { height, width } => height.min(width),
        };
        if smallest < side {
            let problem = format!("`size` is {smallest}, too small to crop {side} out of it");
            return Err(Error::malformed(path, problem));
        }
        Ok(Preprocessor { config, crop: side })
    }

    /// [3, side, side]: red, green and blue planes.
    ///
    /// # Errors
    /// [`Error::Runtime`] for a picture without pixels, or not as many as its size says.
    pub fn apply(&self, picture: Rgb) -> Result<Vec<f32>> {
        let planes = self.planes(picture)?;
        let mut out = Vec::with_capacity(planes.len());
        for (channel, plane) in planes.chunks(self.crop * self.crop).enumerate() {
            let (mean, deviation) = (self.config.image_mean[channel], self.config.image_std[channel]);
            let levels: [f32; 256] =
                std::array::from_fn(|level| ((level as f64 * self.config.rescale_factor) as f32 - mean) / deviation);
            out.extend(plane.iter().map(|&level| levels[usize::from(level)]));
        }
        Ok(out)
    }

    /// The middle of the resized picture, [3, side, side].
    fn planes(&self, picture: Rgb) -> Result<Vec<u8>> {
        let Rgb { width, height, pixels } = picture;
        if pixels.is_empty() || Some(pixels.len()) != width.checked_mul(height).and_then(|n| n.checked_mul(CHANNELS)) {
            let problem = format!("a picture of {width}x{height} pixels cannot hold {} values", pixels.len());
            return Err(Error::Runtime(problem));
        }
        let to = self.resized(width, height);
        let resized = resize(pixels, (width, height), to);
        let (left, top) = ((to.0 - self.crop) / 2, (to.1 - self.crop) / 2);
        let mut planes = Vec::with_capacity(CHANNELS * self.crop * self.crop);
        for (channel, row) in (0..CHANNELS).flat_map(|channel| (top..top + self.crop).map(move |row| (channel, row))) {
            let row = &resized[(row * to.0 + left) * CHANNELS..][..self.crop * CHANNELS];
            planes.extend(row.iter().skip(channel).step_by(CHANNELS));
        }
        Ok(planes)
    }

    /// Width and height after resizing: the shorter edge has the size that is asked for, the other one keeps the
    /// proportion, rounded down.
    fn resized(&self, width: usize, height: usize) -> (usize, usize) {
        match self.config.size {
            Size::Both { height, width } => (width, height),
            Size::Number(edge) | Size::Shortest { shortest_edge: edge } if width <= height => {
                (edge, edge * height / width)
            }
            Size::Number(edge) | Size::Shortest { shortest_edge: edge } => (edge * width / height, edge),
        }
    }
}

/// Refuses the preparation of another network, where the file says whose it is.
fn expect_clip(value: &Value, path: &Path) -> Result<()> {
    for key in ["image_processor_type", "feature_extractor_type"] {
        let found = value[key].as_str().unwrap_or("CLIPImageProcessor");
        if !["CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPFeatureExtractor"].contains(&found) {
            return Err(unsupported(path, key, found, "CLIPImageProcessor"));
        }
    }
    Ok(())
}

fn unsupported(path: &Path, key: &str, found: &str, supported: &str) -> Error {
    Error::Unsupported {
        what: format!("`{key}` in {}", path.display()),
        found: found.into(),
        supported: supported.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    /// The picture of this size that the reference data were made of.
    fn picture(width: usize, height: usize) -> Vec<u8> {
        let value = |x: usize, y: usize, c: usize| {
            ((x * x * 3 + y * y * 5 + x * y * (c + 1) + 60 * c) / 7 + 255 * ((x / 5 + y / 3) % 2)) % 256
        };
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        pixels.flat_map(|(x, y)| (0..CHANNELS).map(move |c| value(x, y, c) as u8)).collect()
    }

    #[test]
    fn pictures_are_prepared_bit_for_bit_as_transformers_does() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoders");
        let preprocessor = Preprocessor::open(&data.join("clip_vision"), 30).unwrap();
        let references = Checkpoint::open_file(data.join("pictures.safetensors")).unwrap();
        let prepared = references.bytes("prepared").unwrap();
        let sizes = [(61, 43), (20, 33), (30, 30), (100, 31), (30, 50), (311, 217), (5, 4), (2, 9)];
        assert_eq!(prepared.len(), sizes.len() * 30 * 30 * CHANNELS);
        for ((width, height), expected) in sizes.into_iter().zip(prepared.chunks(30 * 30 * CHANNELS)) {
            let pixels = picture(width, height);
            let found = preprocessor.planes(Rgb { width, height, pixels: &pixels }).unwrap();
            let wrong = found.iter().zip(expected).position(|(a, b)| a != b);
            assert_eq!((found.len(), wrong), (expected.len(), None), "{width}x{height}: first wrong byte");
        }
        let pixels = picture(61, 43);
        let values = preprocessor.apply(Rgb { width: 61, height: 43, pixels: &pixels }).unwrap();
        assert_eq!(values, references.to_f32("pixel_values.0").unwrap());
    }

    #[test]
    fn pictures_without_their_pixels_are_refused() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoders/clip_vision");
        let preprocessor = Preprocessor::open(&data, 30).unwrap();
        for (width, height, pixels) in [(0, 0, 0), (2, 2, 11), (usize::MAX, 2, 12)] {
            assert!(preprocessor.apply(Rgb { width, height, pixels: &vec![0; pixels] }).is_err());
        }
    }
}
