//! CLIP score (Hessel, Holtzman, Forbes, Le Bras, Choi 2021, "CLIPScore: a reference-free evaluation metric for image
//! captioning", eq. 1, scaled as torchmetrics does).
//!
//! ```text
//! score = 100 max(cos(text_embeds, image_embeds), 0)
//! ```
//!
//! with the projected embeddings of transformers' `CLIPModel`. Texts longer than CLIP takes are cut, their end kept.

use std::path::{Path, PathBuf};

use crate::conditioning::tokenizer::ClipTokenizer;
use crate::error::{Error, Result};
use crate::networks::{ClipText, ClipVision, Rgb};
use crate::ops::Tensor;
use crate::pictures::Picture;

/// Texts that are encoded together.
const TEXTS: usize = 256;
/// Pictures that are embedded together: the weights are read once for them.
const PICTURES: usize = 16;

/// The score of two embeddings of equal width.
pub fn clip_score(text: &[f32], picture: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosine = product(text, picture) / (product(text, text) * product(picture, picture)).sqrt();
    100.0 * cosine.max(0.0)
}

/// `text_embeds` of texts by the CLIP in `folder`, which is closed again: one row per text.
///
/// # Errors
/// Those of [`ClipTokenizer::open`] and [`ClipText`]; [`Error::TensorMissing`] if the weights do not project texts.
pub fn text_embeddings(folder: &Path, texts: &[String]) -> Result<Vec<Vec<f32>>> {
    let (tokenizer, encoder) = (ClipTokenizer::open(folder)?, ClipText::open(folder)?);
    let length = tokenizer.max_length().min(encoder.max_tokens());
    let mut embeddings = Vec::with_capacity(texts.len());
    for texts in texts.chunks(TEXTS) {
        let ids = texts.iter().map(|text| Ok(tokenizer.encode(text, length)?.ids)).collect::<Result<Vec<_>>>()?;
        embeddings.extend(rows(&encoder.encode(&ids, 0)?.pooled)?);
    }
    Ok(embeddings)
}

/// Embeds pictures by the CLIP of one folder, as many together as pays.
#[derive(Debug)]
pub struct ClipPictures {
    folder: PathBuf,
    vision: ClipVision,
    waiting: Vec<Picture>,
    embedded: Vec<Vec<f32>>,
}

impl ClipPictures {
    /// Opens the picture encoder of a CLIP folder.
    ///
    /// # Errors
    /// Those of [`ClipVision::open`].
    pub fn open(folder: &Path) -> Result<Self> {
        let vision = ClipVision::open(folder)?;
        Ok(ClipPictures { folder: folder.into(), vision, waiting: Vec::new(), embedded: Vec::new() })
    }

    /// The folder that was given.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Numbers per picture.
    pub fn width(&self) -> usize {
        self.vision.width()
    }

    /// Takes the next picture.
    ///
    /// # Errors
    /// Those of [`ClipVision::embed`].
    pub fn add(&mut self, picture: &Picture) -> Result<()> {
        self.waiting.push(picture.clone());
        if self.waiting.len() < PICTURES { Ok(()) } else { self.embed() }
    }

    /// `image_embeds`, not normalised, of every picture in the order in which they were added.
    ///
    /// # Errors
    /// Those of [`ClipVision::embed`].
    pub fn finish(mut self) -> Result<Vec<Vec<f32>>> {
        self.embed()?;
        Ok(self.embedded)
    }

    fn embed(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let pictures: Vec<Rgb> = (self.waiting.iter())
            .map(|picture| Rgb { width: picture.width, height: picture.height, pixels: &picture.rgb })
            .collect();
        let embedded = self.vision.embed(&pictures)?;
        self.embedded.extend(rows(&embedded)?);
        self.waiting.clear();
        Ok(())
    }
}

/// Refuses a CLIP whose halves do not project to the same width.
///
/// # Errors
/// [`Error::Malformed`].
pub fn check_widths(folder: &Path, texts: &[Vec<f32>], pictures: &ClipPictures) -> Result<()> {
    match texts.iter().find(|text| text.len() != pictures.width()) {
        None => Ok(()),
        Some(text) => Err(Error::malformed(
            folder,
            format!(
                "projects texts to {} numbers and pictures to {}; a CLIP score needs the whole CLIPModel with \
                 `text_projection.weight` and `visual_projection.weight`",
                text.len(),
                pictures.width()
            ),
        )),
    }
}

fn rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    let width = tensor.dim(1)?.max(1);
    Ok(tensor.as_slice()?.chunks_exact(width).map(<[f32]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_a_cosine_that_is_not_negative() {
        assert_eq!(clip_score(&[2.0, 0.0], &[0.5, 0.0]), 100.0);
        assert_eq!(clip_score(&[1.0, 0.0], &[-3.0, 1.0]), 0.0);
        assert!((clip_score(&[1.0, 1.0], &[5.0, 0.0]) - 100.0 / 2f64.sqrt()).abs() < 1e-12);
    }
}
