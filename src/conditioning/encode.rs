//! Prompts through the text encoders of a pipeline, put together as the transformer takes them.
//!
//! ```text
//! SD3   [ CLIP-L | CLIP-G | 0 ]  77 tokens of joint_attention_dim, hidden states before the last layer
//!       [ T5                  ]  256 tokens; without T5 77 tokens of zeros
//!       pooled: [ CLIP-L | CLIP-G ], projected
//! FLUX  [ T5                  ]  512 tokens (FLUX.1-schnell 256)
//!       pooled: CLIP-L, not projected
//! ```
//!
//! Sources: `StableDiffusion3Pipeline.encode_prompt` and `FluxPipeline.encode_prompt` of diffusers 0.33.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tokenizer::{ClipTokenizer, Encoded, T5Tokenizer, model_max_length};
use crate::checkpoint::Pipeline;
use crate::checkpoint::config::Architecture;
use crate::error::{Error, Result};
use crate::networks::{ClipText, T5};
use crate::ops::Tensor;
use crate::progress::Progress;

/// What both pipelines allow.
const LONGEST_SEQUENCE: usize = 512;
/// Tokens that go through an encoder together: each pass reads its weights once.
const TOKENS_PER_PASS: usize = 1 << 14;
/// Prompts that were cut and are named.
const NAMED_CUTS: usize = 5;

/// One text as it is to be encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text {
    pub text: String,
    /// Layers of CLIP left out beyond the last one; diffusers never skips for negative prompts.
    pub clip_skip: usize,
}

/// The embeddings of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// [tokens, width]
    pub embeds: Vec<f32>,
    /// `[pooled]`
    pub pooled: Vec<f32>,
}

/// The sizes of every [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowShape {
    pub tokens: usize,
    pub width: usize,
    pub pooled: usize,
}

/// The folders of one encoder.
#[derive(Debug, Clone)]
struct Part {
    name: &'static str,
    tokenizer: PathBuf,
    encoder: PathBuf,
}

/// The text encoders of a pipeline; nothing but configurations is read before [`TextEncoders::encode`].
#[derive(Debug)]
pub struct TextEncoders {
    clips: Vec<Part>,
    clip_tokens: usize,
    /// `None`: there is none, and zeros stand for it.
    t5: Option<Part>,
    t5_tokens: usize,
    flux: bool,
    shape: RowShape,
}

/// Text tokens of T5 when nothing is asked: 256 for SD3, 512 for FLUX.1-dev, 256 for FLUX.1-schnell.
pub fn default_sequence_length(architecture: &Architecture) -> usize {
    match architecture {
        Architecture::Flux(config) if config.guidance_embeds => 512,
        Architecture::Sd3(_) | Architecture::Flux(_) => 256,
    }
}

/// Checks a number of T5 tokens.
///
/// # Errors
/// [`Error::Usage`] for 0 or more than 512.
pub fn check_sequence_length(length: usize) -> Result<()> {
    if (1..=LONGEST_SEQUENCE).contains(&length) {
        return Ok(());
    }
    Err(Error::Usage(format!("--max-sequence-length is {length}, expected 1 to {LONGEST_SEQUENCE}")))
}

impl TextEncoders {
    /// Finds the encoders of a pipeline.
    ///
    /// # Errors
    /// [`Error::Missing`] for a transformer without a pipeline around it, or absent folders; [`Error::Usage`] for a
    /// sequence length that the pipelines refuse; [`Error::Malformed`] for broken configurations.
    pub fn open(pipeline: &Pipeline, max_sequence_length: Option<usize>) -> Result<Self> {
        let Some(index) = &pipeline.model_index else {
            return Err(Error::Missing {
                path: pipeline.root.join(crate::checkpoint::pipeline::MODEL_INDEX),
                needed_for: "to encode prompts: this is a transformer alone, without text encoders; pass the whole \
                             pipeline folder, or a file of embeddings instead of --prompts"
                    .into(),
            });
        };
        if let Some(length) = max_sequence_length {
            check_sequence_length(length)?;
        }
        let architecture = &pipeline.architecture;
        let part = |name, number: &str| Part {
            name,
            tokenizer: pipeline.root.join(format!("tokenizer{number}")),
            encoder: pipeline.root.join(format!("text_encoder{number}")),
        };
        let flux = matches!(architecture, Architecture::Flux(_));
        let (clips, t5) = match flux {
            true => (vec![part("CLIP-L", "")], Some(part("T5", "_2"))),
            false => {
                let t5 = has_component(index, "text_encoder_3", &pipeline.root).then(|| part("T5", "_3"));
                (vec![part("CLIP-L", ""), part("CLIP-G", "_2")], t5)
            }
        };
        for part in clips.iter().chain(&t5) {
            for folder in [&part.encoder, &part.tokenizer] {
                if !folder.is_dir() {
                    let needed_for = format!(
                        "to encode prompts ({}); download the whole pipeline, or pass a file of embeddings instead of \
                         --prompts",
                        part.name
                    );
                    return Err(Error::Missing { path: folder.clone(), needed_for });
                }
            }
        }
        let clip_tokens = model_max_length(&clips[0].tokenizer)?;
        let t5_tokens = match &t5 {
            Some(_) => max_sequence_length.unwrap_or_else(|| default_sequence_length(architecture)),
            // As many as CLIP's tokenizer takes, whatever --max-sequence-length says.
            None => clip_tokens,
        };
        let tokens = if flux { t5_tokens } else { clip_tokens + t5_tokens };
        let (width, pooled) = (architecture.joint_attention_dim(), architecture.pooled_projection_dim());
        Ok(TextEncoders { clips, clip_tokens, t5, t5_tokens, flux, shape: RowShape { tokens, width, pooled } })
    }

