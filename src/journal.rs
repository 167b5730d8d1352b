//! What a long job has finished, so that it can be interrupted and go on.
//!
//! ```text
//! JOURNAL/journal.json              fingerprint of the job, number of packages, packages finished
//! JOURNAL/package-0.safetensors     the pruned weights of a finished package, in their stored dtype
//! JOURNAL/package-0.json            its part of the report
//! ```
//!
//! A package counts as finished once `journal.json` says so, which is written last and atomically.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, Pipeline, SafetensorsFile, TensorOut, write_atomic, write_safetensors};
use crate::error::{Error, Result};
use crate::report::prune::{HessianReport, LayerReport};
use crate::units::hex;

const RECORD: &str = "journal.json";
const SCHEMA: &str = "obsdiff.journal/1";

/// Everything that decides what a job computes, by name and value.
pub type Fingerprint = Vec<(String, String)>;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    schema: String,
    fingerprint: Fingerprint,
    packages: usize,
    finished: usize,
}

/// The reports of one package.
#[derive(Debug, Serialize, Deserialize)]
pub struct PackageReport {
    pub layers: Vec<LayerReport>,
    pub hessians: Vec<HessianReport>,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    record: Record,
}

impl Journal {
    /// How many packages the job of the journal in `folder` was cut into; `None` if there is no journal yet.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Io`].
    pub fn packages_of(folder: &Path) -> Result<Option<usize>> {
        Ok(read_record(folder)?.map(|record| record.packages))
    }

    /// Opens the journal in `folder`, or begins one there.
    ///
    /// # Errors
    /// [`Error::Usage`] if it belongs to another job, naming what differs; [`Error::Malformed`], [`Error::Io`].
    pub fn open(folder: &Path, fingerprint: Fingerprint, packages: usize) -> Result<Self> {
        if let Some(record) = read_record(folder)? {
            let differs = record.fingerprint.iter().zip(&fingerprint).find(|(then, now)| then != now);
            if let Some(((key, then), (_, now))) = differs {
                return Err(Error::Usage(format!(
                    "the journal {} belongs to another job: its {key} was {then}, now it is {now}; give this job \
                     another --journal, or remove that folder",
                    folder.display()
                )));
            }
            return Ok(Journal { folder: folder.to_path_buf(), record });
        }
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let record = Record { schema: SCHEMA.into(), fingerprint, packages, finished: 0 };
        let journal = Journal { folder: folder.to_path_buf(), record };
        journal.write_record()?;
        Ok(journal)
    }

    /// Packages finished so far.
    pub fn finished(&self) -> usize {
        self.record.finished
    }

    /// Commits package `finished()`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn commit(&mut self, weights: &[TensorOut], report: &PackageReport) -> Result<()> {
        let index = self.record.finished;
        write_safetensors(self.weights(index), weights, &[])?;
        write_json(&self.report(index), report)?;
        self.record.finished += 1;
        self.write_record()
    }

    /// The weights and the report of finished package `index`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`], [`Error::Io`].
    pub fn load(&self, index: usize) -> Result<(SafetensorsFile, PackageReport)> {
        let path = self.report(index);
        let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        let report = serde_json::from_str(&text).map_err(|e| Error::malformed(&path, e.to_string()))?;
        Ok((SafetensorsFile::open(self.weights(index))?, report))
    }

    /// Removes the journal of a job that is done.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(self) -> Result<()> {
        let files = (0..self.record.finished).flat_map(|index| [self.weights(index), self.report(index)]);
        for file in files.chain([self.folder.join(RECORD)]) {
            fs::remove_file(&file).map_err(|e| Error::io(&file, e))?;
        }
        // The folder stays if somebody keeps other files there.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }

    fn weights(&self, index: usize) -> PathBuf {
        self.folder.join(format!("package-{index}.safetensors"))
    }

    fn report(&self, index: usize) -> PathBuf {
        self.folder.join(format!("package-{index}.json"))
    }

    fn write_record(&self) -> Result<()> {
        write_json(&self.folder.join(RECORD), &self.record)
    }
}

fn read_record(folder: &Path) -> Result<Option<Record>> {
    let path = folder.join(RECORD);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(&path, e)),
    };
    let record: Record = serde_json::from_str(&text).map_err(|e| Error::malformed(&path, e.to_string()))?;
    if record.schema != SCHEMA {
        return Err(Error::malformed(&path, format!("schema is {}, expected {SCHEMA}", record.schema)));
    }
    Ok(Some(record))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::malformed(path, e.to_string()))?;
    write_atomic(path, text.as_bytes())
}

/// SHA-256 of a file's content.
///
/// # Errors
/// [`Error::Io`].
pub fn file_sha256(path: &Path) -> Result<String> {
    Ok(hex(&Sha256::digest(fs::read(path).map_err(|e| Error::io(path, e))?)))
}

/// The fingerprint of a job: the program's version, the recipe, dtype and engine of the run, what stands for the
/// content of the calibration, and of the model its headers and each file's size and time of change.
///
/// # Errors
/// [`Error::Io`] if a file cannot be read.
pub fn fingerprint(
    pipeline: &Pipeline,
    checkpoint: &Checkpoint,
    recipe: &str,
    dtype: &str,
    engine: &str,
    calibration: String,
) -> Result<Fingerprint> {
    let mut model = Sha256::new();
    model.update(pipeline.config.to_string());
    for shard in checkpoint.shards() {
        let metadata = fs::metadata(shard.path()).map_err(|e| Error::io(shard.path(), e))?;
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        model.update(shard.header_bytes());
        model.update(metadata.len().to_le_bytes());
        model.update(changed.unwrap_or_default().as_nanos().to_le_bytes());
    }
    Ok([
        ("version", env!("CARGO_PKG_VERSION").to_string()),
        ("model", hex(&model.finalize())),
        ("calibration", calibration),
        ("dtype", dtype.to_string()),
        ("device", engine.to_string()),
        ("recipe", recipe.to_string()),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .to_vec())
}
