//! The text encoder of CLIP, as `CLIPTextModel` and `CLIPTextModelWithProjection` of transformers 4.51 compute it.
//!
//! ```text
//! ids -> token + position embeddings -> layers (causal) -> final norm -> last
//!                                          |                    `-> at the end of the text -> projection -> pooled
//!                                          `-> hidden, before the last layers
//! ```

use std::path::Path;

use serde::Deserialize;

use super::activation::Activation;
use super::attention::Scores;
use super::clip::{Stack, expect_layer_norm, read_config};
use super::component::{expect_positive, parse};
use super::rows::{join, rows_per_chunk, tokens_per_row};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::ops::{self, Tensor};

const TOKENS: &str = "text_model.embeddings.token_embedding.weight";
const POSITIONS: &str = "text_model.embeddings.position_embedding.weight";
const FINAL_NORM: &str = "text_model.final_layer_norm";
const PROJECTION: &str = "text_projection";
/// The `eos_token_id` of configurations from before it was corrected: the end is then the largest id.
const LEGACY_EOS: u32 = 2;

/// Keys of `CLIPTextConfig` with its defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f32,
    eos_token_id: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
            eos_token_id: 49_407,
        }
    }
}

/// A text encoder of CLIP. Weights stay in their files until [`ClipText::encode`] reads them, layer by layer.
#[derive(Debug)]
pub struct ClipText {
    weights: Weights,
    stack: Stack,
    vocabulary: usize,
    positions: usize,
    eos: u32,
    /// Width of the projection, if there is one.
    projection: Option<usize>,
}

/// What a text encoder says about some rows of tokens.
#[derive(Debug, Clone)]
pub struct ClipTextOutput {
    /// `hidden_states[-(skip + 2)]`, which SD3 takes: [rows, tokens, width], before the final norm.
    pub hidden: Tensor,
    /// `text_embeds`, [rows, projection], if the weights have a projection, else `pooler_output`.
    pub pooled: Tensor,
    /// `pooler_output`: `last` at the end of each text, [rows, width].
    pub pooler: Tensor,
    /// `last_hidden_state`: after the last layer and the final norm, [rows, tokens, width].
    pub last: Tensor,
}

impl ClipText {
    /// Opens the `config.json` and the weights of `folder`, a text encoder or a whole CLIP, and checks names and shapes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`], [`Error::Unsupported`] for another model or activation,
    /// [`Error::TensorMissing`], [`Error::Shape`].
    pub fn open(folder: &Path) -> Result<Self> {
        let (value, path) = read_config(folder, "clip_text_model", "text_config")?;
        let config: Config = parse(value, &path)?;
        let stack = Stack {
            prefix: "text_model.encoder",
            width: config.hidden_size,
            intermediate: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: Activation::named(&config.hidden_act, "hidden_act", &path)?,
            eps: config.layer_norm_eps,
        };
        stack.check_sizes(&path)?;
        let (vocabulary, positions) = (config.vocab_size, config.max_position_embeddings);
        expect_positive(&path, &[("vocab_size", vocabulary), ("max_position_embeddings", positions)])?;

        let weights = Weights::open_encoder(folder)?;
        weights.expect(TOKENS, &[vocabulary, stack.width])?;
        weights.expect(POSITIONS, &[positions, stack.width])?;
        stack.check(&weights)?;
        expect_layer_norm(&weights, FINAL_NORM, stack.width)?;
        let projection = format!("{PROJECTION}.weight");
        let projection = match weights.has(&projection) {
            true => {
                let features = weights.shape(&projection)?.first().copied().unwrap_or(0);
                weights.expect(&projection, &[features, stack.width])?;
                Some(features)
            }
            false => None,
        };
        Ok(ClipText { weights, stack, vocabulary, positions, eos: config.eos_token_id, projection })
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.stack.width
    }

    /// Tokens that a row may have at most.
    pub fn max_tokens(&self) -> usize {
        self.positions
    }

