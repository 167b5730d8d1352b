//! The tokenizer of the T5 encoders: `T5TokenizerFast` of transformers.

use std::path::Path;

use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Precompiled, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, NormalizerWrapper, Tokenizer};

use super::Encoded;
use super::config::{Added, TokenizerConfig};
use super::sentencepiece::SentencePiece;
use crate::error::{Error, Result};

/// Stands for a space.
const META: char = '▁';
/// Sentinel tokens of a T5 whose configuration does not count them.
const EXTRA_IDS: u64 = 100;

/// Prompts to the ids of a T5 encoder.
#[derive(Debug)]
pub struct T5Tokenizer {
    tokenizer: Box<Tokenizer>,
    eos: u32,
    pad: u32,
}

impl T5Tokenizer {
    /// Opens a tokenizer folder. As transformers does, it takes `tokenizer.json`, but `spiece.model` where that is
    /// there and `tokenizer_config.json` sets `add_prefix_space`; and whichever of the two is there alone.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`], [`Error::Unsupported`], [`Error::Io`].
    pub fn open(folder: &Path) -> Result<Self> {
        let config = TokenizerConfig::read(folder)?;
        config.check_sides()?;
        let (json, pieces) = (folder.join("tokenizer.json"), folder.join("spiece.model"));
        let mut tokenizer = match (json.is_file(), pieces.is_file()) {
            (true, true) if config.get("add_prefix_space").is_none() => read_json_tokenizer(&json)?,
            (_, true) => from_sentencepiece(&pieces, &config)?,
            (true, false) => read_json_tokenizer(&json)?,
            (false, false) => {
                let needed_for = "as the T5 tokenizer (or spiece.model); download the whole pipeline".into();
                return Err(Error::Missing { path: json, needed_for });
            }
        };
        let token = |name: &str, default: &str| config.token(name).unwrap_or_else(|| default.to_string());
        let (eos, pad, unknown) =
            (token("eos_token", "</s>"), token("pad_token", "<pad>"), token("unk_token", "<unk>"));
        let mut added = config.added()?;
        for token in [&eos, &unknown, &pad] {
            if !added.iter().any(|known| known.content == **token) {
                added.push(Added::special(token.as_str()));
            }
        }
        add(&mut tokenizer, added, folder)?;
        let id = |token: &str| {
            let missing = || Error::malformed(folder, format!("the vocabulary has no special token `{token}`"));
            tokenizer.token_to_id(token).ok_or_else(missing)
        };
        Ok(T5Tokenizer { eos: id(&eos)?, pad: id(&pad)?, tokenizer: Box::new(tokenizer) })
    }

    /// Tokens, end, padding: `length` ids, of which the end is never cut.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the tokenizer cannot take the text.
    pub fn encode(&self, text: &str, length: usize) -> Result<Encoded> {
        let mut ids = plain_ids(&self.tokenizer, text)?;
        let room = length.saturating_sub(1);
        let cut = (ids.len() > room).then(|| self.tokenizer.decode(&ids.split_off(room), false).unwrap_or_default());
        ids.push(self.eos);
        ids.resize(length, self.pad);
        Ok(Encoded { ids, cut })
    }
}

/// A `tokenizer.json`, without the padding and truncation that may be set there.
pub(super) fn read_json_tokenizer(path: &Path) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let mut tokenizer: Tokenizer = Tokenizer::from_bytes(&bytes)
        .map_err(|e| Error::malformed(path, format!("is no tokenizer that can be read: {e}")))?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| Error::malformed(path, e.to_string()))?;
    Ok(tokenizer)
}

/// The ids of a text without begin, end or padding.
pub(super) fn plain_ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode(text, false).map_err(|e| Error::Runtime(format!("tokenizing a prompt: {e}")))?;
    Ok(encoding.get_ids().to_vec())
}

/// What the converter of transformers (`T5Converter`) makes of a sentencepiece model.
fn from_sentencepiece(path: &Path, config: &TokenizerConfig) -> Result<Tokenizer> {
    let model = SentencePiece::read(path)?;
    let malformed = |e: tokenizers::Error| Error::malformed(path, e.to_string());
    let extra = config.get("extra_ids").and_then(serde_json::Value::as_u64).unwrap_or(EXTRA_IDS);
    let pieces = model.pieces.iter().map(|piece| (piece.text.clone(), f64::from(piece.score)));
    let vocabulary = pieces.chain((0..extra).rev().map(|i| (format!("<extra_id_{i}>"), 0.0))).collect();
    let unigram = Unigram::from(vocabulary, Some(model.unknown), false).map_err(malformed)?;
    let mut tokenizer = Tokenizer::new(unigram);

    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if !model.charsmap.is_empty() {
        let charsmap = Precompiled::from(&model.charsmap)
            .map_err(|e| Error::malformed(path, format!("its table of replacements is broken: {e}")))?;
        normalizers.push(charsmap.into());
    }
    normalizers.push(Strip::new(false, true).into());
    let spaces = Replace::new(ReplacePattern::Regex(" {2,}".into()), META).map_err(malformed)?;
    normalizers.push(spaces.into());
    tokenizer.with_normalizer(Some(Sequence::new(normalizers))).map_err(malformed)?;

    let flag = |key: &str| config.get(key).and_then(serde_json::Value::as_bool);
    let prepend = match (flag("add_prefix_space").unwrap_or(true), flag("legacy").unwrap_or(true)) {
        (false, _) => PrependScheme::Never,
        (true, true) => PrependScheme::Always,
        (true, false) => PrependScheme::First,
    };
    tokenizer.with_pre_tokenizer(Some(Metaspace::new(META, prepend, true)));
    tokenizer.with_decoder(Some(Metaspace::new(META, prepend, true)));

    let added = model.pieces.iter().filter(|piece| piece.is_added());
    let added = added.map(|piece| Added { special: piece.is_control(), ..Added::special(piece.text.as_str()) });
    add(&mut tokenizer, added.collect(), path)?;
    let extra =
        (0..extra).rev().map(|i| Added { lstrip: true, rstrip: true, ..Added::special(format!("<extra_id_{i}>")) });
    if config.get("added_tokens_decoder").is_none() {
        add(&mut tokenizer, extra.collect(), path)?;
    }
    Ok(tokenizer)
}

fn add(tokenizer: &mut Tokenizer, tokens: Vec<Added>, path: &Path) -> Result<()> {
    for token in tokens {
        let added = AddedToken::from(token.content, token.special)
            .lstrip(token.lstrip)
            .rstrip(token.rstrip)
            .single_word(token.single_word)
            .normalized(token.normalized);
        let added = match token.special {
            true => tokenizer.add_special_tokens([added]),
            false => tokenizer.add_tokens([added]),
        };
        added.map_err(|e| Error::malformed(path, e.to_string()))?;
    }
    Ok(())
}
