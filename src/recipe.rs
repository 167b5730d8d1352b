//! What to prune and how: presets, TOML files and flags, resolved into one [`Recipe`].
//!
//! A [`Patch`] names only the settings that somebody chose. Patches stack: preset, then recipe file, then
//! flags. The resolved recipe is saved with the output and is itself a valid recipe file.

use std::fmt;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::calibration::TimestepWeights;
use crate::error::{Error, Result};
use crate::memory::Size;
use crate::ops::{CountRule, NM, Pattern, Sparsity};
use crate::units::hex;

/// A pruning method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// OBS sweep on trajectory Hessians with timestep weights.
    ObsDiff,
    /// The same sweep with uniform timestep weights.
    #[value(name = "sparsegpt")]
    #[serde(rename = "sparsegpt")]
    SparseGpt,
    /// `|W| * sqrt(mean x^2)`, compared within each output row; no compensation.
    Wanda,
    /// `|W|`, compared within each layer; no compensation.
    Magnitude,
}

impl Method {
    /// Whether the weights that stay make up for those that go.
    pub fn compensates(self) -> bool {
        matches!(self, Method::ObsDiff | Method::SparseGpt)
    }
}

/// A named set of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// One package, step-size weights, OBS, ten PCG steps on the final mask, rounding inside the sweep.
    Default,
    /// The published method, exactly: log-decrease weights, four packages, the official counts, no refinement.
    Paper,
}

/// Where the starting noise of the calibration comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// The `latents` of the calibration file if it has them, else drawn from the seed.
    File,
    /// A different one for every sample, drawn from the seed, even if the calibration file has `latents`.
    Seed,
}

/// How many weights a selection removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Count {
    /// Exactly int(sparsity * weights) of every layer.
    Exact,
    /// int(sparsity * n) + 1 of every block of columns, as the official code.
    Official,
}

impl From<Count> for CountRule {
    fn from(count: Count) -> Self {
        match count {
            Count::Exact => CountRule::Exact,
            Count::Official => CountRule::Official,
        }
    }
}

/// The settings that somebody chose; everything else is left to what lies below.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Pruning")]
pub struct Patch {
    /// Settings to start from.
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Where zeros may lie: unstructured, 2:4, 4:8 or any N:M (keep N of every M).
    #[arg(long)]
    pub pattern: Option<String>,
    /// Share of weights to remove, in [0, 1); implied by an N:M pattern.
    #[arg(long, allow_negative_numbers = true)]
    pub sparsity: Option<f64>,
    /// How weights are chosen and the rest compensated.
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Refinement of the kept weights: none or pcg:N (N conjugate gradient steps).
    #[arg(long)]
    pub refine: Option<String>,
    /// Only Linears whose name matches one of these globs (`*` matches anything).
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub layers: Option<Vec<String>>,
    /// Not the Linears whose name matches one of these globs.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub ignore: Option<Vec<String>>,
    /// Columns per block of the sweep.
    #[arg(long, value_name = "COLUMNS")]
    pub block_size: Option<usize>,
    /// Share of the Hessian's mean diagonal that is added to its diagonal.
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub dampening: Option<f64>,
    /// Calibration packages: auto (as few as memory allows) or a number.
    #[arg(long, value_name = "auto|N", help_heading = "Calibration")]
    #[serde(deserialize_with = "text_or_number")]
    pub packages: Option<String>,
    /// How steps count: uniform, linear-increase, linear-decrease, log-increase, log-decrease or step-size.
    #[arg(long, value_name = "SCHEDULE", help_heading = "Calibration")]
    pub timestep_weights: Option<String>,
    /// Lowest and highest timestep weight of the linear and logarithmic schedules.
    #[arg(long, value_name = "WEIGHT", num_args = 2, allow_negative_numbers = true, help_heading = "Calibration")]
    pub weight_range: Option<Vec<f64>>,
    /// How many weights a selection removes.
    #[arg(long, value_enum)]
    pub count: Option<Count>,
    /// Round to the checkpoint's dtype inside the sweep, so that rounding is compensated too.
    #[arg(long, value_name = "BOOL")]
    pub round_in_sweep: Option<bool>,
    /// Starting noise of the calibration.
    #[arg(long, value_enum, help_heading = "Calibration")]
    pub noise: Option<Noise>,
    /// Denoising steps of the calibration.
    #[arg(skip)]
    pub num_inference_steps: Option<usize>,
    /// Guidance scale of the calibration.
    #[arg(skip)]
    pub guidance_scale: Option<f64>,
    /// Height of the calibration pictures in pixels.
    #[arg(skip)]
    pub height: Option<usize>,
    /// Width of the calibration pictures in pixels.
    #[arg(skip)]
    pub width: Option<usize>,
    /// Seed of the starting noise.
    #[arg(skip)]
    pub seed: Option<u64>,
    /// Samples per forward pass.
    #[arg(skip)]
    pub batch_size: Option<usize>,
    /// GPU memory to stay within; more passes, the same result.
    #[arg(skip)]
    pub max_vram: Option<Size>,
}

fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(u64),
    }
    Ok(Some(match Either::deserialize(deserializer)? {
        Either::Text(text) => text,
        Either::Number(number) => number.to_string(),
    }))
}

impl Patch {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Io`] if it cannot be read; [`Error::Usage`] naming line and key if it is
    /// not a recipe.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Missing { path: path.to_path_buf(), needed_for: "as --recipe".into() }
            }
            _ => Error::io(path, source),
        })?;
        toml::from_str(&text).map_err(|e| Error::Usage(format!("{}: not a recipe: {e}", path.display())))
    }

    /// Takes from `below` what this patch leaves open.
    pub fn over(self, below: Patch) -> Patch {
        let mut merged = below.to_table();
        merged.extend(self.to_table());
        // Both tables come from a `Patch`, so the merged one is a `Patch` again.
        merged.try_into().unwrap_or_default()
    }

    fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).unwrap_or_default()
    }

    /// As a recipe file: one line per chosen setting.
    pub fn to_toml(&self) -> String {
        self.to_table().to_string()
    }

    /// SHA-256 of [`Patch::to_toml`], in hex.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.to_toml().as_bytes()))
    }
}

/// Refinement of the kept weights after the mask is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refine {
    None,
    /// That many steps of preconditioned conjugate gradients.
    Pcg(usize),
}

/// How many calibration packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packages {
    /// As few as memory allows.
    Auto,
    Fixed(usize),
}

/// Every setting of the pruning itself, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub preset: Preset,
    pub pattern: Pattern,
    pub method: Method,
    pub refine: Refine,
    pub layers: Vec<String>,
    pub ignore: Vec<String>,
    pub block_size: usize,
    pub dampening: f64,
    pub packages: Packages,
    pub timestep_weights: TimestepWeights,
    pub weight_range: (f64, f64),
    pub count: Count,
    pub round_in_sweep: bool,
    pub noise: Noise,
}

impl Recipe {
    /// Fills what the patch leaves open from its preset and checks every value.
    ///
    /// # Errors
    /// [`Error::Recipe`] naming the key, what is allowed and what was found.
    pub fn resolve(patch: &Patch) -> Result<Self> {
        let preset = patch.preset.unwrap_or(Preset::Default);
        let paper = preset == Preset::Paper;
        let method = patch.method.unwrap_or(Method::ObsDiff);
        let schedule = match (&patch.timestep_weights, method) {
            (Some(text), Method::SparseGpt) if text != "uniform" => {
                return Err(refuse("timestep_weights", "uniform with method sparsegpt (or method obs-diff)", text));
            }
            (_, Method::SparseGpt) => TimestepWeights::Uniform,
            (Some(text), _) => text.parse().map_err(|e: String| refuse("timestep_weights", &e, text))?,
            (None, _) if paper => TimestepWeights::LogDecrease,
            (None, _) => TimestepWeights::StepSize,
        };
        let default_refine = if paper || !method.compensates() { "none" } else { "pcg:10" };
        let recipe = Recipe {
            preset,
            pattern: resolve_pattern(patch)?,
            method,
            refine: parse_refine(patch.refine.as_deref().unwrap_or(default_refine))?,
            layers: patch.layers.clone().unwrap_or_else(|| vec!["*".into()]),
            ignore: patch.ignore.clone().unwrap_or_default(),
            block_size: patch.block_size.unwrap_or(128),
            dampening: patch.dampening.unwrap_or(0.01),
            packages: match patch.packages.as_deref() {
                Some(text) => parse_packages(text)?,
                None if paper => Packages::Fixed(4),
                None => Packages::Auto,
            },
            timestep_weights: schedule,
            weight_range: match patch.weight_range.as_deref() {
                None => (0.8, 1.2),
                Some(&[low, high]) => (low, high),
                Some(other) => return Err(refuse("weight_range", "two numbers", format!("{other:?}"))),
            },
            count: patch.count.unwrap_or(if paper { Count::Official } else { Count::Exact }),
            round_in_sweep: patch.round_in_sweep.unwrap_or(!paper),
            noise: patch.noise.unwrap_or(Noise::File),
        };
        recipe.check()?;
        Ok(recipe)
    }

    fn check(&self) -> Result<()> {
        if self.block_size == 0 {
            return Err(refuse("block_size", "a positive number of columns", self.block_size));
        }
        if let Pattern::NM(nm) = self.pattern
            && !self.block_size.is_multiple_of(nm.of())
        {
            return Err(refuse("block_size", &format!("a multiple of {} for pattern {nm}", nm.of()), self.block_size));
        }
        if !(self.dampening >= 0.0 && self.dampening.is_finite()) {
            return Err(refuse("dampening", "a number that is not negative", self.dampening));
        }
        let (low, high) = self.weight_range;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return Err(refuse("weight_range", "0 < lowest <= highest", format!("{low} {high}")));
        }
        Ok(())
    }

    /// Whether activations are needed at all.
    pub fn needs_calibration(&self) -> bool {
        self.method != Method::Magnitude || self.refine != Refine::None
    }

    /// Whether the Linear `name` is chosen by `layers` and not by `ignore`.
    pub fn chooses(&self, name: &str) -> bool {
        let any = |globs: &[String]| globs.iter().any(|glob| wildmatch::WildMatch::new(glob).matches(name));
        any(&self.layers) && !any(&self.ignore)
    }

    /// Every setting as a patch: the canonical form, which resolves to the same recipe.
    pub fn to_patch(&self) -> Patch {
        Patch {
            preset: Some(self.preset),
            pattern: Some(self.pattern.to_string()),
            sparsity: Some(self.pattern.sparsity()),
            method: Some(self.method),
            refine: Some(self.refine.to_string()),
            layers: Some(self.layers.clone()),
            ignore: Some(self.ignore.clone()),
            block_size: Some(self.block_size),
            dampening: Some(self.dampening),
            packages: Some(self.packages.to_string()),
            timestep_weights: Some(self.timestep_weights.to_string()),
            weight_range: Some(vec![self.weight_range.0, self.weight_range.1]),
            count: Some(self.count),
            round_in_sweep: Some(self.round_in_sweep),
            noise: Some(self.noise),
            ..Patch::default()
        }
    }
}

impl fmt::Display for Refine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refine::None => f.write_str("none"),
            Refine::Pcg(steps) => write!(f, "pcg:{steps}"),
        }
    }
}

impl fmt::Display for Packages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Packages::Auto => f.write_str("auto"),
            Packages::Fixed(packages) => write!(f, "{packages}"),
        }
    }
}

fn refuse(key: &str, expected: &str, found: impl ToString) -> Error {
    Error::Recipe { key: key.into(), expected: expected.into(), found: found.to_string() }
}

fn resolve_pattern(patch: &Patch) -> Result<Pattern> {
    let text = patch.pattern.as_deref().unwrap_or("unstructured");
    if text == "unstructured" {
        let value = patch.sparsity.unwrap_or(0.5);
        let sparsity = Sparsity::new(value).ok_or_else(|| refuse("sparsity", "a number in [0, 1)", value))?;
        return Ok(Pattern::Unstructured(sparsity));
    }
    let nm: NM = text.parse().map_err(|e: String| refuse("pattern", &format!("unstructured or N:M ({e})"), text))?;
    let pattern = Pattern::NM(nm);
    match patch.sparsity {
        Some(value) if (value - pattern.sparsity()).abs() > 1e-9 => {
            Err(refuse("sparsity", &format!("{} (or nothing) with pattern {nm}", pattern.sparsity()), value))
        }
        _ => Ok(pattern),
    }
}

fn parse_refine(text: &str) -> Result<Refine> {
    let expected = "none or pcg:N with N from 1 to 10000";
    match text.strip_prefix("pcg:").map(str::parse) {
        Some(Ok(steps @ 1..=10_000)) => Ok(Refine::Pcg(steps)),
        None if text == "none" => Ok(Refine::None),
        _ => Err(refuse("refine", expected, text)),
    }
}

fn parse_packages(text: &str) -> Result<Packages> {
    match text.parse() {
        Ok(packages @ 1..) => Ok(Packages::Fixed(packages)),
        _ if text == "auto" => Ok(Packages::Auto),
        _ => Err(refuse("packages", "auto or a positive number", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolved_recipe_is_a_recipe_file_that_resolves_to_itself() {
        for preset in [Preset::Default, Preset::Paper] {
            for pattern in ["unstructured", "2:4", "4:8"] {
                let patch = Patch { preset: Some(preset), pattern: Some(pattern.into()), ..Patch::default() };
                let recipe = Recipe::resolve(&patch).expect("valid");
                let again: Patch = toml::from_str(&recipe.to_patch().to_toml()).expect("its own output");
                assert_eq!(Recipe::resolve(&again).expect("valid"), recipe);
            }
        }
    }

    #[test]
    fn flags_override_the_file_and_the_file_its_preset() {
        let file: Patch = toml::from_str("preset = \"paper\"\nsparsity = 0.6\npackages = 3\n").expect("valid");
        let flags = Patch { sparsity: Some(0.7), ..Patch::default() };
        let recipe = Recipe::resolve(&flags.over(file)).expect("valid");
        assert_eq!(recipe.pattern.sparsity(), 0.7);
        assert_eq!(recipe.packages, Packages::Fixed(3));
        assert_eq!(recipe.timestep_weights, TimestepWeights::LogDecrease);
    }

    #[test]
    fn every_wrong_value_is_refused_by_its_key() {
        let cases: [(&str, Patch); 12] = [
            ("sparsity", Patch { sparsity: Some(1.0), ..Patch::default() }),
            ("sparsity", Patch { sparsity: Some(-0.1), ..Patch::default() }),
            ("sparsity", Patch { sparsity: Some(f64::NAN), ..Patch::default() }),
            ("sparsity", Patch { pattern: Some("2:4".into()), sparsity: Some(0.6), ..Patch::default() }),
            ("pattern", Patch { pattern: Some("4:2".into()), ..Patch::default() }),
            ("refine", Patch { refine: Some("pcg:0".into()), ..Patch::default() }),
            ("packages", Patch { packages: Some("0".into()), ..Patch::default() }),
            ("block_size", Patch { block_size: Some(0), ..Patch::default() }),
            ("block_size", Patch { pattern: Some("2:4".into()), block_size: Some(126), ..Patch::default() }),
            ("dampening", Patch { dampening: Some(-1.0), ..Patch::default() }),
            ("weight_range", Patch { weight_range: Some(vec![1.2, 0.8]), ..Patch::default() }),
            ("timestep_weights", Patch { timestep_weights: Some("cosine".into()), ..Patch::default() }),
        ];
        for (key, patch) in cases {
            match Recipe::resolve(&patch) {
                Err(Error::Recipe { key: found, .. }) => assert_eq!(found, key),
                other => panic!("{key}: {other:?}"),
            }
        }
        assert!(toml::from_str::<Patch>("sparsty = 0.5").is_err());
    }
}
