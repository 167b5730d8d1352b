//! Every number of a report: what `report.json` holds and the page shows.

use serde::Serialize;
use serde_json::Value;

use super::data::{Data, Run, Source};
use super::layout::Position;
use super::prune::{HessianReport, LayerReport, PruneReport};
use crate::compare::Comparison;
use crate::recipe::Patch;

/// Version of the layout of `report.json`.
pub const SCHEMA: &str = "obsdiff.report/1";

/// The whole report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub summary: Summary,
    pub recipe: Patch,
    pub comparison: Option<Comparison>,
    /// Why there is no comparison, if one was tried.
    pub no_comparison: Option<String>,
    /// Steps of the calibration.
    pub timesteps: Vec<Timestep>,
    pub layers: Vec<Layer>,
    pub hessians: Vec<Hessian>,
    pub run: Option<RunFacts>,
    pub benches: Vec<Bench>,
    pub calibration: Option<Calibration>,
    pub command: Option<Command>,
    pub versions: Versions,
}

/// What was pruned and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub model: String,
    pub method: String,
    pub pattern: String,
    pub refine: String,
    pub sparsity: f64,
    pub pruned: u64,
    pub prunable_parameters: u64,
    pub parameters: u64,
    /// `pruned / parameters`.
    pub share_of_all: f64,
    pub linears: usize,
    pub mean_relative_error: Option<f64>,
    pub latent_rel: Option<f64>,
}

/// One step of the calibration.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Timestep {
    /// Counted from 1.
    pub step: usize,
    /// Noise level before the step.
    pub sigma: f32,
    /// Weight of the step's inputs in the Hessians.
    pub weight: f64,
}

/// A pruned Linear and its place in the model.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    #[serde(flatten)]
    pub position: Position,
    #[serde(flatten)]
    pub report: LayerReport,
}

/// A Hessian and the lower bound of its damped condition number.
#[derive(Debug, Clone, Serialize)]
pub struct Hessian {
    #[serde(flatten)]
    pub report: HessianReport,
    pub condition_at_least: Option<f64>,
}

/// Time and memory.
#[derive(Debug, Clone, Serialize)]
pub struct RunFacts {
    pub engine: String,
    pub threads: usize,
    pub seconds: f64,
    pub stages: Vec<Stage>,
    pub memory: Memory,
}

/// One stage of a job.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    pub name: String,
    pub seconds: f64,
    /// Of the seconds of all stages.
    pub share: f64,
    /// Planned arithmetic; `None` for stages that the plan does not count.
    pub operations: Option<f64>,
    /// Of the planned arithmetic of all stages.
    pub operations_share: Option<f64>,
}

/// Bytes, planned and measured.
#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    /// What the plan is of: `host` or `gpu`.
    pub place: String,
    pub planned_peak_bytes: u64,
    pub weight_bytes: u64,
    pub activation_bytes: u64,
    pub hessian_bytes: u64,
    /// Largest resident set, in host memory.
    pub measured_peak_bytes: Option<u64>,
    pub packages: Vec<Package>,
}

/// One calibration package as planned.
#[derive(Debug, Clone, Serialize)]
pub struct Package {
    pub linears: usize,
    pub hessians: usize,
    pub passes: usize,
    pub hessian_bytes: u64,
    pub peak_bytes: u64,
}

/// Measurements of one file of `obsdiff bench --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Bench {
    pub file: String,
    pub gpu: String,
    pub rows: Vec<BenchRow>,
}

/// One measurement: this program's (2:4 sparse for blocks) against another.
#[derive(Debug, Clone, Serialize)]
pub struct BenchRow {
    pub what: String,
    pub case: String,
    pub seconds: f64,
    pub against: Option<String>,
    pub against_seconds: Option<f64>,
    pub ratio: Option<f64>,
}

/// What the model was calibrated with.
#[derive(Debug, Clone, Serialize)]
pub struct Calibration {
    pub file: Option<String>,
    pub samples: usize,
    pub text_tokens: usize,
    pub noise_from_file: bool,
    pub prompts: Option<Vec<String>>,
}

