//! `obsdiff compare`: the same noise and prompts through a dense and a pruned model.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::model_arg::ModelArg;
use super::sample::create_folder;
use super::sampling_args::SamplingArgs;
use super::table::{Align, Table, bytes};
use super::text_args::TextArgs;
use super::{print, print_json};
use crate::checkpoint::{Pipeline, write_atomic};
use crate::conditioning::Conditioning;
use crate::error::{Error, Result};
use crate::hub::Part;
use crate::model::Transformer;
use crate::model::taps::taps;
use crate::ops::Tensor;
use crate::pictures::{Colours, Grid, Item, from_latents};
use crate::report::comparison::Comparison;
use crate::sampling::{NoProbe, Sampler};

/// Runs a dense and a pruned model from the same noise and says how far their latents lie apart
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dense model: a diffusers folder or a name on the hub
    #[arg(value_name = "DENSE")]
    dense: ModelArg,
    /// The pruned model: a diffusers folder or a name on the hub
    #[arg(value_name = "PRUNED")]
    pruned: ModelArg,
    /// A safetensors file with prompt_embeds, pooled_prompt_embeds, their negative_ counterparts, latents
    #[arg(long, value_name = "FILE", conflicts_with = "prompts", required_unless_present = "prompts")]
    conditioning: Option<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    /// Folder for grid.png: rows of the dense model's latents, each above the pruned model's
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Replace the files of an earlier run
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// What one model did.
struct Outcome {
    latents: Tensor,
    /// Share of zeros among the weights that can be pruned.
    sparsity: f64,
    /// Of all tensors in the checkpoint.
    bytes: u64,
    /// All prompts, one step.
    seconds_per_step: f64,
}

/// Compares and prints to `out`.
///
/// # Errors
/// [`Error::OutputExists`]; [`Error::Usage`] if the models differ in more than their weights; those of opening
/// the models and the conditioning, of the trajectories and of writing.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let picture = args.output.as_ref().map(|folder| folder.join("grid.png"));
    if let Some(path) = picture.as_ref().filter(|path| !args.overwrite && path.exists()) {
        return Err(Error::OutputExists { path: path.clone() });
    }
    let engine = args.sampling.engine()?;
    let dense = args.dense.open(&[&[Part::Transformer, Part::Trajectory], args.text.parts()].concat())?;
    let pruned = args.pruned.open(&[Part::Transformer])?;
    if dense.architecture != pruned.architecture {
        return Err(Error::Usage(format!(
            "{} and {} have different configurations, so the same prompts mean different things; compare a model with \
             its pruned copy",
            args.dense, args.pruned
        )));
    }
    // Both run with the dense model's schedule: a pruned copy of the transformer alone has none.
    let sampler = args.sampling.sampler(&dense)?;
    let conditioning = args.sampling.conditioning(&args.text, args.conditioning.as_deref(), &dense, &sampler)?;
    sampler.check(&dense.architecture, &conditioning)?;
    let dtype = args.sampling.weight_dtype();
    let outcome = |pipeline: &Pipeline| {
        let bytes = pipeline.weights()?.total_bytes();
        outcome(&Transformer::open(pipeline, dtype, engine.clone())?, bytes, &sampler, &conditioning)
    };
    let (dense, pruned) = (outcome(&dense)?, outcome(&pruned)?);
    let comparison = Comparison::new(&dense.latents, &pruned.latents)?;
    if let Some(path) = &picture {
        write_grid(path, &sampler, &dense, &pruned)?;
    }
    if args.json {
        return print_json(out, &as_json(&comparison, &dense, &pruned, &sampler, picture.as_deref()));
    }
    print(out, &as_text(&comparison, &dense, &pruned, picture.as_deref()))
}

fn outcome(model: &Transformer, bytes: u64, sampler: &Sampler, conditioning: &Conditioning) -> Result<Outcome> {
    let start = Instant::now();
    let latents = sampler.sample(model, conditioning, &mut NoProbe)?;
    let seconds_per_step = start.elapsed().as_secs_f64() / sampler.schedule().steps() as f64;
    Ok(Outcome { latents, sparsity: sparsity(model)?, bytes, seconds_per_step })
}

/// Share of zeros among the weights of the Linears that can be pruned.
fn sparsity(model: &Transformer) -> Result<f64> {
    let (mut zeros, mut weights) = (0, 0);
    for linear in taps(model.architecture()).iter().flat_map(|tap| &tap.linears) {
        let values = model.weight(&linear.name)?.to_vec()?;
        zeros += values.iter().filter(|&&x| x == 0.0).count();
        weights += values.len();
    }
    Ok(zeros as f64 / weights as f64)
}

fn write_grid(path: &Path, sampler: &Sampler, dense: &Outcome, pruned: &Outcome) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let models = [sampler.size().unpack(&dense.latents)?, sampler.size().unpack(&pruned.latents)?];
    tracing::info!("{}: {}", path.display(), Colours::of(models[0].dim(1)?).describe());
    let pictures = from_latents(&models)?;
    let pairs = pictures[0].iter().zip(&pictures[1]);
    let items = pairs.map(|(dense, pruned)| Item { pictures: vec![dense, pruned], caption: Vec::new() }).collect();
    write_atomic(path, &Grid { rows: vec!["dense".into(), "pruned".into()], items }.png()?)
}

fn as_json(
    comparison: &Comparison,
    dense: &Outcome,
    pruned: &Outcome,
    sampler: &Sampler,
    picture: Option<&Path>,
) -> serde_json::Value {
    let options = sampler.options();
    json!({
        "latent_mse": comparison.latent_mse,
        "latent_rel": comparison.latent_rel,
        "per_item": comparison.per_item,
        "sparsity": pruned.sparsity,
        "bytes": { "dense": dense.bytes, "pruned": pruned.bytes },
        "seconds_per_step": { "dense": dense.seconds_per_step, "pruned": pruned.seconds_per_step },
        "num_inference_steps": sampler.schedule().steps(),
        "guidance_scale": options.guidance_scale,
        "seed": options.seed,
        "grid": picture.map(|path| path.display().to_string()),
    })
}

fn as_text(comparison: &Comparison, dense: &Outcome, pruned: &Outcome, picture: Option<&Path>) -> String {
    let mut table = Table::new(&[("", Align::Left), ("dense", Align::Right), ("pruned", Align::Right)]);
    let mut row = |name: &str, dense: String, pruned: String| table.row([name.to_string(), dense, pruned]);
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    row("zeros in prunable weights", percent(dense.sparsity), percent(pruned.sparsity));
    row("transformer", bytes(dense.bytes), bytes(pruned.bytes));
    row("one step", format!("{:.3} s", dense.seconds_per_step), format!("{:.3} s", pruned.seconds_per_step));
    let item = &comparison.per_item;
    let mut text = format!(
        "{table}\n|z - z_dense|^2 / |z_dense|^2  {:.4e} over all {} items (mean square {:.4e})\n\
         per item: min {:.4e}, median {:.4e}, mean {:.4e}, max {:.4e}, std {:.4e}\n",
        comparison.latent_rel, item.items, comparison.latent_mse, item.min, item.median, item.mean, item.max, item.std
    );
    if let Some(path) = picture {
        text.push_str(&format!("wrote {}\n", path.display()));
    }
    text
}
