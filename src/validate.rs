//! Checks of a written model: whole, finite, as its report claims, and otherwise equal to its source.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::layout::OBS_DIFF_KEY;
use crate::checkpoint::pipeline::read_json;
use crate::checkpoint::save::REPORT_FILE;
use crate::checkpoint::scan::{first_overfull_group, scan};
use crate::checkpoint::shards::INDEX_FILE;
use crate::checkpoint::{Checkpoint, Layout, Pipeline};
use crate::error::{Error, Result};
use crate::model::taps::taps;

/// Version of the JSON form of [`Validation`].
pub const SCHEMA: &str = "obsdiff.validate/1";
/// Version of the report whose claims are checked.
const REPORT_SCHEMA: &str = "obsdiff.prune/1";
/// One in this many weights may be zero without having been removed or zero before: compensation can land on
/// zero exactly, by cancellation or by underflow of the stored dtype.
const ACCIDENTAL_ZEROS_ONE_IN: u64 = 10_000;

/// The checks that were made.
#[derive(Debug, Serialize)]
pub struct Validation {
    /// [`SCHEMA`].
    pub schema: &'static str,
    pub path: String,
    pub against: Option<String>,
    /// Checks that do not hold.
    pub failed: usize,
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// What was found; what is wrong.
    pub detail: String,
}

/// What `obsdiff.json` says of one pruned Linear.
#[derive(Debug, Deserialize)]
struct Claim {
    /// Module path.
    name: String,
    rows: usize,
    columns: usize,
    /// Weights that were removed.
    pruned: u64,
    /// `unstructured` or `N:M`.
    pattern: String,
}

#[derive(Debug, Deserialize)]
struct Claims {
    schema: String,
    layers: Vec<Claim>,
}

impl Claim {
    fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }
}