/// How to repeat the job.
#[derive(Debug, Clone, Serialize)]
pub struct Command {
    pub arguments: Vec<String>,
    /// The arguments, quoted for a POSIX shell.
    pub shell: String,
    /// Where it ran.
    pub folder: Option<String>,
}

/// What wrote what, and hashes.
#[derive(Debug, Clone, Serialize)]
pub struct Versions {
    /// That pruned.
    pub obsdiff: String,
    /// That wrote the report.
    pub obsdiff_report: &'static str,
    pub recipe_sha256: String,
    /// Whether `recipe.toml` still has that hash; `None` if it is gone.
    pub recipe_unchanged: Option<bool>,
    pub sources: Vec<Source>,
}

impl Report {
    /// From the files.
    pub fn new(data: &Data) -> Self {
        let prune = &data.prune;
        let comparison = data.comparison.as_ref().map(|(_, comparison)| comparison.clone());
        Report {
            schema: SCHEMA,
            summary: summary(prune, comparison.as_ref()),
            recipe: prune.recipe.clone(),
            comparison,
            no_comparison: data.no_comparison.clone(),
            timesteps: timesteps(prune),
            layers: prune.layers.iter().map(Layer::new).collect(),
            hessians: prune.hessians.iter().map(Hessian::new).collect(),
            run: data.run.as_ref().map(RunFacts::new),
            benches: data.benches.iter().map(|(file, value)| Bench::new(file, value)).collect(),
            calibration: calibration(data),
            command: data.run.as_ref().map(Command::new),
            versions: versions(data),
        }
    }
}

fn summary(prune: &PruneReport, comparison: Option<&Comparison>) -> Summary {
    let recipe = &prune.recipe;
    Summary {
        model: prune.model.clone(),
        method: recipe.method.and_then(name).unwrap_or_default(),
        pattern: recipe.pattern.clone().unwrap_or_default(),
        refine: recipe.refine.clone().unwrap_or_default(),
        sparsity: prune.sparsity,
        pruned: prune.pruned,
        prunable_parameters: prune.prunable_parameters,
        parameters: prune.parameters,
        share_of_all: prune.pruned as f64 / prune.parameters as f64,
        linears: prune.layers.len(),
        mean_relative_error: prune.mean_relative_error,
        latent_rel: comparison.map(|comparison| comparison.latent_rel),
    }
}

/// The name under which a setting is written.
fn name(setting: impl Serialize) -> Option<String> {
    serde_json::to_value(setting).ok()?.as_str().map(String::from)
}

fn timesteps(prune: &PruneReport) -> Vec<Timestep> {
    let Some(calibration) = &prune.calibration else { return Vec::new() };
    let steps = calibration.timestep_weights.iter().zip(&calibration.sigmas).enumerate();
    steps.map(|(index, (&weight, &sigma))| Timestep { step: index + 1, sigma, weight }).collect()
}

fn calibration(data: &Data) -> Option<Calibration> {
    let calibration = data.prune.calibration.as_ref()?;
    let file = data.run.as_ref().and_then(|run| run.inputs.as_ref()?.calibration.as_ref());
    Some(Calibration {
        file: file.map(|source| source.file().display().to_string()),
        samples: calibration.samples,
        text_tokens: calibration.text_tokens,
        noise_from_file: calibration.noise_from_file,
        prompts: data.prompts.clone(),
    })
}

fn versions(data: &Data) -> Versions {
    let hash = |file: &str| data.sources.iter().find(|source| source.file == file).map(|source| &source.sha256);
    Versions {
        obsdiff: data.prune.obsdiff.clone(),
        obsdiff_report: env!("CARGO_PKG_VERSION"),
        recipe_sha256: data.prune.recipe_sha256.clone(),
        recipe_unchanged: hash(crate::checkpoint::save::RECIPE_FILE).map(|hash| *hash == data.prune.recipe_sha256),
        sources: data.sources.clone(),
    }
}

