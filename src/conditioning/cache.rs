//! Embeddings that were made before, by content.
//!
//! ```text
//! CACHE/KEY.safetensors     one text: prompt_embeds [1, tokens, width], pooled_prompt_embeds [1, pooled]
//! CACHE/weights/PATH.json   SHA-256 of a weights file, with the size and times it had when it was read
//! ```
//!
//! `KEY` is the SHA-256 of everything that decides the embeddings: the bytes of every tokenizer file, configuration
//! and weights file, the number of tokens, the layers skipped, the text, and [`VERSION`]. Reading gigabytes of weights
//! anew for every run would be too slow, so their SHA-256 is kept, and believed as long as the file's path, size,
//! number, time of change and time of status change stay.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::encode::{Row, RowShape, Text, TextEncoders};
use crate::checkpoint::{Checkpoint, SafetensorsFile, TensorOut, write_atomic, write_safetensors};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::units::hex;

/// Of what embeddings mean; raised whenever the same files give other values.
pub const VERSION: &str = "obsdiff.embeddings/1";
/// The environment variable that names the folder.
pub const VARIABLE: &str = "OBSDIFF_CACHE";

/// Every file that can be part of a tokenizer.
const TOKENIZER_FILES: [&str; 7] = [
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
];
/// Bytes read at once.
const CHUNK: usize = 1 << 22;
/// Metadata key of an entry's own SHA-256.
const CHECKSUM: &str = "sha256";
/// The tensors of an entry.
const NAMES: [&str; 2] = ["prompt_embeds", "pooled_prompt_embeds"];

