//! `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` of a tokenizer folder, as
//! `PreTrainedTokenizerBase.from_pretrained` of transformers combines them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::checkpoint::pipeline::read_json;
use crate::error::{Error, Result};

/// A `model_max_length` above this means that there is none; transformers writes 10^30.
const NO_LIMIT: f64 = 1e6;

/// A token that is found in a text before anything else is done with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    pub content: String,
    /// In the vocabulary; `None`: wherever the vocabulary has it.
    pub id: Option<u32>,
    pub lstrip: bool,
    pub rstrip: bool,
    pub single_word: bool,
    pub normalized: bool,
    pub special: bool,
}

impl Added {
    /// A special token by its text alone.
    pub fn special(content: impl Into<String>) -> Self {
        let content = content.into();
        let (lstrip, rstrip, single_word, normalized) = (false, false, false, false);
        Added { content, id: None, lstrip, rstrip, single_word, normalized, special: true }
    }
}

/// The settings of a tokenizer.
#[derive(Debug)]
pub struct TokenizerConfig {
    folder: PathBuf,
    config: Value,
    /// Special tokens of old folders; empty where `tokenizer_config.json` has them.
    map: Value,
}

impl TokenizerConfig {
    /// Reads what there is; every file may be absent.
    ///
    /// # Errors
    /// [`Error::Missing`] for an absent folder, [`Error::Malformed`], [`Error::Io`].
    pub fn read(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let needed_for = "to turn prompts into tokens; download the whole pipeline, or pass embeddings";
            return Err(Error::Missing { path: folder.into(), needed_for: needed_for.into() });
        }
        let optional = |name: &str| match folder.join(name) {
            path if path.is_file() => read_json(&path, ""),
            _ => Ok(Value::Object(Map::new())),
        };
        let config = optional("tokenizer_config.json")?;
        let modern = config.get("added_tokens_decoder").is_some();
        let map = if modern { Value::Null } else { optional("special_tokens_map.json")? };
        Ok(TokenizerConfig { folder: folder.into(), config, map })
    }

    /// Where the tokenizer lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A key of `tokenizer_config.json` that is there and not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.config.get(key).filter(|value| !value.is_null())
    }

    /// The text of a special token such as `pad_token`.
    pub fn token(&self, name: &str) -> Option<String> {
        let given = self.get(name).or_else(|| self.map.get(name).filter(|value| !value.is_null()));
        given.and_then(content)
    }

    /// Tokens to find in a text first: those of `added_tokens_decoder` or `added_tokens.json` in the order of their
    /// ids, then `additional_special_tokens`.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn added(&self) -> Result<Vec<Added>> {
        let mut added = match self.get("added_tokens_decoder") {
            Some(decoder) => self.decoder(decoder)?,
            None => self.added_tokens()?,
        };
        added.sort_by_key(|token| token.id);
        let additional = self.get("additional_special_tokens").or_else(|| self.map.get("additional_special_tokens"));
        for token in additional.and_then(Value::as_array).into_iter().flatten().filter_map(content) {
            if !added.iter().any(|known| known.content == token) {
                added.push(Added::special(token));
            }
        }
        Ok(added)
    }

    fn decoder(&self, decoder: &Value) -> Result<Vec<Added>> {
        let malformed = |id: &str| {
            let path = self.folder.join("tokenizer_config.json");
            Error::malformed(path, format!("`added_tokens_decoder` has an entry `{id}` that is no token"))
        };
        let flag = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_bool).unwrap_or(false);
        let entry = |(key, entry): (&String, &Value)| {
            let id = key.parse::<u32>().map_err(|_| malformed(key))?;
            let content = content(entry).ok_or_else(|| malformed(key))?;
            Ok(Added {
                content,
                id: Some(id),
                lstrip: flag(entry, "lstrip"),
                rstrip: flag(entry, "rstrip"),
                single_word: flag(entry, "single_word"),
                normalized: flag(entry, "normalized"),
                special: flag(entry, "special"),
            })
        };
        decoder.as_object().into_iter().flatten().map(entry).collect()
    }

    /// `added_tokens.json`, which old folders have: text to id.
    fn added_tokens(&self) -> Result<Vec<Added>> {
        let path = self.folder.join("added_tokens.json");
        if !path.is_file() {
            return Ok(Vec::new());
        }
        let tokens = read_json(&path, "")?;
        let entry = |(text, id): (&String, &Value)| match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok(Added { id: Some(id), ..Added::special(text.as_str()) }),
            None => Err(Error::malformed(&path, format!("`{text}` has the id {id}, expected a number"))),
        };
        tokens.as_object().into_iter().flatten().map(entry).collect()
    }

    /// `model_max_length`, unless it means that there is no limit.
    pub fn model_max_length(&self) -> Option<usize> {
        let length = self.get("model_max_length")?.as_f64()?;
        (1.0..NO_LIMIT).contains(&length).then_some(length as usize)
    }

    /// Refuses what would need other code: padding or truncation on the left.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn check_sides(&self) -> Result<()> {
        for key in ["padding_side", "truncation_side"] {
            if let Some(side) = self.get(key).and_then(Value::as_str).filter(|&side| side != "right") {
                let what = format!("`{key}` in {}", self.folder.join("tokenizer_config.json").display());
                return Err(Error::Unsupported { what, found: side.into(), supported: "right".into() });
            }
        }
        Ok(())
    }
}

/// A token is its text, or an object that holds it.
fn content(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(String::from)
}
