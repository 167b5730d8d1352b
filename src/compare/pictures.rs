//! From the final latents of two models to pictures, their measures and their files: one pair at a time, so that the
//! memory does not grow with the number of prompts.

use std::fs;
use std::path::Path;

use super::measures::{Decoded, Measures, MetricModels};
use super::result::{Decoder, Item, Pair, PictureMetrics};
use crate::checkpoint::{Pipeline, write_atomic};
use crate::error::{Error, Result};
use crate::metrics::Spread;
use crate::networks::VaeDecoder;
use crate::ops::Tensor;
use crate::pictures::{Colours, Grid, Picture, from_decoded, from_latents, grid};
use crate::progress::Progress;
use crate::sampling::{LatentSize, Sampler};

/// Name of the grid in the output folder.
pub const GRID_FILE: &str = "grid.png";
/// Folder of single pictures in the output folder.
const PICTURES: &str = "pictures";
/// Pixels on the longer side of a picture in the grid, at most.
const THUMBNAIL: usize = 256;
/// Items that the grid shows, the first ones.
const GRID_ITEMS: usize = 200;
/// Steps of progress in which a picture is decoded.
const DECODING: u64 = 20;

/// What latents become.
enum Source {
    /// They are pictures themselves.
    Latents,
    /// The VAE of the dense pipeline.
    Vae(Box<VaeDecoder>),
}

impl Source {
    /// What decodes latents of this size; `None` if they are no pictures and there is no VAE.
    fn open(pipeline: &Pipeline, size: &LatentSize) -> Result<Option<Self>> {
        if Colours::of(size.channels).are_pictures() {
            return Ok(Some(Source::Latents));
        }
        let folder = pipeline.root.join("vae");
        if pipeline.model_index.is_none() || !folder.is_dir() {
            tracing::warn!("no pictures, only latents: {} has no VAE", pipeline.root.display());
            return Ok(None);
        }
        let vae = VaeDecoder::open(&folder)?;
        if vae.latent_channels() != size.channels {
            let (takes, makes) = (vae.latent_channels(), size.channels);
            let problem = format!("takes latents of {takes} channels, and the transformer makes {makes}");
            return Err(Error::malformed(folder, format!("{problem}; pass --latents-only or the VAE of this model")));
        }
        Ok(Some(Source::Vae(Box::new(vae))))
    }

    /// Channels, height and width of its pictures.
    fn picture(&self, sampler: &Sampler) -> [usize; 3] {
        match self {
            Source::Latents => sampler.size().picture(),
            Source::Vae(_) => [3, sampler.options().height, sampler.options().width],
        }
    }

    fn decoder(&self) -> Decoder {
        match self {
            Source::Latents => Decoder::Latents,
            Source::Vae(_) => Decoder::Vae,
        }
    }

    /// Of one item, [1, channels, height, width].
    fn decode(&self, latents: &Tensor, progress: &dyn Progress) -> Result<Decoded> {
        let mut told = 0;
        let mut tell = |share: f64| {
            let reached = (share * DECODING as f64) as u64;
            (told..reached).try_for_each(|_| progress.advance())?;
            told = told.max(reached);
            Ok(())
        };
        let (planes, pictures) = match self {
            Source::Latents => {
                tell(1.0)?;
                (latents.clone(), from_latents(std::slice::from_ref(latents))?.remove(0))
            }
            Source::Vae(vae) => {
                let planes = vae.decode_with(latents, &mut tell)?;
                let pictures = from_decoded(&planes)?;
                (planes, pictures)
            }
        };
        let picture = pictures.into_iter().next().ok_or_else(|| Error::Runtime("no latents to decode".into()))?;
        Ok(Decoded { planes: planes.reshape(&planes.dims()[1..])?, picture })
    }
}

/// Everything that pictures need, opened and checked before the trajectories begin.
pub struct Stage {
    source: Option<Source>,
    measures: Measures,
}

/// What the pictures gave.
pub struct Pictures {
    pub metrics: Option<PictureMetrics>,
    pub items: Vec<Item>,
    /// Name of the grid, if it was written.
    pub grid: Option<String>,
}

impl Stage {
    /// Opens what decodes the latents of `dense` (nothing, unless `decode`) and the models that measure the pictures of
    /// `items` prompts, whose texts are `prompts`.
    ///
    /// # Errors
    /// Those of opening them; [`Error::Usage`] for a measure of pictures where there are none, that are too small for
    /// it, or too few.
    pub fn open(
        models: &MetricModels,
        dense: &Pipeline,
        sampler: &Sampler,
        decode: bool,
        (items, prompts): (usize, Option<&[String]>),
    ) -> Result<Self> {
        let source = if decode { Source::open(dense, sampler.size())? } else { None };
        let Some(source) = source else {
            if models.paths().next().is_some() {
                let reason = if decode { "the pipeline has no VAE" } else { "only latents are compared" };
                return Err(Error::Usage(format!("--lpips, --clip and --features measure pictures, and {reason}")));
            }
            return Ok(Stage { source: None, measures: Measures::default() });
        };
        let measures = Measures::open(models, items, source.picture(sampler), prompts)?;
        Ok(Stage { source: Some(source), measures })
    }