/// A folder of embeddings.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// `$OBSDIFF_CACHE`, `$XDG_CACHE_HOME/obsdiff` or `~/.cache/obsdiff`; `None` without a home.
    pub fn default_folder() -> Option<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        variable(VARIABLE)
            .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("obsdiff")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/obsdiff")))
    }

    /// Opens or begins a cache.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        let weights = folder.join("weights");
        fs::create_dir_all(&weights).map_err(|e| Error::io(&weights, e))?;
        Ok(Cache { folder: folder.into() })
    }

    /// The rows of `texts`, and how many of them had to be encoded. `encode` is called once with the texts that are
    /// not here, unless there are none; what it gives is kept at once.
    ///
    /// # Errors
    /// Those of `encode`. An entry that cannot be trusted is made anew, and one that cannot be written is told.
    pub fn rows(
        &self,
        identity: &str,
        shape: RowShape,
        texts: &[Text],
        encode: impl FnOnce(&[Text], &mut dyn FnMut(usize, Row) -> Result<()>) -> Result<()>,
    ) -> Result<(Vec<Row>, usize)> {
        let keys: Vec<String> = texts.iter().map(|text| key(identity, text)).collect();
        let mut rows: Vec<Option<Row>> = keys.iter().map(|key| self.read(key, shape)).collect();
        let missing: Vec<usize> = (0..texts.len()).filter(|&i| rows[i].is_none()).collect();
        if !missing.is_empty() {
            let absent: Vec<Text> = missing.iter().map(|&i| texts[i].clone()).collect();
            let mut writes = true;
            encode(&absent, &mut |index, row| {
                let place = missing[index];
                if writes && let Err(error) = self.write(&keys[place], shape, &row) {
                    tracing::warn!("embeddings are not kept for later runs: {error}");
                    writes = false;
                }
                rows[place] = Some(row);
                Ok(())
            })?;
        }
        let lost = || Error::Runtime("the text encoders left a prompt out".into());
        let rows = rows.into_iter().map(|row| row.ok_or_else(lost)).collect::<Result<_>>()?;
        Ok((rows, missing.len()))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.safetensors"))
    }

    /// An entry, if there is one that can be trusted.
    fn read(&self, key: &str, shape: RowShape) -> Option<Row> {
        let path = self.path(key);
        if !path.is_file() {
            return None;
        }
        match read_entry(&path, shape) {
            Ok(row) => Some(row),
            Err(error) => {
                tracing::warn!("a kept embedding is damaged and is made anew: {error}");
                None
            }
        }
    }

    fn write(&self, key: &str, shape: RowShape, row: &Row) -> Result<()> {
        let shapes = shapes(shape);
        let tensors =
            [TensorOut::f32(NAMES[0], &shapes[0], &row.embeds), TensorOut::f32(NAMES[1], &shapes[1], &row.pooled)];
        let checksum = checksum(tensors.iter().map(|tensor| tensor.bytes.as_ref()));
        let metadata = [("format", "pt"), ("obsdiff", VERSION), (CHECKSUM, &checksum)];
        let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string()));
        write_safetensors(self.path(key), &tensors, &metadata)
    }

    /// What the encoders are: a hash of everything that decides their embeddings but the text.
    ///
    /// # Errors
    /// [`Error::Io`], those of opening the weights, and those of `progress`.
    pub fn identity(&self, encoders: &TextEncoders, progress: &dyn Progress) -> Result<String> {
        let mut parts: BTreeMap<String, String> = BTreeMap::new();
        let shape = encoders.shape();
        parts.insert("version".into(), VERSION.into());
        parts.insert("shape".into(), format!("{shape:?}, {} of T5", encoders.max_sequence_length()));
        let mut weights = Vec::new();
        for (i, (tokenizer, encoder)) in encoders.folders().into_iter().enumerate() {
            let small = TOKENIZER_FILES.iter().map(|name| (format!("tokenizer {i}/{name}"), tokenizer.join(name)));
            for (name, path) in small.chain([(format!("encoder {i}/config.json"), encoder.join("config.json"))]) {
                if path.is_file() {
                    let bytes = fs::read(&path).map_err(|e| Error::io(&path, e))?;
                    parts.insert(name, hex(&Sha256::digest(&bytes)));
                }
            }
            for (shard, file) in Checkpoint::open_named(encoder, "model.safetensors")?.shards().iter().enumerate() {
                weights.push((format!("encoder {i}/weights {shard}"), file.path().to_path_buf()));
            }
        }
        parts.extend(self.weights(weights, progress)?);
        let mut hash = Sha256::new();
        for (name, value) in &parts {
            hash.update(format!("{name}={value}\n"));
        }
        Ok(hex(&hash.finalize()))
    }

    /// The SHA-256 of weights files, read only where that of an earlier run is not known to hold.
    fn weights(&self, files: Vec<(String, PathBuf)>, progress: &dyn Progress) -> Result<Vec<(String, String)>> {
        let mut hashes = Vec::with_capacity(files.len());
        let mut unknown = Vec::new();
        for (name, path) in files {
            let stamp = Stamp::of(&path)?;
            match self.remembered(&stamp) {
                Some(sha256) => hashes.push((name, sha256)),
                None => unknown.push((name, path, stamp)),
            }
        }
        let chunks: u64 = unknown.iter().map(|(_, _, stamp)| stamp.bytes.div_ceil(CHUNK as u64)).sum();
        if chunks > 0 {
            progress.begin("hash encoders", chunks);
        }
        for (name, path, stamp) in unknown {
            let sha256 = hash_file(&path, progress)?;
            let place = self.stamp_path(&stamp);
            let record = Remembered { stamp, sha256: sha256.clone() };
            let text = format!("{:#}\n", serde_json::json!(record));
            if let Err(error) = write_atomic(&place, text.as_bytes()) {
                tracing::warn!("the hash of {} is not kept for later runs: {error}", path.display());
            }
            hashes.push((name, sha256));
        }
        Ok(hashes)
    }

    fn stamp_path(&self, stamp: &Stamp) -> PathBuf {
        let name = hex(&Sha256::digest(stamp.path.as_os_str().as_encoded_bytes()));
        self.folder.join("weights").join(format!("{name}.json"))
    }

    fn remembered(&self, stamp: &Stamp) -> Option<String> {
        let bytes = fs::read(self.stamp_path(stamp)).ok()?;
        let record: Remembered = serde_json::from_slice(&bytes).ok()?;
        (record.stamp == *stamp).then_some(record.sha256)
    }
}

/// A weights file whose content is known.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    stamp: Stamp,
    sha256: String,
}

/// What changes when a file changes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    /// Number of the file and nanoseconds of its last status change, which no program can set; 0 where there is none.
    inode: u64,
    changed: u64,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self> {
        let path = path.canonicalize().map_err(|e| Error::io(path, e))?;
        let metadata = fs::metadata(&path).map_err(|e| Error::io(&path, e))?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |time| time.as_nanos() as u64);
        #[cfg(unix)]
        let (inode, changed) = {
            use std::os::unix::fs::MetadataExt;
            (
                metadata.ino(),
                (metadata.ctime() as u64).wrapping_mul(1_000_000_000).wrapping_add(metadata.ctime_nsec() as u64),
            )
        };
        #[cfg(not(unix))]
        let (inode, changed) = (0, 0);
        Ok(Stamp { path, bytes: metadata.len(), modified, inode, changed })
    }
}

fn hash_file(path: &Path, progress: &dyn Progress) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut hash = Sha256::new();
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk).map_err(|e| Error::io(path, e))?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&chunk);
        progress.advance()?;
    }
}

