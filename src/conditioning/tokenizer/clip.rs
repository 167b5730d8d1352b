//! The tokenizer of the CLIP text encoders: `CLIPTokenizer` of transformers, the one written in Python, which the
//! SD3 and FLUX pipelines load. Without the package ftfy, as here, it cleans texts as BERT does.

use std::collections::HashMap;
use std::path::Path;

use regex::Regex;
use tokenizers::normalizers::NFC;
use tokenizers::{NormalizedString, Normalizer, Tokenizer};

use super::Encoded;
use super::bpe::{Merges, text_of};
use super::config::{Added, TokenizerConfig};
use crate::error::{Error, Result};

/// Merges that `CLIPTokenizer` reads: 49152 tokens less 256 bytes less 2 special tokens.
const MERGES: usize = 49152 - 256 - 2;
/// Of all published CLIP text encoders.
const DEFAULT_LENGTH: usize = 77;
/// Words: special tokens, contractions, runs of letters, single digits, runs of anything else. The combining iota
/// U+0345 is no letter, but its capital form is, so Python's case-insensitive expression puts it into none of these.
const WORDS: &str =
    r"(?i:<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u{345}]+";

/// The number of tokens that the CLIP tokenizer in `folder` makes of a text: 77 for the published ones.
///
/// # Errors
/// [`Error::Missing`], [`Error::Malformed`], [`Error::Io`].
pub fn model_max_length(folder: &Path) -> Result<usize> {
    checked_length(&TokenizerConfig::read(folder)?)
}

fn checked_length(config: &TokenizerConfig) -> Result<usize> {
    let length = config.model_max_length().unwrap_or(DEFAULT_LENGTH);
    if length < 2 {
        let problem = format!("model_max_length is {length}; begin and end of a text alone need 2");
        return Err(Error::malformed(config.folder().join("tokenizer_config.json"), problem));
    }
    Ok(length)
}

/// Prompts to the ids of a CLIP text encoder.
#[derive(Debug)]
pub struct ClipTokenizer {
    model: Model,
    bos: u32,
    eos: u32,
    pad: u32,
    max_length: usize,
}

#[derive(Debug)]
enum Model {
    /// `vocab.json` and `merges.txt`.
    Files(Box<Files>),
    /// `tokenizer.json` alone.
    Json(Box<Tokenizer>),
}

#[derive(Debug)]
struct Files {
    vocabulary: HashMap<String, u32>,
    merges: Merges,
    /// Longest first.
    added: Vec<(Added, u32)>,
    unknown: u32,
    words: Regex,
    /// Control, format, private and unassigned characters.
    control: Regex,
}

impl ClipTokenizer {
    /// Opens a tokenizer folder: `vocab.json` and `merges.txt`, or `tokenizer.json` where only that is there.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`], [`Error::Unsupported`], [`Error::Io`].
    pub fn open(folder: &Path) -> Result<Self> {
        let config = TokenizerConfig::read(folder)?;
        config.check_sides()?;
        let max_length = checked_length(&config)?;
        let token = |name: &str, default: &str| config.token(name).unwrap_or_else(|| default.to_string());
        let [bos, eos, unknown, pad] = [
            token("bos_token", "<|startoftext|>"),
            token("eos_token", "<|endoftext|>"),
            token("unk_token", "<|endoftext|>"),
            token("pad_token", "<|endoftext|>"),
        ];
        let json = folder.join("tokenizer.json");
        let model = if !folder.join("vocab.json").is_file() && json.is_file() {
            Model::Json(Box::new(super::t5::read_json_tokenizer(&json)?))
        } else {
            Model::Files(Box::new(Files::read(&config, [&bos, &eos, &unknown, &pad])?))
        };
        let id = |token: &str| {
            let found = match &model {
                Model::Files(files) => files.id_of_special(token),
                Model::Json(tokenizer) => tokenizer.token_to_id(token),
            };
            found.ok_or_else(|| Error::malformed(folder, format!("the vocabulary has no special token `{token}`")))
        };
        Ok(ClipTokenizer { bos: id(&bos)?, eos: id(&eos)?, pad: id(&pad)?, model, max_length })
    }

    /// `model_max_length`: 77 for the published encoders.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Begin, tokens, end, padding: `length` ids, of which the end is never cut.
    ///
    /// # Errors
    /// [`Error::Runtime`] if a `tokenizer.json` cannot take the text.
    pub fn encode(&self, text: &str, length: usize) -> Result<Encoded> {
        let mut ids = match &self.model {
            Model::Files(files) => files.ids(text)?,
            Model::Json(tokenizer) => super::t5::plain_ids(tokenizer, text)?,
        };
        let room = length.saturating_sub(2);
        let cut = (ids.len() > room).then(|| self.text_of(&ids.split_off(room)));
        let mut row = vec![self.bos];
        row.append(&mut ids);
        row.push(self.eos);
        row.resize(length, self.pad);
        Ok(Encoded { ids: row, cut })
    }

    fn text_of(&self, ids: &[u32]) -> String {
        match &self.model {
            Model::Files(files) => {
                let texts: HashMap<u32, &str> =
                    files.vocabulary.iter().map(|(text, &id)| (id, text.as_str())).collect();
                text_of(ids.iter().filter_map(|id| texts.get(id).copied()))
            }
            Model::Json(tokenizer) => tokenizer.decode(ids, false).unwrap_or_default(),
        }
    }
}

