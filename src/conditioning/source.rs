//! Where embeddings come from: a file of them, or prompts and the text encoders of the pipeline.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::encode::{Row, Text, TextEncoders};
use super::prompts::Prompts;
use super::{Conditioning, Negative, PromptOrigin};
use crate::checkpoint::Pipeline;
use crate::checkpoint::config::Architecture;
use crate::error::{Error, Result};
use crate::ops::Tensor;
use crate::progress::Progress;

/// Where embeddings come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A safetensors file; see [`Conditioning::open`].
    Embeddings(PathBuf),
    /// Texts, encoded by the pipeline's own encoders.
    Prompts(PromptSource),
}

/// A file of prompts and how to encode them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptSource {
    /// See [`Prompts::read`].
    pub file: PathBuf,
    /// Take so many of them, chosen by `seed`; `None`: all.
    pub num_samples: Option<usize>,
    pub seed: u64,
    /// SD3: what to guide away from; `None`: the empty text.
    pub negative_prompt: Option<String>,
    /// T5's tokens per prompt; `None`: 256 for SD3 and FLUX.1-schnell, 512 for FLUX.1-dev.
    pub max_sequence_length: Option<usize>,
    /// SD3: layers of CLIP left out beyond the last one.
    pub clip_skip: Option<usize>,
    /// Folder of embeddings made before; `None`: encode always.
    pub cache: Option<PathBuf>,
}

impl PromptSource {
    /// All prompts of a file, with the defaults of diffusers and without a cache.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        PromptSource {
            file: file.into(),
            num_samples: None,
            seed: 0,
            negative_prompt: None,
            max_sequence_length: None,
            clip_skip: None,
            cache: None,
        }
    }
}

impl From<PathBuf> for Source {
    fn from(file: PathBuf) -> Self {
        Source::Embeddings(file)
    }
}

impl Source {
    /// The same from anywhere: by the absolute path.
    pub fn absolute(&self) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        match self {
            Source::Embeddings(file) => Source::Embeddings(absolute(file)),
            Source::Prompts(prompts) => Source::Prompts(PromptSource {
                file: absolute(&prompts.file),
                cache: prompts.cache.as_deref().map(absolute),
                ..prompts.clone()
            }),
        }
    }

    /// The file that the user named.
    pub fn file(&self) -> &Path {
        match self {
            Source::Embeddings(file) => file,
            Source::Prompts(prompts) => &prompts.file,
        }
    }

    /// Reads or makes the embeddings. `guided`: the sampler runs negative prompts too, so they are encoded.
    ///
    /// # Errors
    /// Those of [`Conditioning::open`], of [`Prompts::read`] and [`Prompts::choose`], of [`TextEncoders`], and of
    /// `progress`; [`Error::Usage`] for settings that the model does not have.
    pub fn open(&self, pipeline: &Pipeline, guided: bool, progress: &dyn Progress) -> Result<Conditioning> {
        match self {
            Source::Embeddings(file) => Conditioning::open(file, &pipeline.architecture),
            Source::Prompts(prompts) => prompts.open(pipeline, guided, progress),
        }
    }
}

