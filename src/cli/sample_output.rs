//! The files of `obsdiff sample`: pictures, their grid, latents.

use std::path::{Path, PathBuf};

use super::progress::Bars;
use crate::checkpoint::{Pipeline, StagedFiles};
use crate::error::{Error, Result};
use crate::memory;
use crate::networks::VaeDecoder;
use crate::ops::Tensor;
use crate::pictures::{Colours, Grid, Item, Picture, from_decoded, from_latents};
use crate::sampling::LatentSize;

/// Name of the file of latents.
pub const LATENTS: &str = "latents.safetensors";
/// Name of the picture of all pictures.
pub const GRID: &str = "grid.png";

/// Name of the picture of prompt `index`.
fn picture_name(index: usize) -> String {
    format!("picture-{index:04}.png")
}

/// The files that an earlier run left in `folder`, latents first.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let number = |name: &str| name.strip_prefix("picture-")?.strip_suffix(".png")?.parse::<usize>().ok();
    let ours = |name: &String| {
        name == LATENTS || name == GRID || number(name).is_some_and(|index| *name == picture_name(index))
    };
    let mut ours: Vec<String> = names.filter(ours).collect();
    ours.sort();
    ours.sort_by_key(|name| name != LATENTS);
    ours.iter().map(|name| folder.join(name)).collect()
}

/// Makes pictures of latents.
pub enum Painter {
    /// Nothing does.
    None,
    /// They are pictures.
    Latents,
    /// The VAE of the pipeline.
    Vae(Box<VaeDecoder>),
}

impl Painter {
    /// What makes pictures of a pipeline's latents; without a VAE a warning says so. The VAE is checked here and read when
    /// it decodes.
    ///
    /// # Errors
    /// Those of [`VaeDecoder::open`]; [`Error::Malformed`] for the VAE of another model; [`Error::OutOfMemory`] if what it
    /// holds would not fit into the memory that is free now.
    pub fn of(pipeline: &Pipeline, size: &LatentSize) -> Result<Self> {
        if Colours::of(size.channels).are_pictures() {
            return Ok(Painter::Latents);
        }
        let folder = pipeline.root.join("vae");
        if pipeline.model_index.is_none() || !folder.is_dir() {
            tracing::warn!("no pictures, only latents: {} has no vae folder to decode them", pipeline.root.display());
            return Ok(Painter::None);
        }
        let decoder = VaeDecoder::open(&folder)?;
        if decoder.latent_channels() != size.channels {
            let (found, expected) = (decoder.latent_channels(), size.channels);
            let problem = format!(
                "this VAE takes latents of {found} channels and the transformer makes {expected}; take the VAE of this \
                 model, or pass --no-pictures"
            );
            return Err(Error::malformed(folder, problem));
        }
        let needed = decoder.activation_bytes(size.height, size.width);
        if let Some(available) = memory::available().filter(|available| *available < needed) {
            let pixels = [size.height, size.width].map(|side| side * decoder.scale_factor());
            return Err(Error::OutOfMemory {
                what: format!("decoding a picture of {} x {} pixels", pixels[1], pixels[0]),
                needed,
                available,
                hint: "take a smaller --height and --width, or pass --no-pictures".into(),
            });
        }
        Ok(Painter::Vae(Box::new(decoder)))
    }

    /// Stages a picture for each of `latents` [prompts, channels, height, width] and the grid of all, with `captions`
    /// (their numbers without) below them, and returns how many pictures there are. One picture is decoded at a time.
    ///
    /// # Errors
    /// Those of decoding and writing; [`Error::Stopped`].
    pub fn paint(
        &self,
        latents: &Tensor,
        captions: Option<&[String]>,
        staged: &mut StagedFiles,
        bars: &Bars,
    ) -> Result<usize> {
        let count = latents.dim(0)?;
        let mut small = Vec::with_capacity(count);
        let mut keep = |picture: Picture| {
            staged.add(&picture_name(small.len()), &picture.png()?)?;
            small.push(picture.for_grid());
            Ok::<_, Error>(())
        };
        match self {
            Painter::None => return Ok(0),
            Painter::Latents => {
                from_latents(std::slice::from_ref(latents))?.remove(0).into_iter().try_for_each(keep)?
            }
            Painter::Vae(decoder) => {
                bars.begin_share("decoding");
                for index in 0..count {
                    let mut progress = |share: f64| bars.reach((index as f64 + share) / count as f64);
                    let decoded = decoder.decode_with(&latents.narrow(0, index, 1)?, &mut progress)?;
                    from_decoded(&decoded)?.into_iter().try_for_each(&mut keep)?;
                }
            }
        }
        let caption = |index: usize| {
            captions.and_then(|captions| captions.get(index)).map_or_else(|| format!("{index:04}"), String::clone)
        };
        let item = |(index, picture)| Item { pictures: vec![picture], caption: vec![caption(index)] };
        let items = small.iter().enumerate().map(item).collect();
        staged.add(GRID, &Grid { rows: vec![String::new()], items }.png()?)?;
        Ok(count)
    }
}
