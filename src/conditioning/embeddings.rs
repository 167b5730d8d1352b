//! The embeddings of prompts, and the safetensors file that may hold them, checked against the model.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::config::Architecture;
use crate::checkpoint::{Dtype, SafetensorsFile};
use crate::error::{Error, Result};
use crate::ops::Tensor;
use crate::units::hex;

/// Embeddings of the negative prompts, in the shapes of the positive ones.
#[derive(Debug, Clone)]
pub struct Negative {
    pub prompt_embeds: Tensor,
    pub pooled_prompt_embeds: Tensor,
}

/// Prompts as embeddings, f32, one row per picture.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// [rows, tokens, joint_attention_dim]
    pub prompt_embeds: Tensor,
    /// [rows, pooled_projection_dim]
    pub pooled_prompt_embeds: Tensor,
    /// Starting latents: SD3 [rows, channels, height, width], FLUX [rows, tokens, channels]. Without them
    /// the sampler makes noise from its seed.
    pub latents: Option<Tensor>,
    /// The texts, where they are known, one per row.
    pub prompts: Option<Vec<String>>,
    /// What the embeddings were made from, if they were made here.
    pub origin: Option<PromptOrigin>,
    pub(super) negative: Option<Negative>,
    pub(super) path: PathBuf,
}

/// How prompts became embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptOrigin {
    /// SHA-256 of the prompts file.
    pub file_sha256: String,
    /// Prompts in the file, of which these may be a choice.
    pub prompts_in_file: usize,
    /// `None` without guidance.
    pub negative_prompt: Option<String>,
    /// Tokens of T5 per prompt, or of zeros in its place.
    pub max_sequence_length: usize,
    pub clip_skip: usize,
}

impl Conditioning {
    /// Reads `prompt_embeds`, `pooled_prompt_embeds` and, where present, `negative_prompt_embeds`,
    /// `negative_pooled_prompt_embeds` and `latents`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`] for a file that is no safetensors file, holds no rows or
    /// differing numbers of rows; [`Error::TensorMissing`]; [`Error::Shape`] for widths that are not the
    /// model's; [`Error::NonFinite`].
    pub fn open(path: &Path, architecture: &Architecture) -> Result<Self> {
        if !path.is_file() {
            return Err(Error::Missing { path: path.into(), needed_for: "as the embeddings of the prompts".into() });
        }
        let tensors = SafetensorsFile::open(path).map_err(|error| match error {
            Error::Malformed { path, problem } => {
                Error::malformed(path, format!("not a readable safetensors file: {problem}"))
            }
            other => other,
        })?;
        let file = File { path, tensors };
        let prompt_embeds = file.required("prompt_embeds")?;
        let rows = prompt_embeds.dims().first().copied().unwrap_or(0);
        if rows == 0 {
            return Err(Error::malformed(path, "`prompt_embeds` has no rows: give at least one prompt"));
        }
        let width = architecture.joint_attention_dim();
        file.expect("prompt_embeds", &prompt_embeds, &[None, None, Some(width)], rows)?;
        let pooled_prompt_embeds = file.required("pooled_prompt_embeds")?;
        let pooled_width = architecture.pooled_projection_dim();
        file.expect("pooled_prompt_embeds", &pooled_prompt_embeds, &[None, Some(pooled_width)], rows)?;
        let names = ["negative_prompt_embeds", "negative_pooled_prompt_embeds"];
        let negative = match (file.optional(names[0])?, file.optional(names[1])?) {
            (Some(embeds), Some(pooled)) => {
                let tokens = prompt_embeds.dims().get(1).copied();
                file.expect(names[0], &embeds, &[None, tokens, Some(width)], rows)?;
                file.expect(names[1], &pooled, &[None, Some(pooled_width)], rows)?;
                Some(Negative { prompt_embeds: embeds, pooled_prompt_embeds: pooled })
            }
            (None, None) => None,
            (embeds, _) => {
                let [present, absent] = if embeds.is_some() { names } else { [names[1], names[0]] };
                let hint = format!("it belongs to `{present}`");
                return Err(Error::TensorMissing { path: path.into(), tensor: absent.into(), hint });
            }
        };
        let latents = file.optional("latents")?;
        if let Some(latents) = &latents {
            file.expect("latents", latents, &vec![None; latents.rank()], rows)?;
        }
        let (prompts, origin) = (None, None);
        Ok(Conditioning { prompt_embeds, pooled_prompt_embeds, latents, prompts, origin, negative, path: path.into() })
    }

    /// Number of prompts.
    pub fn rows(&self) -> usize {
        self.prompt_embeds.dims()[0]
    }

    /// Text tokens per prompt.
    pub fn tokens(&self) -> usize {
        self.prompt_embeds.dims().get(1).copied().unwrap_or(0)
    }

