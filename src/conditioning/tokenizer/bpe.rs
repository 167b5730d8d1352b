//! Byte-pair encoding of one word, over the byte alphabet of GPT-2 and CLIP, with `</w>` at its end.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};

/// What the last symbol of a word ends with.
pub const END_OF_WORD: &str = "</w>";

/// The merges of a vocabulary.
#[derive(Debug)]
pub struct Merges {
    /// Texts of the symbols; 0..256 are the bytes, 256..512 the bytes at the end of a word.
    symbols: Vec<String>,
    /// Pair of symbols to its rank and the symbol that it becomes.
    ranks: HashMap<(u32, u32), (usize, u32)>,
}

impl Merges {
    /// The first `limit` pairs after the first line of a `merges.txt`. A pair that stands there twice has the later
    /// rank, as in transformers.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a line that is no pair.
    pub fn parse(text: &str, limit: usize, path: &Path) -> Result<Self> {
        let mut symbols: Vec<String> = (0..=255u8).map(|byte| char_of(byte).to_string()).collect();
        symbols.extend((0..=255u8).map(|byte| format!("{}{END_OF_WORD}", char_of(byte))));
        let mut places: HashMap<String, u32> = symbols.iter().cloned().zip(0..).collect();
        let mut place = |symbol: String| {
            *places.entry(symbol).or_insert_with_key(|symbol| {
                symbols.push(symbol.clone());
                symbols.len() as u32 - 1
            })
        };
        let mut ranks = HashMap::new();
        for (rank, line) in text.trim().lines().skip(1).take(limit).enumerate() {
            let mut parts = line.split_whitespace();
            let (Some(left), Some(right), None) = (parts.next(), parts.next(), parts.next()) else {
                let problem = format!("line {} is `{line}`, expected two symbols with a space between", rank + 2);
                return Err(Error::malformed(path, problem));
            };
            let merged = place(format!("{left}{right}"));
            ranks.insert((place(left.into()), place(right.into())), (rank, merged));
        }
        Ok(Merges { symbols, ranks })
    }

    /// The symbols that a word becomes.
    pub fn split(&self, word: &str) -> Vec<&str> {
        let mut symbols: Vec<u32> = word.bytes().map(u32::from).collect();
        if let Some(last) = symbols.last_mut() {
            *last += 256;
        }
        loop {
            let ranked =
                |pair: &[u32]| self.ranks.get(&(pair[0], pair[1])).map(|&(rank, into)| (rank, into, pair[0], pair[1]));
            let Some((_, into, left, right)) = symbols.windows(2).filter_map(ranked).min() else { break };
            let mut merged = Vec::with_capacity(symbols.len());
            let mut i = 0;
            while i < symbols.len() {
                if symbols[i] == left && symbols.get(i + 1) == Some(&right) {
                    merged.push(into);
                    i += 2;
                } else {
                    merged.push(symbols[i]);
                    i += 1;
                }
            }
            symbols = merged;
        }
        symbols.into_iter().map(|symbol| self.symbols[symbol as usize].as_str()).collect()
    }
}

/// The printable character that stands for a byte.
pub fn char_of(byte: u8) -> char {
    let kept = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if kept(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !kept(other)).count() as u32;
    char::from_u32(256 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The text that symbols stand for; spaces where words end.
pub fn text_of<'a>(symbols: impl Iterator<Item = &'a str>) -> String {
    let bytes: HashMap<char, u8> = (0..=255).map(|byte| (char_of(byte), byte)).collect();
    let joined: String = symbols.collect();
    let bytes: Vec<u8> = joined.chars().filter_map(|c| bytes.get(&c).copied()).collect();
    String::from_utf8_lossy(&bytes).replace(END_OF_WORD, " ").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merges(text: &str) -> Merges {
        Merges::parse(text, usize::MAX, Path::new("merges.txt")).unwrap()
    }

    #[test]
    fn the_earliest_merge_goes_first_everywhere_at_once() {
        let merges = merges("#version\na b\nab ab\nb a\nab c</w>\n");
        assert_eq!(merges.split("ababab"), ["abab", "a", "b</w>"]);
        assert_eq!(merges.split("abc"), ["abc</w>"]);
        assert_eq!(merges.split("bab"), ["ba", "b</w>"]);
        assert_eq!(merges.split("x"), ["x</w>"]);
    }

    #[test]
    fn bytes_have_printable_characters_of_their_own() {
        assert_eq!(merges("#\n").split("é 1"), ["Ã", "©", "Ġ", "1</w>"]);
        let all: std::collections::HashSet<char> = (0..=255).map(char_of).collect();
        assert_eq!(all.len(), 256);
        assert_eq!(text_of(["Ã", "©</w>", "1</w>"].into_iter()), "é 1");
    }

    #[test]
    fn a_line_that_is_no_pair_is_named() {
        let error = Merges::parse("#\na b\na b c\n", 10, Path::new("merges.txt")).unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
    }
}
