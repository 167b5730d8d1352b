//! What a report is made from: the files of a pruned folder, of a comparison, and of benchmarks, read and checked.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::prune::{Inputs, PruneReport, SCHEMA as PRUNE_SCHEMA};
use crate::checkpoint::save::{RECIPE_FILE, REPORT_FILE};
use crate::compare::{COMPARISON_FILE, Comparison, SCHEMA as COMPARISON_SCHEMA};
use crate::error::{Error, Result};
use crate::plan::{Arithmetic, PackagePlan};
use crate::units::hex;

/// The layouts of files that `obsdiff bench --json` writes.
const BENCH_SCHEMAS: [&str; 2] = ["obsdiff.bench/1", "obsdiff.bench-block/1"];
/// The file of a pruned folder with what differs from run to run.
const RUN_FILE: &str = "run.json";

/// A file that a report was made from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    pub file: String,
    pub sha256: String,
}

/// The run of a pruning job as `run.json` tells it: what a page shows of
/// [`RunReport`](super::prune::RunReport), whose plan names memories that this build may not know.
#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    pub command: Vec<String>,
    #[serde(default)]
    pub folder: Option<String>,
    #[serde(default)]
    pub inputs: Option<Inputs>,
    pub engine: String,
    pub threads: usize,
    pub seconds: f64,
    pub stages: Vec<(String, f64)>,
    pub plan: RunPlan,
    pub planned_peak_bytes: u64,
    pub measured_peak_bytes: Option<u64>,
}

/// What of the plan of a run is shown.
#[derive(Debug, Clone, Deserialize)]
pub struct RunPlan {
    /// `host` or `gpu`.
    pub memory: String,
    pub weight_bytes: u64,
    pub activation_bytes: u64,
    pub hessian_bytes: u64,
    pub packages: Vec<PackagePlan>,
    pub arithmetic: Arithmetic,
}

/// Everything that a report is made from.
#[derive(Debug)]
pub struct Data {
    /// The folder of the pruned model.
    pub folder: PathBuf,
    pub prune: PruneReport,
    /// The texts of the calibration's prompts, where the report lists them.
    pub prompts: Option<Vec<String>>,
    /// `None` if `run.json` is gone.
    pub run: Option<Run>,
    /// The text of `recipe.toml`; `None` if it is gone.
    pub recipe: Option<String>,
    /// With its folder.
    pub comparison: Option<(PathBuf, Comparison)>,
    /// Why there is no comparison, if one was tried.
    pub no_comparison: Option<String>,
    /// Benchmarks as `obsdiff bench --json` wrote them, with their paths.
    pub benches: Vec<(String, Value)>,
    pub sources: Vec<Source>,
}

impl Data {
    /// Reads the files of pruned folder `folder`.
    ///
    /// # Errors
    /// [`Error::Missing`] without `obsdiff.json`; [`Error::Malformed`]; [`Error::Unsupported`] for a schema of
    /// another version; [`Error::Io`].
    pub fn open(folder: &Path) -> Result<Self> {
        let mut sources = Vec::new();
        let needed = "as the report of the folder; `obsdiff prune` writes it beside the weights";
        let text = read(&folder.join(REPORT_FILE), &mut sources)?
            .ok_or_else(|| Error::Missing { path: folder.join(REPORT_FILE), needed_for: needed.into() })?;
        let value: Value = parse(&folder.join(REPORT_FILE), &text, Some(&[PRUNE_SCHEMA]))?;
        let prompts = serde_json::from_value(value["calibration"]["prompts"]["texts"].clone()).unwrap_or(None);
        let prune =
            serde_json::from_value(value).map_err(|e| Error::malformed(folder.join(REPORT_FILE), e.to_string()))?;
        let run_path = folder.join(RUN_FILE);
        let run = read(&run_path, &mut sources)?.map(|text| parse(&run_path, &text, None)).transpose()?;
        let recipe = read(&folder.join(RECIPE_FILE), &mut sources)?;
        Ok(Data {
            folder: folder.to_path_buf(),
            prune,
            prompts,
            run,
            recipe,
            comparison: None,
            no_comparison: None,
            benches: Vec::new(),
            sources,
        })
    }

    /// Adds the comparison in `folder`.
    ///
    /// # Errors
    /// As [`Data::open`]; [`Error::Malformed`] for pictures that are named outside the folder.
    pub fn add_comparison(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(COMPARISON_FILE);
        let needed = "as the result of a comparison; `obsdiff compare DENSE PRUNED ... -o DIR` writes it";
        let text = read(&path, &mut self.sources)?
            .ok_or_else(|| Error::Missing { path: path.clone(), needed_for: needed.into() })?;
        let comparison: Comparison = parse(&path, &text, Some(&[COMPARISON_SCHEMA]))?;
        let named = comparison.items.iter().flat_map(|item| [&item.dense, &item.pruned]).flatten();
        let inside = |name: &str| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(outside) = named.into_iter().find(|name| !inside(name)) {
            return Err(Error::malformed(&path, format!("picture `{outside}` lies outside the folder")));
        }
        self.comparison = Some((folder.to_path_buf(), comparison));
        Ok(())
    }

    /// Adds a file of `obsdiff bench --json`.
    ///
    /// # Errors
    /// As [`Data::open`].
    pub fn add_bench(&mut self, path: &Path) -> Result<()> {
        let needed = "as measurements; `obsdiff bench --json FILE` writes them on a machine with a GPU";
        let text = read(path, &mut self.sources)?
            .ok_or_else(|| Error::Missing { path: path.to_path_buf(), needed_for: needed.into() })?;
        let bench = parse(path, &text, Some(&BENCH_SCHEMAS))?;
        self.benches.push((path.display().to_string(), bench));
        Ok(())
    }
}

/// The text of a file, noted as a source; `None` if there is no such file.
fn read(path: &Path, sources: &mut Vec<Source>) -> Result<Option<String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, error)),
    };
    let sha256 = hex(&Sha256::digest(&bytes));
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    sources.push(Source { file: name, sha256 });
    String::from_utf8(bytes).map(Some).map_err(|_| Error::malformed(path, "is not UTF-8 text"))
}

/// A JSON file whose `schema` is one of `schemas`, if it must have one.
fn parse<T: DeserializeOwned>(path: &Path, text: &str, schemas: Option<&[&str]>) -> Result<T> {
    let value: Value = serde_json::from_str(text).map_err(|e| Error::malformed(path, format!("not JSON: {e}")))?;
    if let Some(schemas) = schemas {
        let found = value["schema"].as_str().unwrap_or("none");
        if !schemas.contains(&found) {
            return Err(Error::Unsupported {
                what: format!("schema of {}", path.display()),
                found: found.into(),
                supported: format!("{} (a newer file needs a newer obsdiff)", schemas.join(", ")),
            });
        }
    }
    serde_json::from_value(value).map_err(|e| Error::malformed(path, e.to_string()))
}