impl Layer {
    fn new(report: &LayerReport) -> Self {
        Layer { position: Position::of(&report.name), report: report.clone() }
    }
}

impl Hessian {
    fn new(report: &HessianReport) -> Self {
        Hessian { condition_at_least: report.condition_at_least(), report: report.clone() }
    }
}

impl RunFacts {
    fn new(run: &Run) -> Self {
        let counted = run.plan.arithmetic;
        let planned = [
            ("forward", counted.forward),
            ("hessians", counted.hessians),
            ("factor", counted.factor),
            ("sweep", counted.sweep),
            ("refine", counted.refine),
        ];
        let all_operations: f64 = planned.iter().map(|(_, operations)| operations).sum();
        let all_seconds: f64 = run.stages.iter().map(|(_, seconds)| seconds).sum();
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let stage = |(name, seconds): &(String, f64)| {
            let operations = planned.iter().find(|(stage, _)| stage == name).map(|&(_, operations)| operations);
            Stage {
                name: name.clone(),
                seconds: *seconds,
                share: share(*seconds, all_seconds),
                operations,
                operations_share: operations.map(|operations| share(operations, all_operations)),
            }
        };
        let package = |package: &crate::plan::PackagePlan| Package {
            linears: package.linears,
            hessians: package.hessians.len(),
            passes: package.passes.len(),
            hessian_bytes: package.hessian_bytes,
            peak_bytes: package.peak_bytes,
        };
        RunFacts {
            engine: run.engine.clone(),
            threads: run.threads,
            seconds: run.seconds,
            stages: run.stages.iter().map(stage).collect(),
            memory: Memory {
                place: run.plan.memory.clone(),
                planned_peak_bytes: run.planned_peak_bytes,
                weight_bytes: run.plan.weight_bytes,
                activation_bytes: run.plan.activation_bytes,
                hessian_bytes: run.plan.hessian_bytes,
                measured_peak_bytes: run.measured_peak_bytes,
                packages: run.plan.packages.iter().map(package).collect(),
            },
        }
    }
}

impl Bench {
    /// Of a file whose schema was checked.
    fn new(file: &str, value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let rows = |key: &str| value[key].as_array().cloned().unwrap_or_default();
        let kernel = |row: &Value| BenchRow {
            what: text(&row["kernel"]),
            case: text(&row["case"]),
            seconds: row["seconds"].as_f64().unwrap_or(f64::NAN),
            against: row["peer"]["name"].as_str().map(String::from),
            against_seconds: row["peer"]["seconds"].as_f64(),
            ratio: row["ratio"].as_f64(),
        };
        let block = |row: &Value| BenchRow {
            what: text(&row["model"]),
            case: text(&row["part"]),
            seconds: row["sparse"]["seconds"].as_f64().unwrap_or(f64::NAN),
            against: Some("dense".into()),
            against_seconds: row["dense"]["seconds"].as_f64(),
            ratio: row["ratio"].as_f64(),
        };
        let kernels = rows("measurements");
        let blocks = rows("parts");
        Bench {
            file: file.into(),
            gpu: text(&value["gpu"]),
            rows: kernels.iter().map(kernel).chain(blocks.iter().map(block)).collect(),
        }
    }
}

impl Command {
    fn new(run: &Run) -> Self {
        let shell: Vec<String> = run.command.iter().map(|argument| shell_quoted(argument)).collect();
        Command { arguments: run.command.clone(), shell: shell.join(" "), folder: run.folder.clone() }
    }
}

/// An argument as a POSIX shell takes it.
pub fn shell_quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.into();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gets_back_every_argument() {
        assert_eq!(shell_quoted("--sparsity=0.5"), "--sparsity=0.5");
        assert_eq!(shell_quoted(""), "''");
        assert_eq!(shell_quoted("a b"), "'a b'");
        assert_eq!(shell_quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_quoted("*.attn.*"), "'*.attn.*'");
    }
}
