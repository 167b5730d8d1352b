//! PTX text to tokens (PTX ISA 4.1 to 4.5).

use crate::module::ParseError;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind<'a> {
    /// A name, opcode, directive or special register, dots included.
    Word(&'a str),
    Integer(u64),
    /// Bits of an f32.
    Single(u32),
    /// Bits of an f64; also a decimal number with a point, until its use decides.
    Double(u64),
    Text(&'a str),
    Mark(u8),
    End,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub kind: Kind<'a>,
    pub line: u32,
    /// Where the token starts and ends in the text.
    pub start: usize,
    pub end: usize,
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

fn continues_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.')
}

/// All tokens of `text`, the last one `End`.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::with_capacity(text.len() / 4);
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let start = at;
        let kind = match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
                continue;
            }
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let length = text[at + 2..].find("*/").ok_or_else(|| ParseError::new(line, "unclosed comment"))? + 2;
                line += text[at..at + length].matches('\n').count() as u32;
                at += length + 2;
                continue;
            }
            b'"' => {
                let length = text[at + 1..].find('"').ok_or_else(|| ParseError::new(line, "unclosed string"))?;
                at += length + 2;
                Kind::Text(&text[start + 1..at - 1])
            }
            b if b.is_ascii_digit() => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'.') {
                    at += 1;
                }
                number(&text[start..at])
                    .ok_or_else(|| ParseError::new(line, format!("`{}` is no number", &text[start..at])))?
            }
            b if begins_word(b) => {
                at += 1;
                while at < bytes.len() {
                    let qualifier = bytes[at] == b':'
                        && bytes.get(at + 1) == Some(&b':')
                        && bytes.get(at + 2).is_some_and(u8::is_ascii_alphanumeric);
                    // `.reg.b32` is two directives; an opcode keeps its dots.
                    let next_directive = b == b'.' && bytes[at] == b'.';
                    if qualifier {
                        at += 2;
                    } else if next_directive || !continues_word(bytes[at]) {
                        break;
                    }
                    at += 1;
                }
                Kind::Word(&text[start..at])
            }
            mark if mark.is_ascii_punctuation() => {
                at += 1;
                Kind::Mark(mark)
            }
            _ => return Err(ParseError::new(line, "unexpected character")),
        };
        tokens.push(Token { kind, line, start, end: at });
    }
    tokens.push(Token { kind: Kind::End, line, start: at, end: at });
    Ok(tokens)
}

fn number(text: &str) -> Option<Kind<'static>> {
    let lower = text.to_ascii_lowercase();
    if let Some(bits) = lower.strip_prefix("0f") {
        return (bits.len() == 8).then(|| u32::from_str_radix(bits, 16).ok().map(Kind::Single)).flatten();
    }
    if let Some(bits) = lower.strip_prefix("0d") {
        return (bits.len() == 16).then(|| u64::from_str_radix(bits, 16).ok().map(Kind::Double)).flatten();
    }
    if lower.contains('.') {
        return lower.parse().ok().map(|value: f64| Kind::Double(value.to_bits()));
    }
    let digits = lower.strip_suffix('u').unwrap_or(&lower);
    let value = if let Some(hexadecimal) = digits.strip_prefix("0x") {
        u64::from_str_radix(hexadecimal, 16)
    } else if let Some(binary) = digits.strip_prefix("0b") {
        u64::from_str_radix(binary, 2)
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(&digits[1..], 8)
    } else {
        digits.parse()
    };
    value.ok().map(Kind::Integer)
}
