//! PNG files.

use std::io::Cursor;
use std::path::Path;

use image::{ColorType, DynamicImage, ImageFormat, ImageReader, RgbImage};

use super::Picture;
use crate::error::{Error, Result};

impl Picture {
    /// The picture as a PNG file: 8-bit RGB, no time or other metadata, so equal pictures give equal bytes.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the picture has no pixels or `rgb` does not fill it.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = (u32::try_from(self.width), u32::try_from(self.height));
        let image = match (width, height) {
            (Ok(width @ 1..), Ok(height @ 1..)) => RgbImage::from_raw(width, height, self.rgb.clone()),
            _ => None,
        };
        let Some(image) = image.filter(|_| self.rgb.len() == self.width * self.height * 3) else {
            let (width, height, bytes) = (self.width, self.height, self.rgb.len());
            return Err(Error::Runtime(format!("{bytes} bytes are no picture of {width} x {height}")));
        };
        let mut bytes = Vec::new();
        image
            .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
            .map_err(|error| Error::Runtime(format!("a picture could not be encoded: {error}")))?;
        Ok(bytes)
    }

    /// Reads a PNG file of 8-bit grey, RGB or palette colours; transparency is dropped.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`], [`Error::Malformed`] for what is no whole PNG, [`Error::Unsupported`] for
    /// 16 bits per channel.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.is_file() {
            return Err(Error::Missing { path: path.into(), needed_for: "as a picture".into() });
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let decoded = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png).decode();
        let image = decoded.map_err(|e| Error::malformed(path, format!("is no readable PNG: {e}")))?;
        match image.color() {
            ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => Ok(Picture::from(image)),
            other => Err(Error::Unsupported {
                what: format!("colours of {}", path.display()),
                found: format!("{other:?}"),
                supported: "8 bits per channel".into(),
            }),
        }
    }
}

impl From<DynamicImage> for Picture {
    fn from(image: DynamicImage) -> Self {
        let image = image.into_rgb8();
        Picture { width: image.width() as usize, height: image.height() as usize, rgb: image.into_raw() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageBuffer, Luma, RgbaImage};

    fn picture() -> Picture {
        Picture { width: 5, height: 3, rgb: (0..45).map(|i| i * 5).collect() }
    }

    #[test]
    fn png_files_read_back_and_are_deterministic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, picture().png().unwrap()).unwrap();
        assert_eq!(Picture::read(&path).unwrap(), picture());
        assert_eq!(picture().png().unwrap(), picture().png().unwrap());
        assert_eq!(picture().pixel(1, 2), [165, 170, 175]);
    }

    #[test]
    fn grey_and_transparent_files_are_read_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        GrayImage::from_raw(2, 1, vec![7, 9]).unwrap().save(path("grey.png")).unwrap();
        assert_eq!(Picture::read(path("grey.png")).unwrap().rgb, [7, 7, 7, 9, 9, 9]);
        RgbaImage::from_raw(1, 1, vec![1, 2, 3, 4]).unwrap().save(path("alpha.png")).unwrap();
        assert_eq!(Picture::read(path("alpha.png")).unwrap().rgb, [1, 2, 3]);
        ImageBuffer::<Luma<u16>, _>::from_raw(1, 1, vec![1u16]).unwrap().save(path("deep.png")).unwrap();
        let whole = picture().png().unwrap();
        std::fs::write(path("cut.png"), &whole[..whole.len() / 2]).unwrap();
        std::fs::write(path("text.png"), "no picture").unwrap();
        for (name, part) in [
            ("deep.png", "8 bits per channel"),
            ("cut.png", "no readable PNG"),
            ("text.png", "no readable PNG"),
            ("absent.png", "does not exist"),
        ] {
            let error = Picture::read(path(name)).unwrap_err();
            assert!(error.to_string().contains(part) && error.exit_code() == 3, "{name}: {error}");
        }
        for (width, height, bytes) in [(0, 0, 0), (2, 2, 11), (2, 0, 0)] {
            assert!(Picture { width, height, rgb: vec![0; bytes] }.png().is_err());
        }
    }
}
