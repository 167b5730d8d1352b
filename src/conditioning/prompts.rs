//! Files of prompts: plain text, tab-separated values as in Conceptual Captions, or JSON lines.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::units::hex;

/// The longest prompt, in bytes. Encoders read the first 77 or 512 tokens of it.
const LONGEST: usize = 1 << 16;
/// Keys under which a JSON line may hold its prompt; the first that is there counts.
const KEYS: [&str; 3] = ["prompt", "caption", "text"];

/// The prompts of a file, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompts {
    pub texts: Vec<String>,
    /// SHA-256 of the file's bytes.
    pub sha256: String,
}

impl Prompts {
    /// Reads a file. Its name decides how:
    ///
    /// - `.tsv`: a header with a column `caption`, or no header and `caption TAB url` in every line;
    /// - `.jsonl`, `.ndjson`: in every line a string, or an object with a string under `prompt`, `caption` or `text`;
    /// - anything else: one prompt per line.
    ///
    /// Blank lines are skipped, and white space around a prompt is removed.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Io`], [`Error::Unsupported`] for tables and documents of other kinds,
    /// [`Error::Malformed`] with the line that is wrong, or if there is no prompt.
    pub fn read(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        if ["json", "csv", "parquet", "safetensors", "xlsx"].contains(&extension.as_str()) {
            return Err(Error::Unsupported {
                what: format!("the prompts file {}", path.display()),
                found: format!(".{extension}"),
                supported: "plain text with one prompt per line, .tsv with a column `caption`, .jsonl".into(),
            });
        }
        let bytes = std::fs::read(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::Missing { path: path.into(), needed_for: "as the prompts".into() },
            _ => Error::io(path, e),
        })?;
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            Error::malformed(path, format!("line {line} is not UTF-8; save the file as UTF-8 text"))
        })?;
        let lines = Lines { path, text: text.strip_prefix('\u{feff}').unwrap_or(text) };
        let texts = match extension.as_str() {
            "tsv" => lines.tab_separated()?,
            "jsonl" | "ndjson" => lines.json()?,
            _ => lines.plain()?,
        };
        if texts.is_empty() {
            return Err(Error::malformed(path, "holds no prompts: give at least one line"));
        }
        Ok(Prompts { texts, sha256: hex(&Sha256::digest(&bytes)) })
    }

    /// `samples` of the prompts, in the order of the file: those whose SHA-256 of the text `SEED:POSITION` (decimal,
    /// positions counted from 0) is smallest. The choice is equal everywhere, no prompt comes twice, and a larger
    /// choice with the same seed holds the smaller one.
    ///
    /// # Errors
    /// [`Error::Usage`] for none, or for more than there are.
    pub fn choose(&self, samples: usize, seed: u64) -> Result<Vec<String>> {
        let there = self.texts.len();
        if samples == 0 {
            return Err(Error::Usage("--num-samples is 0, expected at least 1".into()));
        }
        if samples > there {
            return Err(Error::Usage(format!(
                "--num-samples asks for {samples} prompts and the file holds {there}; ask for fewer or leave it out"
            )));
        }
        let mut order: Vec<_> = (0..there).map(|i| (Sha256::digest(format!("{seed}:{i}")), i)).collect();
        order.sort();
        let mut chosen: Vec<usize> = order.into_iter().take(samples).map(|(_, index)| index).collect();
        chosen.sort_unstable();
        Ok(chosen.into_iter().map(|index| self.texts[index].clone()).collect())
    }
}

/// The text of a prompts file.
struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> Lines<'a> {
    /// Lines that are not blank, with their numbers from 1.
    fn numbered(&self) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
        let lines = self.text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        lines.enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, line)| !line.trim().is_empty())
    }

    fn malformed(&self, line: usize, problem: impl std::fmt::Display) -> Error {
        Error::malformed(self.path, format!("line {line} {problem}"))
    }

    /// A prompt without the white space around it.
    fn prompt(&self, line: usize, text: &str) -> Result<String> {
        let text = text.trim();
        if text.is_empty() {
            return Err(self.malformed(line, "holds an empty prompt; remove the line or write one"));
        }
        if text.len() > LONGEST {
            let bytes = text.len();
            return Err(self.malformed(line, format!("is a prompt of {bytes} bytes, at most {LONGEST} are taken")));
        }
        Ok(text.to_string())
    }

    fn plain(&self) -> Result<Vec<String>> {
        self.numbered().map(|(number, line)| self.prompt(number, line)).collect()
    }

    fn tab_separated(&self) -> Result<Vec<String>> {
        let mut lines = self.numbered().peekable();
        let Some(&(first, header)) = lines.peek() else { return Ok(Vec::new()) };
        let column = match header.split('\t').position(|name| name.trim().eq_ignore_ascii_case("caption")) {
            Some(column) => {
                lines.next();
                column
            }
            None if is_caption_and_url(header) => 0,
            None => {
                return Err(self.malformed(
                    first,
                    "has no column `caption`; expected a header with one, or lines of caption, tab and URL as in \
                     Conceptual Captions",
                ));
            }
        };
        let caption = |(number, line): (usize, &str)| {
            let fields = line.split('\t').count();
            match line.split('\t').nth(column) {
                Some(caption) => self.prompt(number, caption),
                None => {
                    let wanted = column + 1;
                    Err(self.malformed(number, format!("has {fields} columns, and `caption` is column {wanted}")))
                }
            }
        };
        lines.map(caption).collect()
    }

    fn json(&self) -> Result<Vec<String>> {
        let prompt = |(number, line): (usize, &str)| {
            let value: Value = serde_json::from_str(line)
                .map_err(|e| self.malformed(number, format!("is not valid JSON (column {}): {e}", e.column())))?;
            let text = match &value {
                Value::String(text) => Some(text),
                Value::Object(object) => match KEYS.iter().find_map(|&key| object.get(key)) {
                    Some(Value::String(text)) => Some(text),
                    _ => None,
                },
                _ => None,
            };
            match text {
                Some(text) => self.prompt(number, text),
                None => Err(self.malformed(
                    number,
                    "holds no prompt; expected a string, or an object with a string under `prompt`, `caption` or `text`",
                )),
            }
        };
        self.numbered().map(prompt).collect()
    }
}