/// Opens the model at `out` again and checks it; with `against`, also compares it with the model that it was
/// pruned from. A defect of `out`'s weights is a failed check, not an error.
///
/// The claims of `obsdiff.json` hold if each layer has at least as many zeros as weights were removed, and,
/// for `N:M`, no group of M columns keeps more than N. Of an unstructured layer the surplus of zeros is also
/// bounded when `against` is there: by the zeros of the source plus one in ten thousand weights.
///
/// # Errors
/// Those of [`Pipeline::open`] for both folders, and of [`Pipeline::weights`] for `against`.
pub fn validate(out: &Path, against: Option<&Path>) -> Result<Validation> {
    let pipeline = Pipeline::open(out)?;
    let source = against
        .map(|path| {
            let pipeline = Pipeline::open(path)?;
            let weights = pipeline.weights()?;
            Ok::<_, Error>((pipeline, weights))
        })
        .transpose()?;

    let mut checks = Checks::default();
    let claims = checks.claims(&pipeline);
    if let Some((model, _)) = &source {
        checks.config(&pipeline, model);
    }
    if let Some(weights) = checks.files(&pipeline) {
        checks.fallible("shapes", weights.check(&pipeline.architecture), "as the configuration requires");
        checks.finite(&weights);
        checks.prunable(&claims, &pipeline);
        checks.layers(&claims, &weights, source.as_ref().map(|(_, weights)| weights));
        if let Some((_, original)) = &source {
            checks.layout(&weights, original);
            checks.untouched(&claims, &weights, original);
        }
    }
    Ok(Validation {
        schema: SCHEMA,
        path: out.display().to_string(),
        against: against.map(|path| path.display().to_string()),
        failed: checks.0.iter().filter(|check| !check.ok).count(),
        checks: checks.0,
    })
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    /// Records a check: what was found, or everything that is wrong as one line each.
    fn add(&mut self, name: &str, found: String, problems: Vec<String>) {
        if problems.is_empty() {
            self.0.push(Check { name: name.into(), ok: true, detail: found });
        }
        self.0.extend(problems.into_iter().map(|detail| Check { name: name.into(), ok: false, detail }));
    }

    fn fallible(&mut self, name: &str, result: Result<()>, found: &str) {
        self.add(name, found.into(), result.err().iter().map(ToString::to_string).collect());
    }

    fn files(&mut self, pipeline: &Pipeline) -> Option<Checkpoint> {
        match pipeline.unchecked_weights() {
            Ok(weights) => {
                let (tensors, files) = (weights.len(), weights.shards().len());
                self.add(
                    "files",
                    format!("{tensors} tensors, {} bytes, weight files: {files}", weights.total_bytes()),
                    index_total_problems(&weights),
                );
                Some(weights)
            }
            Err(error) => {
                self.add("files", String::new(), vec![error.to_string()]);
                None
            }
        }
    }

    fn finite(&mut self, weights: &Checkpoint) {
        let names: Vec<_> = weights.names().collect();
        let problems = names
            .par_iter()
            .filter_map(|name| {
                let bad = scan(&weights.bytes(name).ok()?, weights.info(name)?)?.non_finite;
                weights.release(name);
                (bad > 0).then(|| format!("tensor `{name}` holds {bad} NaN or infinite values"))
            })
            .collect();
        self.add("finite", "no NaN, no infinity".into(), problems);
    }

    /// Reads the claims; both places of the description must be there, or neither.
    fn claims(&mut self, pipeline: &Pipeline) -> Vec<Claim> {
        let path = pipeline.folder().join(REPORT_FILE);
        let place = match pipeline.layout {
            Layout::Diffusers => "config.json",
            Layout::Original => "the metadata of the weights",
        };
        let described = pipeline.config.get(OBS_DIFF_KEY).is_some_and(Value::is_object);
        if !path.is_file() {
            let problem = format!("{place} has `{OBS_DIFF_KEY}`, but {REPORT_FILE} is missing");
            self.add(
                "report",
                "not a pruned model: no claims".into(),
                described.then_some(problem).into_iter().collect(),
            );
            return Vec::new();
        }
        match read_claims(&path) {
            Ok(claims) => {
                let problem = format!("{REPORT_FILE} is there, but {place} has no object `{OBS_DIFF_KEY}`");
                let found = format!("{} layers claimed as pruned", claims.len());
                self.add("report", found, (!described).then_some(problem).into_iter().collect());
                claims
            }
            Err(error) => {
                self.add("report", String::new(), vec![error.to_string()]);
                Vec::new()
            }
        }
    }

    /// A claim excuses a weight from being untouched, so it must name a Linear that may be pruned, once.
    fn prunable(&mut self, claims: &[Claim], pipeline: &Pipeline) {
        let taps = taps(&pipeline.architecture);
        let mut open: BTreeSet<_> = taps.iter().flat_map(|tap| &tap.linears).map(|linear| &linear.name).collect();
        let total = open.len();
        let refused = claims.iter().filter(|claim| !open.remove(&claim.name));
        let problems = refused.map(|c| format!("`{}` is claimed twice or is not a prunable Linear", c.name)).collect();
        self.add("claims", format!("{} of {total} prunable Linears", claims.len()), problems);
    }

    fn layers(&mut self, claims: &[Claim], weights: &Checkpoint, original: Option<&Checkpoint>) {
        let problems = claims.par_iter().filter_map(|claim| layer_problem(claim, weights, original)).collect();
        let pruned: u64 = claims.iter().map(|claim| claim.pruned).sum();
        self.add("layers", format!("{} layers, {pruned} removed weights as claimed", claims.len()), problems);
    }

    fn config(&mut self, pipeline: &Pipeline, model: &Pipeline) {
        if pipeline.layout != model.layout {
            let same = pipeline.architecture.computes_like(&model.architecture);
            let problem = "the sizes differ from those of the source".to_string();
            return self.add(
                "config",
                "the same sizes as the source".into(),
                (!same).then_some(problem).into_iter().collect(),
            );
        }
        let problems = config_differences(&pipeline.config, &model.config);
        self.add("config", format!("equal except `{OBS_DIFF_KEY}`"), problems);
    }

    /// Same tensors with the same dtypes and shapes in the same files; from one layout to the other files differ, and
    /// other networks stay behind.
    fn layout(&mut self, weights: &Checkpoint, original: &Checkpoint) {
        let same_layout = weights.layout() == original.layout();
        let other_networks: BTreeSet<&str> =
            weights.carried().iter().chain(original.carried()).map(String::as_str).collect();
        let file_of = |checkpoint: &Checkpoint, name: &str| {
            let shard = &checkpoint.shards()[checkpoint.shard_of(name)?];
            Some(shard.path().file_name()?.to_owned())
        };
        let names: BTreeSet<_> = weights.names().chain(original.names()).collect();
        let problems = names
            .iter()
            .filter(|&name| same_layout || !other_networks.contains(name))
            .filter_map(|name| {
                let (Some(new), Some(old)) = (weights.info(name), original.info(name)) else {
                    let place = if weights.info(name).is_some() { "only here" } else { "only in the source" };
                    return Some(format!("tensor `{name}` is {place}"));
                };
                if (new.dtype, &new.shape) != (old.dtype, &old.shape) {
                    return Some(format!(
                        "tensor `{name}` is {} {:?}, in the source {} {:?}",
                        new.dtype, new.shape, old.dtype, old.shape
                    ));
                }
                let (here, there) = (file_of(weights, name), file_of(original, name));
                (same_layout && here != there).then(|| format!("tensor `{name}` is in another file than in the source"))
            })
            .collect();
        let found = if same_layout {
            "same tensors, dtypes, shapes and files as the source"
        } else {
            "same tensors, dtypes and shapes as the source, in the other layout"
        };
        self.add("layout", found.into(), problems);
    }

    fn untouched(&mut self, claims: &[Claim], weights: &Checkpoint, original: &Checkpoint) {
        let pruned: BTreeSet<_> = claims.iter().map(Claim::weight).collect();
        let names: Vec<_> =
            weights.names().filter(|&name| !pruned.contains(name) && original.info(name).is_some()).collect();
        let problems = names
            .par_iter()
            .filter_map(|name| {
                let (new, old) = (weights.bytes(name).ok()?, original.bytes(name).ok()?);
                let at =
                    if new == old { None } else { new.iter().zip(old.iter()).position(|(a, b)| a != b).or(Some(0)) };
                weights.release(name);
                original.release(name);
                at.map(|at| {
                    format!("tensor `{name}` is not claimed as pruned, but differs from the source at byte {at}")
                })
            })
            .collect();
        self.add("untouched", format!("{} tensors identical to the source", names.len()), problems);
    }
}

