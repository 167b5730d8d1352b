//! What a local model sees in a picture, for the Fréchet distance.

use std::path::Path;

use super::Gaussian;
use crate::error::{Error, Result};
use crate::networks::Classifier;
use crate::ops::Tensor;

/// The last hidden layer of a small classifier on the values of a picture.
#[derive(Debug)]
pub struct MlpFeatures {
    classifier: Classifier,
}

impl MlpFeatures {
    /// Those of [`Classifier::open`].
    ///
    /// # Errors
    /// Those of [`Classifier::open`].
    pub fn open(path: &Path) -> Result<Self> {
        Ok(MlpFeatures { classifier: Classifier::open(path)? })
    }

    /// Refuses pictures of another size than the classifier takes.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check(&self, channels: usize, height: usize, width: usize) -> Result<()> {
        let (values, inputs) = (channels * height * width, self.classifier.inputs());
        if values == inputs {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "{} takes pictures of {inputs} values, and these have {values} ({channels} channels of {height} x {width}); \
             pass a classifier of their size or a CLIP folder",
            self.classifier.path().display()
        )))
    }

    /// Of one decoded picture [channels, height, width], channel by channel, values clamped to [-1, 1].
    ///
    /// # Errors
    /// Those of [`Classifier::features`].
    pub fn of(&self, planes: &Tensor) -> Result<Vec<f32>> {
        let mut row = planes.reshape([1, planes.elements()])?;
        row.as_mut_slice()?.iter_mut().for_each(|value| *value = value.clamp(-1.0, 1.0));
        self.classifier.features(&row)?.to_vec()
    }

    /// Features of a picture.
    pub fn width(&self) -> usize {
        self.classifier.width()
    }

    /// The features of real pictures, where the file describes them.
    ///
    /// # Errors
    /// Those of [`Classifier::real`].
    pub fn real(&self) -> Result<Option<Gaussian>> {
        let Some([mean, covariance]) = self.classifier.real()? else { return Ok(None) };
        let widen = |tensor: Tensor| Ok::<_, Error>(tensor.as_slice()?.iter().map(|&value| f64::from(value)).collect());
        Gaussian::new(widen(mean)?, widen(covariance)?).map(Some)
    }
}
