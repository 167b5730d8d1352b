//! The local models that measure pictures, and what they have seen so far.

use std::path::{Path, PathBuf};

use super::result::{Item, Pair};
use crate::error::{Error, Result};
use crate::metrics::clip::{ClipPictures, check_widths, clip_score, text_embeddings};
use crate::metrics::{Gaussian, Lpips, MlpFeatures, frechet, psnr, ssim};
use crate::ops::Tensor;
use crate::pictures::Picture;

/// Files of local models that measure pictures.
#[derive(Debug, Clone, Default)]
pub struct MetricModels {
    /// The state of `lpips.LPIPS` as a safetensors file: LPIPS.
    pub lpips: Option<PathBuf>,
    /// A CLIP folder: how well pictures fit their prompts.
    pub clip: Option<PathBuf>,
    /// A classifier file or a CLIP folder: Fréchet distance over its features.
    pub features: Option<PathBuf>,
}

impl MetricModels {
    /// Every path that is given.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.lpips, &self.clip, &self.features].into_iter().flatten().map(PathBuf::as_path)
    }
}

/// A decoded picture.
pub struct Decoded {
    /// [channels, height, width], before clamping and rounding.
    pub planes: Tensor,
    pub picture: Picture,
}

/// The models, opened, and the features of the pictures until now.
#[derive(Default)]
pub struct Measures {
    lpips: Option<Lpips>,
    /// Embeddings of the prompts.
    texts: Option<Vec<Vec<f32>>>,
    /// Which of `clips` scores pictures.
    scores: Option<usize>,
    features: Option<Features>,
    /// One for each folder; dense and pruned pictures take turns.
    clips: Vec<ClipPictures>,
}

/// Where the features of the Fréchet distance come from.
enum Features {
    Mlp(Box<MlpPictures>),
    /// One of [`Measures::clips`].
    Clip(usize),
}

/// A classifier, what it says of real pictures, and what it has seen.
struct MlpPictures {
    model: MlpFeatures,
    real: Option<Gaussian>,
    seen: Pair<Vec<Vec<f32>>>,
}

/// What can be told when every picture has been seen.
pub struct Distances {
    pub frechet: Option<f64>,
    pub frechet_real: Option<Pair<f64>>,
}

impl Measures {
    /// Opens the models for `items` pictures [channels, height, width] and encodes the `prompts`, if they are scored.
    ///
    /// # Errors
    /// Those of opening the models; [`Error::Usage`] for pictures that are too small or too few for a measure, or
    /// without prompts.
    pub fn open(
        models: &MetricModels,
        items: usize,
        [channels, height, width]: [usize; 3],
        prompts: Option<&[String]>,
    ) -> Result<Self> {
        let mut measures = Measures::default();
        if let Some(path) = &models.lpips {
            let lpips = Lpips::open(path)?;
            lpips.check(height, width)?;
            measures.lpips = Some(lpips);
        }
        if let Some(folder) = &models.clip {
            let prompts = prompts.ok_or_else(|| {
                Error::Usage(
                    "--clip scores how well pictures fit their prompts, and only embeddings are known; pass --prompts"
                        .into(),
                )
            })?;
            let clip = measures.clip(folder)?;
            let texts = text_embeddings(folder, prompts)?;
            check_widths(folder, &texts, &measures.clips[clip])?;
            (measures.texts, measures.scores) = (Some(texts), Some(clip));
        }
        if let Some(path) = &models.features {
            if items < 2 {
                return Err(Error::Usage(format!(
                    "--features compares distributions of pictures, and {items} is none; pass more prompts"
                )));
            }
            let features = if path.is_dir() {
                Features::Clip(measures.clip(path)?)
            } else {
                let model = MlpFeatures::open(path)?;
                model.check(channels, height, width)?;
                let real = model.real()?;
                let seen = Pair { dense: Vec::new(), pruned: Vec::new() };
                Features::Mlp(Box::new(MlpPictures { model, real, seen }))
            };
            let width = match &features {
                Features::Mlp(mlp) => mlp.model.width(),
                Features::Clip(clip) => measures.clips[*clip].width(),
            };
            if items <= width {
                tracing::warn!(
                    "{items} pictures for {width} features: their covariance has no full rank, and the Fréchet distance \
                     of few pictures is too large; compare it only with distances of as many"
                );
            }
            measures.features = Some(features);
        }
        Ok(measures)
    }

    /// The place of the CLIP of this folder, opened if it is a new one.
    fn clip(&mut self, folder: &Path) -> Result<usize> {
        if let Some(place) = self.clips.iter().position(|clip| clip.folder() == folder) {
            return Ok(place);
        }
        self.clips.push(ClipPictures::open(folder)?);
        Ok(self.clips.len() - 1)
    }

    /// `alex` or `vgg`, if LPIPS is measured.
    pub fn lpips_network(&self) -> Option<&'static str> {
        self.lpips.as_ref().map(Lpips::name)
    }

    /// Measures the next pair and writes what is known of it already.
    ///
    /// # Errors
    /// Those of the measures.
    pub fn pair(&mut self, item: &mut Item, dense: &Decoded, pruned: &Decoded) -> Result<()> {
        let (a, b) = (&dense.picture, &pruned.picture);
        item.psnr = Some(psnr(a, b)?);
        item.ssim = ssim(a, b)?;
        item.lpips = self.lpips.as_ref().map(|lpips| lpips.distance(a, b)).transpose()?;
        if let Some(Features::Mlp(mlp)) = &mut self.features {
            mlp.seen.dense.push(mlp.model.of(&dense.planes)?);
            mlp.seen.pruned.push(mlp.model.of(&pruned.planes)?);
        }
        for clip in &mut self.clips {
            clip.add(a)?;
            clip.add(b)?;
        }
        Ok(())
    }

    /// Writes the CLIP scores of all `items` and tells the distances of the two sets.
    ///
    /// # Errors
    /// Those of the measures.
    pub fn finish(self, items: &mut [Item]) -> Result<Distances> {
        let embeddings = self.clips.into_iter().map(ClipPictures::finish).collect::<Result<Vec<_>>>()?;
        if let (Some(texts), Some(clip)) = (&self.texts, self.scores) {
            for ((item, text), pair) in items.iter_mut().zip(texts).zip(embeddings[clip].chunks_exact(2)) {
                item.clip_score = Some(Pair { dense: clip_score(text, &pair[0]), pruned: clip_score(text, &pair[1]) });
            }
        }
        let (seen, real) = match self.features {
            None => return Ok(Distances { frechet: None, frechet_real: None }),
            Some(Features::Mlp(mlp)) => (mlp.seen, mlp.real),
            Some(Features::Clip(clip)) => {
                let every_second = |first: usize| embeddings[clip].iter().skip(first).step_by(2).cloned().collect();
                (Pair { dense: every_second(0), pruned: every_second(1) }, None)
            }
        };
        let (dense, pruned) = (Gaussian::of(&seen.dense)?, Gaussian::of(&seen.pruned)?);
        let frechet_real = match &real {
            Some(real) => Some(Pair { dense: frechet(&dense, real)?, pruned: frechet(&pruned, real)? }),
            None => None,
        };
        Ok(Distances { frechet: Some(frechet(&dense, &pruned)?), frechet_real })
    }
}