fn read_claims(path: &Path) -> Result<Vec<Claim>> {
    let value = read_json(path, "as the report")?;
    let claims: Claims = serde_json::from_value(value)
        .map_err(|e| Error::malformed(path, format!("not a report of a pruned model: {e}")))?;
    if claims.schema != REPORT_SCHEMA {
        return Err(Error::Unsupported {
            what: format!("schema of {}", path.display()),
            found: claims.schema,
            supported: REPORT_SCHEMA.into(),
        });
    }
    Ok(claims.layers)
}

/// What is wrong with one claimed layer.
fn layer_problem(claim: &Claim, weights: &Checkpoint, original: Option<&Checkpoint>) -> Option<String> {
    let name = claim.weight();
    let Some(info) = weights.info(&name) else {
        return Some(format!("`{name}` is claimed as pruned and does not exist"));
    };
    if info.shape != [claim.rows, claim.columns] {
        return Some(format!("`{name}` is {:?}, claimed {} x {}", info.shape, claim.rows, claim.columns));
    }
    let bytes = weights.bytes(&name).ok()?;
    let Some(found) = scan(&bytes, info) else {
        return Some(format!("`{name}` is {}, which cannot be checked", info.dtype));
    };
    if found.zeros < claim.pruned {
        return Some(format!("`{name}` has {} zeros, claimed {} removed weights", found.zeros, claim.pruned));
    }
    let problem = match parse_pattern(&claim.pattern) {
        Some(Some((keep, of))) => first_overfull_group(&bytes, info, keep, of).map(|(row, group)| {
            format!(
                "`{name}` is claimed {}, but row {row}, group {group} keeps more than {keep} of {of}",
                claim.pattern
            )
        }),
        Some(None) => {
            let before = original.and_then(|original| scan(&original.bytes(&name).ok()?, original.info(&name)?));
            before.and_then(|before| {
                let surplus = found.zeros - claim.pruned;
                let accidental = found.elements.div_ceil(ACCIDENTAL_ZEROS_ONE_IN);
                (surplus > before.zeros + accidental).then(|| {
                    format!(
                        "`{name}` has {} zeros, claimed {} removed weights; the source's {} zeros do not explain the rest",
                        found.zeros, claim.pruned, before.zeros
                    )
                })
            })
        }
        None => Some(format!("`{name}` is claimed `{}`, expected `unstructured` or `N:M`", claim.pattern)),
    };
    weights.release(&name);
    problem
}

/// `Some(None)` for `unstructured`, `Some(Some((keep, of)))` for `N:M`, `None` for anything else.
fn parse_pattern(pattern: &str) -> Option<Option<(usize, usize)>> {
    if pattern == "unstructured" {
        return Some(None);
    }
    let (keep, of) = pattern.split_once(':')?;
    let (keep, of) = (keep.parse().ok()?, of.parse().ok()?);
    (0 < keep && keep < of).then_some(Some((keep, of)))
}

fn config_differences(new: &Value, old: &Value) -> Vec<String> {
    let keys = |value: &Value| value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let all: BTreeSet<_> = keys(new).into_iter().chain(keys(old)).filter(|key| key != OBS_DIFF_KEY).collect();
    let show = |value: Option<&Value>| value.map_or("absent".to_string(), Value::to_string);
    all.iter()
        .filter(|key| new.get(key) != old.get(key))
        .map(|key| format!("`{key}` is {}, in the source {}", show(new.get(key)), show(old.get(key))))
        .collect()
}

/// The index's `metadata.total_size`, where there is one, counts the bytes of all tensors.
fn index_total_problems(weights: &Checkpoint) -> Vec<String> {
    let claimed = weights
        .is_sharded()
        .then(|| read_json(&weights.folder().join(INDEX_FILE), "").ok())
        .flatten()
        .and_then(|index| index.pointer("/metadata/total_size")?.as_u64());
    let total = weights.total_bytes();
    claimed
        .filter(|&claimed| claimed != total)
        .map(|claimed| format!("{INDEX_FILE} claims {claimed} bytes of tensors, the shards hold {total}"))
        .into_iter()
        .collect()
}
