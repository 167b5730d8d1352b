//! What a pruning job will cost, from shapes alone: no weights, no GPU. `prune` uses the same functions, so
//! that what it allocates is what was planned.

mod memory;
mod packages;

use serde::{Deserialize, Serialize};

use self::memory::Base;
pub use self::packages::{Package, packages};
use crate::checkpoint::config::{Architecture, FluxConfig, Sd3Config};
use crate::checkpoint::shapes::expected_tensors;
use crate::model::taps::{Stream, Tap, units};
use crate::ops::Place;
use crate::recipe::{Recipe, Refine};
use crate::units::bytes;

/// Names that `obsdiff plan --arch` knows.
pub const KNOWN_ARCHITECTURES: [&str; 5] =
    ["flux.1-dev", "flux.1-schnell", "sd3-medium", "sd3.5-medium", "sd3.5-large"];

/// The published configuration of a model, with its VAE's scale factor of 8; `None` for an unknown name.
pub fn known_architecture(name: &str) -> Option<Architecture> {
    let sd3 = |blocks, heads, max_size, dual: usize, qk_norm: Option<&str>| {
        Architecture::Sd3(Sd3Config {
            num_layers: blocks,
            num_attention_heads: heads,
            caption_projection_dim: 64 * heads,
            pos_embed_max_size: max_size,
            dual_attention_layers: (0..dual).collect(),
            qk_norm: qk_norm.map(String::from),
            ..Sd3Config::default()
        })
    };
    Some(match name {
        "flux.1-dev" => Architecture::Flux(FluxConfig { guidance_embeds: true, ..FluxConfig::default() }),
        "flux.1-schnell" => Architecture::Flux(FluxConfig::default()),
        "sd3-medium" => sd3(24, 24, 192, 0, None),
        "sd3.5-medium" => sd3(24, 24, 384, 13, Some("rms_norm")),
        "sd3.5-large" => sd3(38, 38, 192, 0, Some("rms_norm")),
        _ => return None,
    })
}

/// How the model is run during calibration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Workload {
    pub samples: usize,
    pub num_inference_steps: usize,
    /// Rows of a forward pass per sample: 2 with classifier-free guidance.
    pub branches: usize,
    /// Samples per forward pass.
    pub batch_size: usize,
    /// Image tokens per row.
    pub image_tokens: usize,
    /// Text tokens per row.
    pub text_tokens: usize,
    /// Bytes per weight while the model runs: 4 for f32, 2 for bf16 and f16.
    pub bytes_per_weight: u64,
    pub threads: usize,
    /// The memory that is planned: that of the engine.
    #[serde(skip)]
    pub place: Place,
}

/// One distinct Hessian.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HessianPlan {
    /// The first Linear that reads the input.
    pub tap: String,
    /// All Linears that share it.
    pub linears: usize,
    pub columns: usize,
    pub bytes: u64,
}

impl HessianPlan {
    fn new(tap: &Tap, place: Place) -> Self {
        let bytes = place.hessian_bytes(tap.columns);
        HessianPlan { tap: tap.name().to_string(), linears: tap.linears.len(), columns: tap.columns, bytes }
    }
}

/// One run of the trajectory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassPlan {
    pub hessians: usize,
    pub hessian_bytes: u64,
    /// Peak bytes while this pass calibrates and solves.
    pub peak_bytes: u64,
}

/// One calibration package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackagePlan {
    pub linears: usize,
    pub hessians: Vec<HessianPlan>,
    pub hessian_bytes: u64,
    /// Largest peak of its passes.
    pub peak_bytes: u64,
    pub passes: Vec<PassPlan>,
}

/// Multiply-adds counted as two operations.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Arithmetic {
    pub forward: f64,
    pub hessians: f64,
    pub factor: f64,
    pub sweep: f64,
    pub refine: f64,
}

/// The whole job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The memory that all bytes here are of.
    pub memory: Place,
    pub parameters: u64,
    /// Parameters of the Linears that the recipe chooses.
    pub prunable_parameters: u64,
    pub weight_bytes: u64,
    pub activation_bytes: u64,
    pub hessians: usize,
    pub hessian_bytes: u64,
    pub peak_bytes: u64,
    pub packages: Vec<PackagePlan>,
    pub arithmetic: Arithmetic,
}

impl Plan {
    /// One line: what the job was to take of its memory.
    pub fn summary(&self) -> String {
        let package = |(index, package): (usize, &PackagePlan)| {
            let passes =
                if package.passes.len() == 1 { String::new() } else { format!(" in {} passes", package.passes.len()) };
            format!(
                "package {}: {} Hessians of {}{passes}, peak {}",
                index + 1,
                package.hessians.len(),
                bytes(package.hessian_bytes),
                bytes(package.peak_bytes)
            )
        };
        let packages: Vec<String> = self.packages.iter().enumerate().map(package).collect();
        let (weights, activations) = (bytes(self.weight_bytes), bytes(self.activation_bytes));
        format!("{} memory: weights {weights}, activations {activations}; {}", self.memory, packages.join("; "))
    }
}