/// Whether a line without a header is one of Conceptual Captions.
fn is_caption_and_url(line: &str) -> bool {
    line.split_once('\t').is_some_and(|(_, url)| {
        let url = url.trim_start();
        url.starts_with("http://") || url.starts_with("https://")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: impl AsRef<[u8]>) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Prompts::read(&path).map(|prompts| prompts.texts)
    }

    #[test]
    fn every_kind_of_file_gives_its_prompts_in_order() {
        let expected = ["a cat", "two dogs, one red"];
        let files = [
            ("p.txt", "a cat\n\n  two dogs, one red \n"),
            ("p", "\u{feff}a cat\r\n\r\ntwo dogs, one red"),
            ("p.tsv", "url\tCaption\nhttp://x\ta cat\nhttp://y\ttwo dogs, one red\n"),
            ("p.TSV", "a cat\thttps://x\ntwo dogs, one red\thttp://y\n"),
            ("p.jsonl", "\"a cat\"\n{\"id\": 3, \"caption\": \"two dogs, one red\"}\n"),
            ("p.ndjson", "{\"prompt\": \"a cat\", \"text\": \"other\"}\n{\"text\": \"two dogs, one red\"}\n"),
        ];
        for (name, content) in files {
            assert_eq!(read(name, content).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn faults_name_the_line() {
        let files: [(&str, &[u8], &str); 11] = [
            ("p.txt", b"", "no prompts"),
            ("p.txt", b" \n\n", "no prompts"),
            ("p.txt", b"a\n\nb\xffc\n", "line 3 is not UTF-8"),
            ("p.tsv", b"id\turl\n1\thttp://x\n", "line 1 has no column `caption`"),
            ("p.tsv", b"url\tcaption\nx\ta cat\nlonely\n", "line 3 has 1 columns, and `caption` is column 2"),
            ("p.tsv", b"url\tcaption\nx\t \n", "line 2 holds an empty prompt"),
            ("p.jsonl", b"\"a\"\n{\"prompt\": \n", "line 2 is not valid JSON"),
            ("p.jsonl", b"{\"prompt\": 3}", "line 1 holds no prompt"),
            ("p.jsonl", b"{\"title\": \"a\"}", "line 1 holds no prompt"),
            ("p.jsonl", b"[\"a\"]", "line 1 holds no prompt"),
            ("p.json", b"[\"a\"]", "found .json"),
        ];
        for (name, content, part) in files {
            let error = read(name, content).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn samples_are_distinct_ordered_nested_and_follow_the_seed() {
        let texts: Vec<String> = (0..50).map(|i| format!("{i:02}")).collect();
        let prompts = Prompts { texts: texts.clone(), sha256: String::new() };
        let chosen = prompts.choose(20, 7).unwrap();
        assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]), "{chosen:?}");
        let fewer = prompts.choose(5, 7).unwrap();
        assert!(fewer.iter().all(|text| chosen.contains(text)));
        assert_ne!(chosen, prompts.choose(20, 8).unwrap());
        assert_eq!(prompts.choose(50, 3).unwrap(), texts);
        for (samples, part) in [(0, "at least 1"), (51, "the file holds 50")] {
            let error = prompts.choose(samples, 0).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn every_prompt_is_chosen_about_equally_often() {
        let prompts = Prompts { texts: (0..10).map(|i| i.to_string()).collect(), sha256: String::new() };
        let mut counts = [0; 10];
        for seed in 0..2000 {
            prompts.choose(3, seed).unwrap().iter().for_each(|text| counts[text.parse::<usize>().unwrap()] += 1);
        }
        // Binomial with mean 600 and standard deviation 20.5.
        assert!(counts.iter().all(|count| (500..700).contains(count)), "{counts:?}");
    }
}