    /// Encodes rows of token ids, all of one length; `skip` is the number of layers that `hidden` leaves out beyond the
    /// last one.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are not that many layers, [`Error::Malformed`] for an id beyond the vocabulary or rows
    /// longer than the position embedding, [`Error::NonFinite`] for weights or results, [`Error::Runtime`] for rows of
    /// different length.
    pub fn encode(&self, ids: &[Vec<u32>], skip: usize) -> Result<ClipTextOutput> {
        let tokens = tokens_per_row(ids)?;
        let Some(kept) = self.stack.layers.checked_sub(skip.saturating_add(1)) else {
            return Err(Error::Usage(format!(
                "clip skip {skip} leaves no layer of {}, which has {}; pass at most {}",
                self.weights.path().display(),
                self.stack.layers,
                self.stack.layers - 1,
            )));
        };
        let mut chunks = self.embed(ids, tokens)?;
        let mut hidden = Vec::new();
        for number in 0..self.stack.layers {
            if number == kept {
                hidden.clone_from(&chunks);
            }
            let layer = self.stack.layer(&self.weights, number)?;
            for x in &mut chunks {
                *x = layer.apply(x, Scores::Causal)?;
            }
        }
        let norm = self.weights.layer_norm(FINAL_NORM, self.stack.width, self.stack.eps)?;
        let last = chunks.iter().map(|x| norm.apply(x)).collect::<Result<_>>()?;
        let name = |what: &str| format!("{what} of {}", self.weights.path().display());
        let last = join(last, &name("last hidden state"))?;
        let pooler = self.at_end_of_text(&last, ids)?;
        let pooled = match self.projection {
            Some(features) => self.weights.linear(PROJECTION, features, self.stack.width)?.apply(&pooler)?,
            None => pooler.clone(),
        };
        Ok(ClipTextOutput { hidden: join(hidden, &name("hidden states"))?, pooled, pooler, last })
    }

    /// Token plus position embeddings, in chunks of [rows, tokens, width].
    fn embed(&self, ids: &[Vec<u32>], tokens: usize) -> Result<Vec<Tensor>> {
        let (path, width) = (self.weights.path(), self.stack.width);
        if tokens > self.positions {
            let problem = format!("has positions for {} tokens, and a row has {tokens}", self.positions);
            return Err(Error::malformed(path, problem));
        }
        let places: Vec<u32> = (0..tokens as u32).collect();
        let positions = self.weights.rows(POSITIONS, width, &places)?;
        let chunks = ids.chunks(rows_per_chunk(tokens));
        let embed = |rows: &[Vec<u32>]| {
            let words = self.weights.rows(TOKENS, width, &rows.concat())?;
            ops::add(words.reshape([rows.len(), tokens, width])?, &positions)
        };
        chunks.map(embed).collect()
    }

    /// `last` [rows, tokens, width] at the end of each text: [rows, width].
    fn at_end_of_text(&self, last: &Tensor, ids: &[Vec<u32>]) -> Result<Tensor> {
        let (rows, tokens, width) = last.dims3()?;
        let values = last.as_slice()?;
        let mut ends = Vec::with_capacity(rows * width);
        for (row, ids) in ids.iter().enumerate() {
            let place = row * tokens + self.end_of_text(ids);
            ends.extend_from_slice(&values[place * width..][..width]);
        }
        Tensor::from_vec(ends, [rows, width])
    }

    /// Where transformers sees the end of a text: the first `eos_token_id`, or the first of the largest ids if the
    /// configuration has the value that was wrong in early files. Without any end it is the first token, which is never
    /// what the user meant.
    fn end_of_text(&self, ids: &[u32]) -> usize {
        let wanted = if self.eos == LEGACY_EOS { ids.iter().copied().max().unwrap_or(0) } else { self.eos };
        ids.iter().position(|&id| id == wanted).unwrap_or_else(|| {
            tracing::warn!(
                "{}: a row of tokens has no end of text ({wanted}); like transformers, its first token is taken: \
                 tokenizer and text encoder do not belong to each other",
                self.weights.path().display()
            );
            0
        })
    }

    /// Number of token ids.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}