/// The taps that `recipe` prunes, unit by unit; Linears that it leaves out are gone from their taps.
pub fn chosen_units(arch: &Architecture, recipe: &Recipe) -> Vec<Vec<Tap>> {
    let choose = |mut tap: Tap| {
        tap.linears.retain(|linear| recipe.chooses(&linear.name));
        (!tap.linears.is_empty()).then_some(tap)
    };
    let chosen = units(arch).into_iter().map(|unit| unit.into_iter().filter_map(choose).collect::<Vec<_>>());
    chosen.filter(|unit| !unit.is_empty()).collect()
}

/// Plans the whole job for packages as [`packages`] cut them.
pub fn plan(arch: &Architecture, recipe: &Recipe, work: &Workload, packages: &[Package]) -> Plan {
    let base = Base::new(arch, work);
    let all: Vec<&Tap> = packages.iter().flat_map(Package::taps).collect();
    let hessian_bytes = |tap: &Tap| work.place.hessian_bytes(tap.columns);
    let parameters = parameters(arch);
    let pass_plan = |pass: &Vec<Tap>| PassPlan {
        hessians: pass.len(),
        hessian_bytes: pass.iter().map(hessian_bytes).sum(),
        peak_bytes: base.peak(base.load(pass, recipe, work.threads)),
    };
    let package_plan = |package: &Package| {
        let passes: Vec<PassPlan> = package.passes.iter().map(pass_plan).collect();
        PackagePlan {
            linears: package.taps().map(|tap| tap.linears.len()).sum(),
            hessians: package.taps().map(|tap| HessianPlan::new(tap, work.place)).collect(),
            hessian_bytes: passes.iter().map(|pass| pass.hessian_bytes).sum(),
            peak_bytes: passes.iter().map(|pass| pass.peak_bytes).max().unwrap_or(0),
            passes,
        }
    };
    let packages: Vec<PackagePlan> = packages.iter().map(package_plan).collect();
    let columns = |tap: &Tap| tap.columns as f64;
    let weights = |tap: &Tap| tap.linears.iter().map(|linear| linear.rows).sum::<usize>() as f64 * columns(tap);
    let passes: usize = packages.iter().map(|package| package.passes.len()).sum();
    let runs = if recipe.needs_calibration() { passes as f64 } else { 0.0 };
    let rows = (work.samples * work.branches * work.num_inference_steps) as f64;
    let sum = |term: &dyn Fn(&Tap) -> f64| all.iter().map(|tap| term(tap)).sum::<f64>();
    let refine_products = match recipe.refine {
        Refine::None => 0.0,
        Refine::Pcg(steps) => 1.0 + steps as f64,
    };
    let swept = if recipe.method.compensates() { 1.0 } else { 0.0 };
    Plan {
        memory: work.place,
        parameters,
        prunable_parameters: sum(&weights) as u64,
        weight_bytes: parameters * work.bytes_per_weight,
        activation_bytes: base.activations,
        hessians: all.len(),
        hessian_bytes: all.iter().map(|tap| hessian_bytes(tap)).sum(),
        peak_bytes: packages.iter().map(|package| package.peak_bytes).max().unwrap_or(0),
        arithmetic: Arithmetic {
            forward: runs * rows * forward_per_row(arch, work),
            hessians: rows * sum(&|tap| tokens(tap, work) as f64 * columns(tap).powi(2)),
            factor: swept * sum(&|tap| columns(tap).powi(3) / 3.0),
            sweep: swept * sum(&|tap| weights(tap) * columns(tap)),
            refine: refine_products * sum(&|tap| 2.0 * weights(tap) * columns(tap)),
        },
        packages,
    }
}

/// Parameters of the transformer, buffers included.
pub fn parameters(arch: &Architecture) -> u64 {
    expected_tensors(arch).iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}

/// Tokens per row that a tap sees.
fn tokens(tap: &Tap, work: &Workload) -> usize {
    match tap.stream {
        Stream::Image => work.image_tokens,
        Stream::Text => work.text_tokens,
        Stream::Joint => work.image_tokens + work.text_tokens,
    }
}

/// Arithmetic of one row of a forward pass: the Linears of all blocks, the attention products, and the
/// modulations, which see one token.
fn forward_per_row(arch: &Architecture, work: &Workload) -> f64 {
    let d = arch.inner_dim() as f64;
    let joint = (work.image_tokens + work.text_tokens) as f64;
    let image = work.image_tokens as f64;
    let attention = |tokens: f64| 4.0 * tokens * tokens * d;
    let linears: f64 = units(arch)
        .iter()
        .flatten()
        .map(|tap| {
            let rows: usize = tap.linears.iter().map(|linear| linear.rows).sum();
            2.0 * (tokens(tap, work) * tap.columns * rows) as f64
        })
        .sum();
    let modulations: f64 = expected_tensors(arch)
        .iter()
        .filter(|(name, shape)| name.ends_with(".linear.weight") && shape.len() == 2)
        .map(|(_, shape)| 2.0 * shape.iter().product::<usize>() as f64)
        .sum();
    let attentions = match arch {
        Architecture::Sd3(c) => {
            c.num_layers as f64 * attention(joint) + c.dual_attention_layers.len() as f64 * attention(image)
        }
        Architecture::Flux(c) => (c.num_layers + c.num_single_layers) as f64 * attention(joint),
    };
    linears + modulations + attentions
}