impl PromptSource {
    fn open(&self, pipeline: &Pipeline, guided: bool, progress: &dyn Progress) -> Result<Conditioning> {
        self.check(&pipeline.architecture, guided)?;
        let prompts = Prompts::read(&self.file)?;
        let texts = match self.num_samples {
            Some(samples) => prompts.choose(samples, self.seed)?,
            None => prompts.texts.clone(),
        };
        let encoders = TextEncoders::open(pipeline, self.max_sequence_length)?;
        if encoders.lacks_t5() && self.max_sequence_length.is_some() {
            tracing::warn!(
                "--max-sequence-length has no effect: the pipeline has no T5, and {} zero tokens stand for it",
                encoders.max_sequence_length()
            );
        }
        let negative = Text { text: self.negative_prompt.clone().unwrap_or_default(), clip_skip: 0 };
        let positive = |text: &String| Text { text: text.clone(), clip_skip: self.clip_skip.unwrap_or(0) };
        let (unique, places) = distinct(texts.iter().map(positive).chain(guided.then_some(negative)));
        let rows = self.rows(&encoders, &unique, progress)?;

        let of = |places: &[usize]| stack(&rows, places, &encoders);
        let (prompt_embeds, pooled_prompt_embeds) = of(&places[..texts.len()])?;
        let negative = match places.get(texts.len()) {
            Some(&place) => {
                let (prompt_embeds, pooled_prompt_embeds) = of(&vec![place; texts.len()])?;
                Some(Negative { prompt_embeds, pooled_prompt_embeds })
            }
            None => None,
        };
        let origin = PromptOrigin {
            file_sha256: prompts.sha256,
            prompts_in_file: prompts.texts.len(),
            negative_prompt: guided.then(|| self.negative_prompt.clone().unwrap_or_default()),
            max_sequence_length: encoders.max_sequence_length(),
            clip_skip: self.clip_skip.unwrap_or(0),
        };
        Ok(Conditioning {
            prompt_embeds,
            pooled_prompt_embeds,
            latents: None,
            prompts: Some(texts),
            origin: Some(origin),
            negative,
            path: self.file.clone(),
        })
    }

    fn check(&self, architecture: &Architecture, guided: bool) -> Result<()> {
        if matches!(architecture, Architecture::Flux(_)) {
            let given =
                [("--negative-prompt", self.negative_prompt.is_some()), ("--clip-skip", self.clip_skip.is_some())];
            if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
                return Err(Error::Usage(format!(
                    "{flag} is of no use for FLUX, which takes no such input; leave it out"
                )));
            }
        } else if self.negative_prompt.is_some() && !guided {
            return Err(Error::Usage(
                "--negative-prompt works through guidance, which is off; pass --guidance-scale above 1 or leave it out"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The rows of `texts`, from the cache where they are there.
    fn rows(&self, encoders: &TextEncoders, texts: &[Text], progress: &dyn Progress) -> Result<Vec<Row>> {
        let encode = |texts: &[Text], keep: &mut dyn FnMut(usize, Row) -> Result<()>| {
            tracing::info!("encoding {} texts", texts.len());
            encoders.encode(texts, progress, keep)
        };
        let Some(folder) = &self.cache else {
            let mut rows = vec![Row { embeds: Vec::new(), pooled: Vec::new() }; texts.len()];
            encode(texts, &mut |index, row| {
                rows[index] = row;
                Ok(())
            })?;
            return Ok(rows);
        };
        let cache = Cache::open(folder)?;
        let identity = cache.identity(encoders, progress)?;
        let (rows, encoded) = cache.rows(&identity, encoders.shape(), texts, encode)?;
        match encoded {
            0 => tracing::info!("the embeddings of all {} texts were kept from an earlier run", texts.len()),
            _ => tracing::debug!(encoded, texts = texts.len(), cache = %folder.display(), "embeddings"),
        }
        Ok(rows)
    }
}

/// Every text once, and the place of each given one among them.
fn distinct(texts: impl Iterator<Item = Text>) -> (Vec<Text>, Vec<usize>) {
    let mut unique = Vec::new();
    let mut known = HashMap::new();
    let places = texts.map(|text| {
        *known.entry(text).or_insert_with_key(|text| {
            unique.push(text.clone());
            unique.len() - 1
        })
    });
    let places = places.collect();
    (unique, places)
}

/// The rows at `places` as tensors [rows, tokens, width] and [rows, pooled].
fn stack(rows: &[Row], places: &[usize], encoders: &TextEncoders) -> Result<(Tensor, Tensor)> {
    let shape = encoders.shape();
    let join = |part: fn(&Row) -> &Vec<f32>| places.iter().flat_map(|&i| part(&rows[i])).copied().collect::<Vec<f32>>();
    Ok((
        Tensor::from_vec(join(|row| &row.embeds), [places.len(), shape.tokens, shape.width])?,
        Tensor::from_vec(join(|row| &row.pooled), [places.len(), shape.pooled])?,
    ))
}
