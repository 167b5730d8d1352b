//! The report of a pruning job: `obsdiff.json`, `run.json`, the model card, and the entry in `config.json`.
//!
//! `obsdiff.json` depends on the input alone (with `packages = auto` also on how many packages fit into memory);
//! what differs from run to run is in `run.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::checkpoint::{Layout, Pipeline};
use crate::conditioning::{Conditioning, PromptOrigin, Source};
use crate::model::taps::Tap;
use crate::ops::Pattern;
use crate::plan::{Plan, parameters};
use crate::prune::{HessianHealth, PrunedLayer};
use crate::recipe::Patch;

/// Version of the layout of `obsdiff.json`.
pub const SCHEMA: &str = "obsdiff.prune/1";

/// One pruned Linear.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    pub name: String,
    /// The Linear whose input is the tap that this one was calibrated with.
    pub tap: String,
    /// Package, counted from 0.
    pub package: usize,
    pub rows: usize,
    pub columns: usize,
    /// Weights removed.
    pub pruned: u64,
    pub sparsity: f64,
    pub pattern: String,
    /// `tr(D H D^T) / tr(W H W^T)`, H of the calibration of the layer's package.
    pub relative_error: Option<f64>,
}

impl LayerReport {
    /// From a pruned layer of `tap`.
    pub fn new(layer: &PrunedLayer, tap: &Tap, package: usize, pattern: Pattern) -> Self {
        let pruned = layer.mask.pruned();
        LayerReport {
            name: layer.name.clone(),
            tap: tap.name().to_string(),
            package,
            rows: layer.mask.rows(),
            columns: layer.mask.columns(),
            pruned: pruned as u64,
            sparsity: pruned as f64 / (layer.mask.rows() * layer.mask.columns()) as f64,
            pattern: pattern.to_string(),
            relative_error: layer.relative_error,
        }
    }
}

/// The health of one Hessian.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HessianReport {
    pub tap: String,
    pub columns: usize,
    pub tokens: u64,
    pub dead_columns: usize,
    /// Dampening of every attempt at the factorisation; the last one succeeded.
    pub dampening_attempts: Vec<f64>,
    /// Smallest pivot of the damped factorisation.
    pub smallest_pivot: Option<f64>,
    /// Largest pivot of the same; over the smallest it is a lower bound of the damped Hessian's condition number.
    #[serde(default)]
    pub largest_pivot: Option<f64>,
}

impl HessianReport {
    pub fn new(health: HessianHealth) -> Self {
        let HessianHealth { tap, columns, dead_columns, dampening_attempts, smallest_pivot, largest_pivot, tokens } =
            health;
        HessianReport { tap, columns, tokens, dead_columns, dampening_attempts, smallest_pivot, largest_pivot }
    }

    /// A lower bound of the condition number of the damped Hessian: its largest pivot over its smallest, both of which
    /// lie between its extreme eigenvalues.
    pub fn condition_at_least(&self) -> Option<f64> {
        let (smallest, largest) = (self.smallest_pivot?, self.largest_pivot?);
        (smallest > 0.0).then(|| largest / smallest)
    }
}

/// What the model was calibrated with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationReport {
    pub samples: usize,
    pub text_tokens: usize,
    /// Whether the starting noise came from the calibration file rather than from the seed.
    pub noise_from_file: bool,
    /// `None` if the embeddings came from a file.
    pub prompts: Option<PromptsReport>,
    /// Noise levels, one more than there are steps.
    pub sigmas: Vec<f32>,
    /// a_t of every step.
    pub timestep_weights: Vec<f64>,
}

/// Prompts that are listed in a report; of more only the number is told.
const LISTED_PROMPTS: usize = 1000;

/// The prompts that the model was calibrated with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptsReport {
    #[serde(flatten)]
    pub origin: PromptOrigin,
    /// `None` if there are more than 1000.
    pub texts: Option<Vec<String>>,
}

impl PromptsReport {
    /// Of embeddings that were made from prompts.
    pub fn of(calibration: &Conditioning) -> Option<Self> {
        let origin = calibration.origin.clone()?;
        let texts = calibration.prompts.clone().filter(|texts| texts.len() <= LISTED_PROMPTS);
        Some(PromptsReport { origin, texts })
    }
}

/// The whole report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PruneReport {
    pub schema: String,
    pub obsdiff: String,
    /// diffusers class of the transformer.
    pub model: String,
    /// Weights removed over all weights of the pruned Linears.
    pub sparsity: f64,
    pub pruned: u64,
    /// Weights of the pruned Linears.
    pub prunable_parameters: u64,
    pub parameters: u64,
    /// Mean over the Linears of their relative error.
    pub mean_relative_error: Option<f64>,
    pub recipe: Patch,
    pub recipe_sha256: String,
    pub calibration: Option<CalibrationReport>,
    pub layers: Vec<LayerReport>,
    pub hessians: Vec<HessianReport>,
}