impl Files {
    fn read(config: &TokenizerConfig, special: [&str; 4]) -> Result<Self> {
        let (vocabulary_path, merges_path) = (config.folder().join("vocab.json"), config.folder().join("merges.txt"));
        let read = |path: &Path| {
            std::fs::read(path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    Error::Missing { path: path.into(), needed_for: "as a part of the CLIP tokenizer".into() }
                }
                _ => Error::io(path, e),
            })
        };
        let vocabulary: HashMap<String, u32> = serde_json::from_slice(&read(&vocabulary_path)?)
            .map_err(|e| Error::malformed(&vocabulary_path, format!("is no object of token ids: {e}")))?;
        let text = String::from_utf8(read(&merges_path)?)
            .map_err(|_| Error::malformed(&merges_path, "is not UTF-8 text; download it again"))?;
        let merges = Merges::parse(&text, MERGES, &merges_path)?;

        let mut tokens = config.added()?;
        for token in special {
            if !tokens.iter().any(|known| known.content == token) {
                tokens.push(Added::special(token));
            }
        }
        let mut added = Vec::with_capacity(tokens.len());
        for token in tokens.into_iter().filter(|token| !token.content.is_empty()) {
            let Some(id) = token.id.or_else(|| vocabulary.get(&token.content).copied()) else {
                let problem = format!("has no token `{}`, which tokenizer_config.json names", token.content);
                return Err(Error::malformed(&vocabulary_path, problem));
            };
            added.push((token, id));
        }
        added.sort_by_key(|(token, _)| std::cmp::Reverse(token.content.len()));
        let unknown = added.iter().find(|(token, _)| token.content == special[2]).map_or(0, |&(_, id)| id);
        let unknown = vocabulary.get(special[2]).copied().unwrap_or(unknown);
        Ok(Files { vocabulary, merges, added, unknown, words: regex(WORDS)?, control: regex(r"\p{C}")? })
    }

    fn id_of_special(&self, token: &str) -> Option<u32> {
        self.added.iter().find(|(added, _)| added.content == token).map(|&(_, id)| id)
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for piece in self.pieces(text) {
            match piece {
                Piece::Token(id) => ids.push(id),
                Piece::Text(text) => self.words_of(&text, &mut ids)?,
            }
        }
        Ok(ids)
    }

    /// Cuts the added tokens out of a text: leftmost first, of those that begin at one place the longest.
    fn pieces(&self, text: &str) -> Vec<Piece> {
        let mut parts: Vec<(Option<&(Added, u32)>, String)> = vec![(None, String::new())];
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(token) = self.added.iter().find(|(token, _)| rest.starts_with(&token.content)) {
                parts.push((Some(token), token.0.content.clone()));
                parts.push((None, String::new()));
                rest = &rest[token.0.content.len()..];
                continue;
            }
            if let Some((_, text)) = parts.last_mut() {
                text.push(c);
            }
            rest = &rest[c.len_utf8()..];
        }
        for i in (1..parts.len()).step_by(2) {
            let Some((token, _)) = parts[i].0 else { continue };
            if token.rstrip {
                parts[i + 1].1 = parts[i + 1].1.trim_start().to_string();
            }
            if token.lstrip {
                parts[i - 1].1 = parts[i - 1].1.trim_end().to_string();
            }
            let (left, right) = (parts[i - 1].1.chars().next_back(), parts[i + 1].1.chars().next());
            if token.single_word && left.is_some_and(|c| c != ' ') {
                parts[i - 1].1.push_str(&token.content);
                parts[i].0 = None;
                parts[i].1.clear();
            } else if token.single_word && right.is_some_and(|c| c != ' ') {
                parts[i + 1].1.insert_str(0, &token.content);
                parts[i].0 = None;
                parts[i].1.clear();
            }
        }
        let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
        parts.map(|(token, text)| token.map_or(Piece::Text(text), |&(_, id)| Piece::Token(id))).collect()
    }

    /// Cleans a text and appends the ids of its words.
    fn words_of(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let text = self.clean(text)?;
        for word in self.words.find_iter(&text).map(|found| found.as_str()) {
            if word == "<|startoftext|>" || word == "<|endoftext|>" {
                ids.push(self.id(word));
            } else {
                ids.extend(self.merges.split(word).into_iter().map(|symbol| self.id(symbol)));
            }
        }
        Ok(())
    }

    fn id(&self, symbol: &str) -> u32 {
        self.id_of_special(symbol).or_else(|| self.vocabulary.get(symbol).copied()).unwrap_or(self.unknown)
    }

    /// What `BasicTokenizer(strip_accents=False, do_split_on_punc=False)` makes of a text: control characters removed,
    /// Chinese characters apart, NFC, words in lower case with one space between.
    fn clean(&self, text: &str) -> Result<String> {
        let mut cleaned = String::with_capacity(text.len());
        let mut buffer = [0; 4];
        for c in text.chars() {
            if matches!(c, ' ' | '\t' | '\n' | '\r') {
                cleaned.push(' ');
            } else if c == char::REPLACEMENT_CHARACTER || self.control.is_match(c.encode_utf8(&mut buffer)) {
                continue;
            } else if is_chinese(c) {
                cleaned.extend([' ', c, ' ']);
            } else {
                cleaned.push(c);
            }
        }
        let mut normalized = NormalizedString::from(cleaned.as_str());
        NFC.normalize(&mut normalized).map_err(|e| Error::Runtime(format!("normalising a prompt: {e}")))?;
        let words: Vec<String> = normalized.get().split_whitespace().map(str::to_lowercase).collect();
        Ok(words.join(" "))
    }
}

enum Piece {
    Token(u32),
    Text(String),
}

fn regex(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|e| Error::Runtime(e.to_string()))
}

/// The blocks of Chinese characters that BERT sets apart.
fn is_chinese(c: char) -> bool {
    matches!(c as u32,
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F | 0x2B740..=0x2B81F
        | 0x2B820..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}
