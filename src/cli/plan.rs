//! `obsdiff plan`: what a pruning job will cost, before it runs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::table::{Align, Table, bytes, count};
use crate::checkpoint::config::Architecture;
use crate::checkpoint::pipeline::Pipeline;
use crate::conditioning::encode::{check_sequence_length, default_sequence_length};
use crate::error::{Error, Result};
use crate::job::limit;
use crate::memory::Size;
use crate::plan::{KNOWN_ARCHITECTURES, Plan, Workload, known_architecture, packages, plan};
use crate::recipe::{Patch, Recipe};

/// Shows packages, Hessians, memory and arithmetic of a pruning job from configurations alone
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model folder; only its configurations are read.
    #[arg(required_unless_present = "arch", conflicts_with = "arch")]
    model: Option<PathBuf>,
    /// A published model instead: flux.1-dev, flux.1-schnell, sd3-medium, sd3.5-medium, sd3.5-large.
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Calibration samples.
    #[arg(long, default_value_t = 100)]
    samples: usize,
    /// Text tokens per prompt [default: SD3 333 (77 + 256), FLUX.1-dev 512, FLUX.1-schnell 256]
    #[arg(long, value_name = "TOKENS")]
    text_tokens: Option<usize>,
    /// The same, as what T5 reads of a prompt: SD3 has 77 tokens of CLIP besides
    #[arg(long, value_name = "TOKENS", conflicts_with = "text_tokens")]
    max_sequence_length: Option<usize>,
    /// Memory that the device is taken to have, such as 80GiB or 16GB, without looking at it; without it that of the
    /// device for a model folder, and no limit for --arch. With either, --device auto stands for the CPU.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// GPU memory to stay within, such as 24GiB: more passes, the same result
    #[arg(long, value_name = "SIZE")]
    max_vram: Option<Size>,
    /// Recipe file; flags override it.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    sampling: super::sampling_args::SamplingArgs,
    #[command(flatten)]
    patch: Patch,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// Text tokens per prompt: those asked for, or those of the published pipelines, 77 of CLIP and 256 of T5 for SD3, 512
/// of T5 for FLUX.1-dev, 256 for FLUX.1-schnell.
fn text_tokens(args: &Args, arch: &Architecture) -> Result<usize> {
    if let Some(tokens) = args.text_tokens {
        return Ok(tokens);
    }
    args.max_sequence_length.map_or(Ok(()), check_sequence_length)?;
    let t5 = args.max_sequence_length.unwrap_or_else(|| default_sequence_length(arch));
    Ok(match arch {
        Architecture::Sd3(_) => 77 + t5,
        Architecture::Flux(_) => t5,
    })
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let (place, there) = match (&args.model, args.memory) {
        (Some(_), None) => {
            let engine = args.sampling.engine()?;
            (engine.place(), engine.available_memory())
        }
        (_, memory) => (args.sampling.device().place()?, memory.map(|size| size.0)),
    };
    let file = args.recipe.as_deref().map(Patch::read).transpose()?.unwrap_or_default();
    let flags = Patch { max_vram: args.max_vram, ..args.patch.clone() };
    let patch = args.sampling.over(flags.over(file));
    let recipe = Recipe::resolve(&patch)?;
    let pipeline = match (&args.model, &args.arch) {
        (Some(model), _) => Pipeline::open(model)?,
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            let unknown = || Error::Usage(format!("--arch {name} is not one of {}", KNOWN_ARCHITECTURES.join(", ")));
            Pipeline::published(known_architecture(name).ok_or_else(unknown)?)
        }
    };
    let arch = &pipeline.architecture;
    let sampler = crate::job::sampler(&pipeline, &patch)?;
    let work = Workload {
        samples: args.samples,
        num_inference_steps: sampler.schedule().steps(),
        branches: 1 + usize::from(sampler.doubles_rows(arch)),
        batch_size: sampler.batches(args.samples).first().map_or(0, |rows| rows.len()),
        image_tokens: sampler.size().tokens(),
        text_tokens: text_tokens(args, arch)?,
        bytes_per_weight: args.sampling.weight_dtype().size_in_bytes() as u64,
        threads: rayon::current_num_threads(),
        place,
    };
    let packages = packages(arch, &recipe, &work, limit(place, there, patch.max_vram)?)?;
    let plan = plan(arch, &recipe, &work, &packages);
    if args.json {
        return super::print_json(out, &json!({ "schema": "obsdiff.plan/1", "workload": work, "plan": plan }));
    }
    super::print(out, &text(arch, &work, &plan))
}

fn text(arch: &Architecture, work: &Workload, plan: &Plan) -> String {
    let mut packages = Table::new(&[
        ("package", Align::Right),
        ("Linears", Align::Right),
        ("Hessians", Align::Right),
        ("passes", Align::Right),
        ("Hessian memory", Align::Right),
        ("peak memory", Align::Right),
    ]);
    for (index, package) in plan.packages.iter().enumerate() {
        packages.row([
            (index + 1).to_string(),
            package.linears.to_string(),
            package.hessians.len().to_string(),
            package.passes.len().to_string(),
            bytes(package.hessian_bytes),
            bytes(package.peak_bytes),
        ]);
    }
    let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
    for hessian in plan.packages.iter().flat_map(|package| &package.hessians) {
        *widths.entry(hessian.columns).or_default() += 1;
    }
    let right = Align::Right;
    let mut hessians = Table::new(&[("columns", right), ("Hessians", right), ("each", right), ("together", right)]);
    for (columns, number) in widths {
        let each = plan.memory.hessian_bytes(columns);
        hessians.row([columns.to_string(), number.to_string(), bytes(each), bytes(each * number as u64)]);
    }
    let mut arithmetic = Table::new(&[("stage", Align::Left), ("operations", Align::Right)]);
    let cost = &plan.arithmetic;
    let stages = [
        ("forward", cost.forward),
        ("Hessians", cost.hessians),
        ("factor", cost.factor),
        ("sweep", cost.sweep),
        ("refine", cost.refine),
    ];
    for (stage, operations) in stages {
        arithmetic.row([stage.to_string(), count(operations)]);
    }
    format!(
        "{}: {} parameters, {} in Linears to prune, weights {}\n\
         {} samples x {} steps x {} rows, {} image and {} text tokens each, {} samples per forward pass\n\n\
         {packages}\n{hessians}\n{arithmetic}\n{} distinct Hessians, {} in all; peak {} memory {}\n",
        arch.class_name(),
        count(plan.parameters as f64),
        count(plan.prunable_parameters as f64),
        bytes(plan.weight_bytes),
        work.samples,
        work.num_inference_steps,
        work.branches,
        work.image_tokens,
        work.text_tokens,
        work.batch_size,
        plan.hessians,
        bytes(plan.hessian_bytes),
        plan.memory,
        bytes(plan.peak_bytes),
    )
}