    /// The sizes of what a text becomes.
    pub fn shape(&self) -> RowShape {
        self.shape
    }

    /// T5's tokens per text.
    pub fn max_sequence_length(&self) -> usize {
        self.t5_tokens
    }

    /// Whether zeros stand for T5.
    pub fn lacks_t5(&self) -> bool {
        self.t5.is_none()
    }

    /// Every folder that decides what a text becomes, tokenizer before encoder.
    pub fn folders(&self) -> Vec<(&Path, &Path)> {
        self.clips.iter().chain(&self.t5).map(|part| (part.tokenizer.as_path(), part.encoder.as_path())).collect()
    }

    /// Encodes texts and gives each row to `keep` with its place in `texts`. One encoder after the other is opened,
    /// used and dropped.
    ///
    /// # Errors
    /// Those of the tokenizers and encoders, of `progress` and of `keep`; [`Error::Malformed`] for encoders whose
    /// widths are not those of the transformer.
    pub fn encode(
        &self,
        texts: &[Text],
        progress: &dyn Progress,
        keep: &mut dyn FnMut(usize, Row) -> Result<()>,
    ) -> Result<()> {
        let mut cuts = Cuts::default();
        let mut rows = vec![Clip { hidden: Vec::new(), pooled: Vec::new() }; texts.len()];
        for part in &self.clips {
            self.encode_clip(part, texts, &mut rows, &mut cuts, progress)?;
        }
        self.check_clip_widths(&rows)?;
        let Some(t5) = &self.t5 else {
            cuts.tell();
            let zeros = vec![0.0; self.t5_tokens * self.shape.width];
            return rows.into_iter().enumerate().try_for_each(|(i, clip)| keep(i, self.row(clip, &zeros)));
        };
        let tokenizer = T5Tokenizer::open(&t5.tokenizer)?;
        let tokenize = |(i, text): (usize, &Text)| {
            let Encoded { ids, cut } = tokenizer.encode(&text.text, self.t5_tokens)?;
            cuts.add(t5.name, self.t5_tokens, i, cut);
            Ok(ids)
        };
        let ids = texts.iter().enumerate().map(tokenize).collect::<Result<Vec<_>>>()?;
        cuts.tell();
        drop(tokenizer);

        let encoder = T5::open(&t5.encoder)?;
        let per_pass = (TOKENS_PER_PASS / self.t5_tokens).max(1);
        let passes = texts.len().div_ceil(per_pass);
        let mut begun = false;
        let mut clips = rows.into_iter();
        for (pass, ids) in ids.chunks(per_pass).enumerate() {
            let hidden = encoder.encode(ids, &mut |_, steps| {
                if !begun {
                    progress.begin(&format!("encode {}", t5.name), (passes * steps) as u64);
                    begun = true;
                }
                progress.advance()
            })?;
            let width = hidden.dim(2)?;
            if width != self.shape.width {
                return Err(wrong_width(
                    &t5.encoder,
                    "hidden states",
                    width,
                    ("joint_attention_dim", self.shape.width),
                ));
            }
            let hidden = hidden.as_slice()?.chunks_exact(self.t5_tokens * width);
            for ((i, hidden), clip) in hidden.enumerate().zip(clips.by_ref()) {
                keep(pass * per_pass + i, self.row(clip, hidden))?;
            }
        }
        Ok(())
    }