    /// The negative embeddings.
    ///
    /// # Errors
    /// [`Error::TensorMissing`] if the file has none.
    pub fn negative(&self) -> Result<&Negative> {
        self.negative.as_ref().ok_or_else(|| Error::TensorMissing {
            path: self.path.clone(),
            tensor: "negative_prompt_embeds".into(),
            hint: "guidance above 1 needs it and `negative_pooled_prompt_embeds`; add them or pass --guidance-scale 1"
                .into(),
        })
    }

    /// Checks that given latents have the size `item` per prompt.
    ///
    /// # Errors
    /// [`Error::Shape`] if they have another.
    pub fn check_latents(&self, item: &[usize]) -> Result<()> {
        match &self.latents {
            Some(latents) if latents.dims()[1..] != *item => Err(Error::Shape {
                path: self.path.clone(),
                tensor: "latents".into(),
                expected: format!("{:?} (from --height, --width and the model)", [&[self.rows()], item].concat()),
                found: latents.dims().to_vec(),
            }),
            _ => Ok(()),
        }
    }

    /// SHA-256 of the shapes and values of every tensor.
    ///
    /// # Errors
    /// [`Error::Runtime`] if a tensor is not in host memory.
    pub fn sha256(&self) -> Result<String> {
        let negative = self.negative.as_ref();
        let tensors = [
            Some(&self.prompt_embeds),
            Some(&self.pooled_prompt_embeds),
            negative.map(|negative| &negative.prompt_embeds),
            negative.map(|negative| &negative.pooled_prompt_embeds),
            self.latents.as_ref(),
        ];
        let mut hash = Sha256::new();
        for tensor in tensors {
            hash.update(format!("{:?}\n", tensor.map(Tensor::dims)));
            if let Some(tensor) = tensor {
                tensor.as_slice()?.iter().for_each(|value| hash.update(value.to_le_bytes()));
            }
        }
        Ok(hex(&hash.finalize()))
    }

    /// The prompts `rows`.
    ///
    /// # Errors
    /// [`Error::Runtime`] if there are not that many.
    pub fn slice(&self, rows: Range<usize>) -> Result<Self> {
        let cut = |tensor: &Tensor| tensor.narrow(0, rows.start, rows.len());
        let negative = match &self.negative {
            Some(negative) => Some(Negative {
                prompt_embeds: cut(&negative.prompt_embeds)?,
                pooled_prompt_embeds: cut(&negative.pooled_prompt_embeds)?,
            }),
            None => None,
        };
        Ok(Conditioning {
            prompt_embeds: cut(&self.prompt_embeds)?,
            pooled_prompt_embeds: cut(&self.pooled_prompt_embeds)?,
            latents: self.latents.as_ref().map(cut).transpose()?,
            prompts: self.prompts.as_ref().map(|prompts| prompts[rows.clone()].to_vec()),
            origin: self.origin.clone(),
            negative,
            path: self.path.clone(),
        })
    }
}

/// An open conditioning file.
struct File<'a> {
    path: &'a Path,
    tensors: SafetensorsFile,
}

impl File<'_> {
    fn required(&self, name: &str) -> Result<Tensor> {
        self.optional(name)?.ok_or_else(|| Error::TensorMissing {
            path: self.path.into(),
            tensor: name.into(),
            hint: "a conditioning file holds `prompt_embeds` and `pooled_prompt_embeds`".into(),
        })
    }

    /// The tensor as f32, all values finite.
    fn optional(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(info) = self.tensors.info(name) else { return Ok(None) };
        let values = match info.dtype {
            Dtype::F64 => self.tensors.to_f64(name)?.into_iter().map(|value| value as f32).collect(),
            _ => self.tensors.to_f32(name)?,
        };
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite {
                tensor: name.into(),
                found: values[index].to_string(),
                context: format!("at index {index} in {}", self.path.display()),
            });
        }
        self.tensors.release(name);
        Tensor::from_vec(values, info.shape.as_slice()).map(Some)
    }

    /// Checks the shape; `None` is any size, the first dimension is `rows`.
    fn expect(&self, name: &str, tensor: &Tensor, dims: &[Option<usize>], rows: usize) -> Result<()> {
        let found = tensor.dims();
        let fits = |(&size, expected): (&usize, &Option<usize>)| expected.is_none_or(|e| e == size);
        if found.len() == dims.len() && found.first() == Some(&rows) && found.iter().zip(dims).all(fits) {
            return Ok(());
        }
        let sizes = dims.iter().skip(1).map(|d| d.map_or("any".into(), |d| d.to_string()));
        let expected: Vec<String> = std::iter::once(rows.to_string()).chain(sizes).collect();
        Err(Error::Shape {
            path: self.path.into(),
            tensor: name.into(),
            expected: format!("[{}]", expected.join(", ")),
            found: found.to_vec(),
        })
    }
}