    /// Decodes both models' latents, [items, channels, height, width], measures them and writes the files to `output`.
    ///
    /// # Errors
    /// Those of decoding, of the measures, of writing and of `progress`.
    pub fn run(
        mut self,
        [dense, pruned]: [&Tensor; 2],
        mut items: Vec<Item>,
        output: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Pictures> {
        let Some(source) = &self.source else {
            let grid = match output {
                Some(folder) => {
                    let pictures = from_latents(&[dense.clone(), pruned.clone()])?;
                    Some(write_grid(folder, &items, &pictures[0], &pictures[1])?)
                }
                None => None,
            };
            return Ok(Pictures { metrics: None, items, grid });
        };
        if let Some(folder) = output.map(|folder| folder.join(PICTURES)) {
            fs::create_dir(&folder).map_err(|e| Error::io(&folder, e))?;
        }
        progress.begin("pictures", 2 * DECODING * items.len() as u64);
        let mut thumbnails = [Vec::new(), Vec::new()];
        for (index, item) in items.iter_mut().enumerate() {
            let decode = |latents: &Tensor| source.decode(&latents.narrow(0, index, 1)?, progress);
            let (a, b) = (decode(dense)?, decode(pruned)?);
            self.measures.pair(item, &a, &b)?;
            if let Some(folder) = output {
                item.dense = Some(write_picture(folder, "dense", index, &a.picture)?);
                item.pruned = Some(write_picture(folder, "pruned", index, &b.picture)?);
                if index < GRID_ITEMS {
                    thumbnails[0].push(a.picture.for_grid());
                    thumbnails[1].push(b.picture.for_grid());
                }
            }
        }
        let lpips_network = self.measures.lpips_network().map(str::to_string);
        let distances = self.measures.finish(&mut items)?;
        let grid = match output {
            Some(folder) => Some(write_grid(folder, &items, &thumbnails[0], &thumbnails[1])?),
            None => None,
        };
        let spread = |value: fn(&Item) -> Option<f64>| Spread::of(items.iter().map(value));
        let clip_score = spread(|item| item.clip_score.map(|score| score.dense))
            .zip(spread(|item| item.clip_score.map(|score| score.pruned)))
            .map(|(dense, pruned)| Pair { dense, pruned });
        let metrics = PictureMetrics {
            decoder: source.decoder(),
            psnr: Spread::new(items.iter().filter_map(|item| item.psnr).collect()),
            ssim: spread(|item| item.ssim),
            lpips: spread(|item| item.lpips),
            lpips_network,
            clip_score,
            frechet: distances.frechet,
            frechet_real: distances.frechet_real,
        };
        Ok(Pictures { metrics: Some(metrics), items, grid })
    }

    /// Bytes that `items` pairs of pictures of `height` x `width` pixels take at most, with their grid.
    pub fn output_bytes(items: usize, height: usize, width: usize) -> u64 {
        (2 * items * height * width * 3 + 2 * items.min(GRID_ITEMS) * THUMBNAIL * THUMBNAIL * 3) as u64
    }
}

/// The picture as a file; its name relative to `folder`.
fn write_picture(folder: &Path, model: &str, index: usize, picture: &Picture) -> Result<String> {
    let name = format!("{PICTURES}/{model}-{index:04}.png");
    write_atomic(folder.join(&name), &picture.png()?)?;
    Ok(name)
}

/// Dense over pruned, with prompt and error; its name.
fn write_grid(folder: &Path, items: &[Item], dense: &[Picture], pruned: &[Picture]) -> Result<String> {
    let grid = Grid {
        rows: vec!["dense".into(), "pruned".into()],
        items: (items.iter().zip(dense).zip(pruned).take(GRID_ITEMS).enumerate())
            .map(|(index, ((item, dense), pruned))| grid::Item {
                pictures: vec![dense, pruned],
                caption: vec![
                    item.prompt.clone().unwrap_or_else(|| format!("prompt {index}")),
                    format!("error {:.4}", item.latent_rel),
                ],
            })
            .collect(),
    };
    write_atomic(folder.join(GRID_FILE), &grid.png()?)?;
    Ok(GRID_FILE.into())
}