fn key(identity: &str, text: &Text) -> String {
    hex(&Sha256::digest(format!("{identity}\n{}\n{}", text.clip_skip, text.text)))
}

fn shapes(shape: RowShape) -> [Vec<usize>; 2] {
    [vec![1, shape.tokens, shape.width], vec![1, shape.pooled]]
}

fn checksum<'a>(tensors: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    tensors.for_each(|bytes| hash.update(bytes));
    hex(&hash.finalize())
}

fn read_entry(path: &Path, shape: RowShape) -> Result<Row> {
    let file = SafetensorsFile::open(path)?;
    for (name, expected) in NAMES.iter().zip(shapes(shape)) {
        let found = &file.require(name)?.shape;
        if *found != expected {
            let expected = format!("{expected:?}");
            return Err(Error::Shape { path: path.into(), tensor: (*name).into(), expected, found: found.clone() });
        }
    }
    let found = checksum([file.bytes(NAMES[0])?, file.bytes(NAMES[1])?].into_iter());
    let metadata = |key: &str| file.header().metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    if metadata("obsdiff").map(String::as_str) != Some(VERSION) || metadata(CHECKSUM) != Some(&found) {
        return Err(Error::malformed(path, "its content is not what was written"));
    }
    Ok(Row { embeds: file.to_f32(NAMES[0])?, pooled: file.to_f32(NAMES[1])? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: RowShape = RowShape { tokens: 2, width: 3, pooled: 2 };

    fn text(text: &str, clip_skip: usize) -> Text {
        Text { text: text.into(), clip_skip }
    }

    /// Rows of `texts`, encoded as their length and skip, and the texts that were encoded.
    fn fetch(cache: &Cache, identity: &str, texts: &[Text]) -> (Vec<Row>, Vec<String>) {
        let mut encoded = Vec::new();
        let (rows, count) = cache
            .rows(identity, SHAPE, texts, |missing, keep| {
                missing.iter().enumerate().try_for_each(|(i, text)| {
                    encoded.push(text.text.clone());
                    let value = text.text.len() as f32;
                    keep(i, Row { embeds: vec![value; 6], pooled: vec![text.clip_skip as f32; 2] })
                })
            })
            .unwrap();
        assert_eq!(count, encoded.len());
        (rows, encoded)
    }

    #[test]
    fn only_what_is_new_is_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("new/cache")).unwrap();
        let texts = [text("a", 0), text("bb", 0)];
        let (first, encoded) = fetch(&cache, "model", &texts);
        assert_eq!(encoded, ["a", "bb"]);
        assert_eq!(first[1].embeds, [2.0; 6]);
        let (second, encoded) = fetch(&cache, "model", &texts);
        assert_eq!((second, encoded), (first, vec![]));
        let more = [text("ccc", 0), text("bb", 0), text("bb", 1)];
        let (rows, encoded) = fetch(&cache, "model", &more);
        assert_eq!(encoded, ["ccc", "bb"]);
        assert_eq!((rows[0].embeds[0], rows[1].pooled[0], rows[2].pooled[0]), (3.0, 0.0, 1.0));
        assert_eq!(fetch(&cache, "other model", &texts).1.len(), 2);
    }

    #[test]
    fn a_damaged_entry_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let texts = [text("a", 0)];
        let (rows, _) = fetch(&cache, "model", &texts);
        let path = cache.path(&key("model", &texts[0]));
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for damaged in [flipped, whole[..whole.len() - 1].to_vec(), Vec::new(), b"nonsense".to_vec()] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(fetch(&cache, "model", &texts), (rows.clone(), vec!["a".to_string()]));
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
        assert!(fetch(&cache, "model", &texts).1.is_empty());
    }

    #[test]
    fn a_hash_of_weights_is_believed_until_the_file_changes() {
        struct Count(std::sync::atomic::AtomicU64);
        impl Progress for Count {
            fn begin(&self, _: &str, _: u64) {}
            fn advance(&self) -> Result<()> {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let path = folder.path().join("model.safetensors");
        let reads = Count(0.into());
        let hash = || cache.weights(vec![("w".into(), path.clone())], &reads).unwrap().remove(0).1;
        let read = || reads.0.swap(0, std::sync::atomic::Ordering::Relaxed);
        fs::write(&path, "one").unwrap();
        let first = hash();
        assert_eq!(first, hex(&Sha256::digest("one")));
        assert_eq!((hash(), read()), (first, 1));
        fs::write(&path, "two").unwrap();
        // A change within the same tick of the file system's clock would be missed, so it is set apart.
        let later = fs::metadata(&path).unwrap().modified().unwrap() + std::time::Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!((hash(), read()), (hex(&Sha256::digest("two")), 1));
    }
}
