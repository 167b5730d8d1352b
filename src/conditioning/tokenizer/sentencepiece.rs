//! `spiece.model`: the parts of sentencepiece's `ModelProto` that a tokenizer needs, read from the protobuf wire
//! format (varints, and fields with a length).

use std::path::Path;

use crate::error::{Error, Result};

/// `ModelProto.SentencePiece.Type`
const CONTROL: u64 = 3;
/// `ModelProto.SentencePiece.Type`
const USER_DEFINED: u64 = 4;
/// `TrainerSpec.ModelType`
const UNIGRAM: u64 = 1;

/// One piece of the vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    pub text: String,
    /// Logarithm of its probability.
    pub score: f32,
    kind: u64,
}

impl Piece {
    /// Whether the piece is found in a text as it stands there; control pieces are special tokens too.
    pub fn is_added(&self) -> bool {
        [CONTROL, USER_DEFINED].contains(&self.kind)
    }

    pub fn is_control(&self) -> bool {
        self.kind == CONTROL
    }
}

/// A sentencepiece model.
#[derive(Debug, Clone, PartialEq)]
pub struct SentencePiece {
    pub pieces: Vec<Piece>,
    pub unknown: usize,
    /// Replacements that normalise a text, as a double array; empty for none.
    pub charsmap: Vec<u8>,
}

impl SentencePiece {
    /// Reads a unigram model.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`], [`Error::Unsupported`] for another kind of model or byte fallback.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let malformed = || Error::malformed(path, "is no sentencepiece model; download it again");
        let unsupported = |found: String| Error::Unsupported {
            what: format!("the sentencepiece model {}", path.display()),
            found,
            supported: "unigram models without byte fallback, as T5 has".into(),
        };
        let mut model = SentencePiece { pieces: Vec::new(), unknown: 0, charsmap: Vec::new() };
        for field in fields(&bytes) {
            match field.ok_or_else(malformed)? {
                (1, Value::Bytes(piece)) => model.pieces.push(parse_piece(piece).ok_or_else(malformed)?),
                (2, Value::Bytes(trainer)) => {
                    for field in fields(trainer) {
                        match field.ok_or_else(malformed)? {
                            (3, Value::Number(kind)) if kind != UNIGRAM => {
                                return Err(unsupported(format!("model type {kind}")));
                            }
                            (35, Value::Number(1)) => return Err(unsupported("byte fallback".into())),
                            (40, Value::Number(id)) => model.unknown = id as usize,
                            _ => {}
                        }
                    }
                }
                (3, Value::Bytes(normalizer)) => {
                    for field in fields(normalizer) {
                        if let (2, Value::Bytes(charsmap)) = field.ok_or_else(malformed)? {
                            model.charsmap = charsmap.to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
        if model.unknown >= model.pieces.len() {
            return Err(malformed());
        }
        Ok(model)
    }
}

fn parse_piece(bytes: &[u8]) -> Option<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: 1 };
    for field in fields(bytes) {
        match field? {
            (1, Value::Bytes(text)) => piece.text = String::from_utf8(text.to_vec()).ok()?,
            (2, Value::Four(score)) => piece.score = f32::from_le_bytes(score),
            (3, Value::Number(kind)) => piece.kind = kind,
            _ => {}
        }
    }
    piece.score.is_finite().then_some(piece)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Four([u8; 4]),
    Eight,
}

/// The fields of a message by number; `None` once where it breaks off.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Option<(u64, Value<'_>)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = next_field(&mut bytes);
        if field.is_none() {
            bytes = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(bytes)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(bytes)?),
        1 => {
            take(bytes, 8)?;
            Value::Eight
        }
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Value::Bytes(take(bytes, length)?)
        }
        5 => Value::Four(take(bytes, 4)?.try_into().ok()?),
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<SentencePiece> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spiece.model");
        std::fs::write(&path, bytes).unwrap();
        SentencePiece::read(&path)
    }

    #[test]
    fn pieces_scores_kinds_and_specs_are_read() {
        let piece = [10, 11, 10, 3, 0xe2, 0x96, 0x81, 21, 0, 0, 0x20, 0xc0, 24];
        // The last byte of a piece is its kind; 11 bytes follow the tag and the length.
        let mut bytes = piece.to_vec();
        bytes[1] = 12;
        bytes.push(4);
        bytes.extend([18, 3, 0xc0, 2, 0]); // trainer_spec { unk_id: 0 }
        bytes.extend([26, 4, 18, 2, 7, 8]); // normalizer_spec { precompiled_charsmap: [7, 8] }
        let model = read(&bytes).unwrap();
        assert_eq!(model.pieces, [Piece { text: "▁".into(), score: -2.5, kind: 4 }]);
        assert!(model.pieces[0].is_added() && !model.pieces[0].is_control());
        assert_eq!((model.unknown, model.charsmap), (0, vec![7, 8]));
    }

    #[test]
    fn broken_and_foreign_models_are_refused() {
        assert!(read(b"").unwrap_err().to_string().contains("no sentencepiece model"));
        assert!(read(b"not a model").unwrap_err().to_string().contains("no sentencepiece model"));
        assert!(read(&[10, 200, 1, 0]).unwrap_err().to_string().contains("no sentencepiece model"));
        assert!(read(&[18, 2, 24, 2]).unwrap_err().to_string().contains("model type 2"));
        assert!(read(&[18, 3, 0x98, 2, 1]).unwrap_err().to_string().contains("byte fallback"));
    }
}