impl PruneReport {
    pub fn new(
        pipeline: &Pipeline,
        recipe: Patch,
        calibration: Option<CalibrationReport>,
        layers: Vec<LayerReport>,
        hessians: Vec<HessianReport>,
    ) -> Self {
        let pruned: u64 = layers.iter().map(|layer| layer.pruned).sum();
        let prunable: u64 = layers.iter().map(|layer| (layer.rows * layer.columns) as u64).sum();
        let errors: Vec<f64> = layers.iter().filter_map(|layer| layer.relative_error).collect();
        PruneReport {
            schema: SCHEMA.into(),
            obsdiff: env!("CARGO_PKG_VERSION").into(),
            model: pipeline.architecture.class_name().into(),
            sparsity: pruned as f64 / prunable as f64,
            pruned,
            prunable_parameters: prunable,
            parameters: parameters(&pipeline.architecture),
            mean_relative_error: (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64),
            recipe_sha256: recipe.hash(),
            recipe,
            calibration,
            layers,
            hessians,
        }
    }

    /// What `config.json` says under `_obs_diff`.
    pub fn config_entry(&self) -> Value {
        json!({
            "version": self.obsdiff,
            "method": self.recipe.method,
            "pattern": self.recipe.pattern,
            "sparsity": self.sparsity,
            "recipe_sha256": self.recipe_sha256,
        })
    }
}

/// What a run read, by absolute path, so that others can find it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// The dense model.
    pub model: String,
    /// The calibration; `None` if it was not needed.
    pub calibration: Option<Source>,
    /// The dtype in which weights were held while the model ran.
    pub dtype: String,
}

/// What one run took; differs from run to run.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    pub command: Vec<String>,
    /// The folder that the command ran in, which its relative paths start from.
    pub folder: String,
    /// What was read.
    pub inputs: Inputs,
    /// `cpu`, or the GPU that computed.
    pub engine: String,
    pub threads: usize,
    pub seconds: f64,
    /// Seconds per stage, in order.
    pub stages: Vec<(String, f64)>,
    /// What was planned before it began; depends on the machine's memory and threads.
    pub plan: Plan,
    pub planned_peak_bytes: u64,
    /// Largest resident set; `None` where the system does not tell.
    pub measured_peak_bytes: Option<u64>,
}

/// The model card: `README.md` beside the weights, which have this layout.
pub fn model_card(report: &PruneReport, layout: Layout) -> String {
    let (library, loads) = match layout {
        Layout::Diffusers => ("library_name: diffusers\n", "load in diffusers like the original"),
        Layout::Original => ("", "load in ComfyUI and wherever else the original file does"),
    };
    let setting = |value: Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let recipe = &report.recipe;
    let calibration = match &report.calibration {
        Some(c) => format!("{} prompts, {} steps", c.samples, c.timestep_weights.len()),
        None => "none".into(),
    };
    let error = report.mean_relative_error.map_or("not measured".into(), |error| format!("{error:.3e}"));
    format!(
        "---\n{library}tags:\n- text-to-image\n- pruned\n- obsdiff\n---\n\n\
         # Pruned {model}\n\n\
         One-shot pruned with [obsdiff](https://arxiv.org/abs/2510.06751) {version}. The weights are plain dense \
         safetensors with zeros and {loads}; the original's licence applies.\n\n\
         | | |\n|---|---|\n\
         | weights removed | {pruned} of {prunable} in the pruned Linears ({percent:.2} %) |\n\
         | pattern | {pattern} |\n| method | {method}, refinement {refine} |\n\
         | timestep weights | {weights} |\n| calibration | {calibration} |\n\
         | mean relative error of the layers' outputs | {error} |\n\n\
         `obsdiff.json` lists every layer, `recipe.toml` repeats the run with `obsdiff prune MODEL --recipe recipe.toml \
         {input} FILE -o OUT`.\n",
        input = if report.calibration.as_ref().is_some_and(|c| c.prompts.is_some()) {
            "--prompts"
        } else {
            "--calibration"
        },
        model = report.model,
        version = report.obsdiff,
        pruned = report.pruned,
        prunable = report.prunable_parameters,
        percent = 100.0 * report.sparsity,
        pattern = recipe.pattern.clone().unwrap_or_default(),
        method = setting(json!(recipe.method)),
        refine = recipe.refine.clone().unwrap_or_default(),
        weights = recipe.timestep_weights.clone().unwrap_or_default(),
    )
}
