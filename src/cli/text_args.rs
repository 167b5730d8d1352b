//! The flags of every command that takes prompts.

use std::path::{Path, PathBuf};

use crate::conditioning::cache::Cache;
use crate::conditioning::{PromptSource, Source};
use crate::error::{Error, Result};

/// The name that turns the cache off.
const NONE: &str = "none";

/// Prompts, and how they are encoded
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Prompts")]
pub struct TextArgs {
    /// Prompts to encode with the pipeline's own text encoders: one per line; .tsv with a column caption, or caption,
    /// tab and URL as in Conceptual Captions; .jsonl with prompt, caption or text
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Take N of the prompts, chosen by --seed, in the order of the file [default: all]
    #[arg(long, value_name = "N")]
    num_samples: Option<usize>,
    /// SD3: what to guide away from [default: the empty text]
    #[arg(long, value_name = "TEXT")]
    negative_prompt: Option<String>,
    /// Tokens that T5 reads of a prompt, at most 512 [default: SD3 and FLUX.1-schnell 256, FLUX.1-dev 512]
    #[arg(long, value_name = "TOKENS")]
    max_sequence_length: Option<usize>,
    /// SD3: layers of the CLIP encoders to leave out beyond the last one [default: 0]
    #[arg(long, value_name = "LAYERS")]
    clip_skip: Option<usize>,
    /// Folder that keeps embeddings for later runs, or none [default: $OBSDIFF_CACHE, $XDG_CACHE_HOME/obsdiff, or
    /// ~/.cache/obsdiff]
    #[arg(long, value_name = "DIR")]
    embeddings_cache: Option<PathBuf>,
}

impl TextArgs {
    /// Where the embeddings come from: the prompts, or the file of `embeddings`; `None` if neither is given.
    ///
    /// # Errors
    /// [`Error::Usage`] for a flag that has no prompts to work on.
    pub fn source(&self, embeddings: Option<&Path>, seed: Option<u64>) -> Result<Option<Source>> {
        let Some(file) = &self.prompts else {
            self.check_unused()?;
            return Ok(embeddings.map(|file| Source::Embeddings(file.into())));
        };
        let cache = match &self.embeddings_cache {
            Some(folder) => (folder.as_os_str() != NONE).then(|| folder.clone()),
            None => Cache::default_folder(),
        };
        Ok(Some(Source::Prompts(PromptSource {
            file: file.clone(),
            num_samples: self.num_samples,
            seed: seed.unwrap_or(0),
            negative_prompt: self.negative_prompt.clone(),
            max_sequence_length: self.max_sequence_length,
            clip_skip: self.clip_skip,
            cache,
        })))
    }

    /// clap's `requires` does not hold beside a flag that excludes the required one.
    fn check_unused(&self) -> Result<()> {
        let given = [
            ("--num-samples", self.num_samples.is_some()),
            ("--negative-prompt", self.negative_prompt.is_some()),
            ("--max-sequence-length", self.max_sequence_length.is_some()),
            ("--clip-skip", self.clip_skip.is_some()),
            ("--embeddings-cache", self.embeddings_cache.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(Error::Usage(format!("{flag} goes with --prompts; pass --prompts FILE or leave it out")))
            }
            None => Ok(()),
        }
    }
}