    /// Runs one CLIP over all texts and appends what it gives to `rows`.
    fn encode_clip(
        &self,
        part: &Part,
        texts: &[Text],
        rows: &mut [Clip],
        cuts: &mut Cuts,
        progress: &dyn Progress,
    ) -> Result<()> {
        let tokenizer = ClipTokenizer::open(&part.tokenizer)?;
        let tokenize = |(i, text): (usize, &Text)| {
            let Encoded { ids, cut } = tokenizer.encode(&text.text, self.clip_tokens)?;
            cuts.add("CLIP", self.clip_tokens, i, cut);
            Ok(ids)
        };
        let ids = texts.iter().enumerate().map(tokenize).collect::<Result<Vec<_>>>()?;
        let mut skips: Vec<usize> = texts.iter().map(|text| text.clip_skip).collect();
        skips.sort_unstable();
        skips.dedup();
        let with = |skip: usize| (0..texts.len()).filter(|&i| texts[i].clip_skip == skip).collect::<Vec<_>>();
        let per_pass = (TOKENS_PER_PASS / self.clip_tokens).max(1);
        let passes: Vec<(usize, Vec<usize>)> = skips
            .iter()
            .flat_map(|&skip| with(skip).chunks(per_pass).map(|places| (skip, places.to_vec())).collect::<Vec<_>>())
            .collect();
        let encoder = ClipText::open(&part.encoder)?;
        progress.begin(&format!("encode {}", part.name), passes.len() as u64);
        for (skip, places) in passes {
            let chosen: Vec<Vec<u32>> = places.iter().map(|&i| ids[i].clone()).collect();
            let output = encoder.encode(&chosen, skip)?;
            let pooled = if self.flux { &output.pooler } else { &output.pooled };
            let pooled_width = pooled.dim(1)?;
            for (row, &place) in places.iter().enumerate() {
                rows[place].pooled.extend_from_slice(&pooled.as_slice()?[row * pooled_width..][..pooled_width]);
                if !self.flux {
                    rows[place].hidden.push(entry(&output.hidden, row)?);
                }
            }
            progress.advance()?;
        }
        Ok(())
    }

    fn check_clip_widths(&self, rows: &[Clip]) -> Result<()> {
        let Some(row) = rows.first() else { return Ok(()) };
        if row.pooled.len() != self.shape.pooled {
            let wanted = ("pooled_projection_dim", self.shape.pooled);
            return Err(wrong_width(&self.clips[0].encoder, self.pooled_of(), row.pooled.len(), wanted));
        }
        let width = row.hidden.iter().map(|hidden| hidden.len() / self.clip_tokens).sum::<usize>();
        if width > self.shape.width {
            let what = "hidden states, with those of text_encoder_2,";
            let wanted = ("joint_attention_dim", self.shape.width);
            return Err(wrong_width(&self.clips[0].encoder, what, width, wanted));
        }
        Ok(())
    }

    fn pooled_of(&self) -> &'static str {
        if self.flux { "pooled texts" } else { "pooled texts, with those of text_encoder_2," }
    }

    /// Puts a row together; `t5` [tokens, width].
    fn row(&self, clip: Clip, t5: &[f32]) -> Row {
        let mut embeds = Vec::with_capacity(self.shape.tokens * self.shape.width);
        if !self.flux {
            for token in 0..self.clip_tokens {
                for hidden in &clip.hidden {
                    let width = hidden.len() / self.clip_tokens;
                    embeds.extend_from_slice(&hidden[token * width..][..width]);
                }
                embeds.resize((token + 1) * self.shape.width, 0.0);
            }
        }
        embeds.extend_from_slice(t5);
        Row { embeds, pooled: clip.pooled }
    }
}

/// An encoder of another model; `wanted` is a key of the transformer's configuration and its value.
fn wrong_width(encoder: &Path, what: &str, found: usize, (key, wanted): (&str, usize)) -> Error {
    let problem = format!(
        "its {what} are {found} wide and the transformer's {key} is {wanted}; take encoders and transformer from one \
         pipeline"
    );
    Error::malformed(encoder, problem)
}

/// What the CLIP encoders give for one text.
#[derive(Debug, Clone)]
struct Clip {
    /// Per encoder [tokens, width].
    hidden: Vec<Vec<f32>>,
    pooled: Vec<f32>,
}

/// Row `index` of [rows, tokens, width].
fn entry(tensor: &Tensor, index: usize) -> Result<Vec<f32>> {
    let (_, tokens, width) = tensor.dims3()?;
    Ok(tensor.as_slice()?[index * tokens * width..][..tokens * width].to_vec())
}

/// Whether `model_index.json` names a component and its folder is there.
fn has_component(index: &Value, name: &str, root: &Path) -> bool {
    let named = index.get(name).and_then(|entry| entry.get(1)).is_some_and(|class| !class.is_null());
    let there = root.join(name).is_dir();
    if named && !there {
        tracing::warn!(
            "{} is not there, though model_index.json names it: zeros stand for its embeddings, which changes pictures",
            root.join(name).display()
        );
    }
    named && there
}

/// Ends of prompts that were not read.
#[derive(Default)]
struct Cuts {
    seen: HashSet<(&'static str, usize)>,
}

impl Cuts {
    fn add(&mut self, encoder: &'static str, tokens: usize, index: usize, cut: Option<String>) {
        let Some(cut) = cut else { return };
        if self.seen.insert((encoder, index)) && self.seen.len() <= NAMED_CUTS {
            tracing::warn!("{encoder} reads {tokens} tokens of a prompt, so this end of one is left out: {cut}");
        }
    }

    fn tell(&self) {
        if let Some(more) = self.seen.len().checked_sub(NAMED_CUTS).filter(|&more| more > 0) {
            tracing::warn!("{more} more prompts are longer than their encoders read, and are cut");
        }
    }
}
