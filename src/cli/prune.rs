//! `obsdiff prune`: the main job.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::progress::Bars;
use super::sampling_args::SamplingArgs;
use super::table::{Align, Table, bytes, seconds};
use super::text_args::TextArgs;
use crate::error::Result;
use crate::job::{Outcome, PruneJob, prune};
use crate::memory::Size;
use crate::ops::Place;
use crate::recipe::{Patch, Recipe};

/// Prunes a diffusers checkpoint in one shot and writes one that loads back
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model folder: a diffusers pipeline (model_index.json) or a transformer alone (config.json).
    model: PathBuf,
    /// Output folder.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Embeddings to calibrate with: safetensors with prompt_embeds, pooled_prompt_embeds, for SD3 also
    /// negative_prompt_embeds and negative_pooled_prompt_embeds, optionally latents; one row per sample.
    #[arg(long, value_name = "FILE", conflicts_with = "prompts")]
    calibration: Option<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    /// Recipe file; flags override it.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    patch: Patch,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// GPU memory to stay within, such as 24GiB: more passes over the trajectory, the same result. The driver's own
    /// few hundred MiB are not counted
    #[arg(long, value_name = "SIZE")]
    max_vram: Option<Size>,
    /// Keep finished packages in this folder, so that an interrupted job goes on where it stopped when the same
    /// command is run again; it is removed when the job is done.
    #[arg(long, value_name = "FOLDER")]
    journal: Option<PathBuf>,
    /// Replace an existing output folder.
    #[arg(long)]
    overwrite: bool,
    /// Print the whole report as one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let engine = args.sampling.engine()?;
    let file = args.recipe.as_deref().map(Patch::read).transpose()?.unwrap_or_default();
    let flags = Patch { max_vram: args.max_vram, ..args.patch.clone() };
    let patch = args.sampling.over(flags.over(file));
    let job = PruneJob {
        model: args.model.clone(),
        output: args.output.clone(),
        overwrite: args.overwrite,
        calibration: args.text.source(args.calibration.as_deref(), patch.seed)?,
        recipe: Recipe::resolve(&patch)?,
        sampling: patch,
        dtype: args.sampling.weight_dtype(),
        engine,
        journal: args.journal.clone(),
        command: std::env::args().collect(),
    };
    let bars = Bars::new();
    let outcome = prune(&job, &bars)?;
    drop(bars);
    if args.json {
        let mut object = json!(outcome.report);
        object["run"] = json!(outcome.run);
        return super::print_json(out, &object);
    }
    super::print(out, &summary(&outcome, &args.output.display().to_string()))
}

/// Layers, stages and totals for people.
fn summary(outcome: &Outcome, output: &str) -> String {
    let (report, run) = (&outcome.report, &outcome.run);
    let mut layers = Table::new(&[
        ("layer", Align::Left),
        ("shape", Align::Right),
        ("sparsity", Align::Right),
        ("relative error", Align::Right),
    ]);
    for layer in &report.layers {
        layers.row([
            layer.name.clone(),
            format!("{} x {}", layer.rows, layer.columns),
            format!("{:.2} %", 100.0 * layer.sparsity),
            layer.relative_error.map_or("-".into(), |error| format!("{error:.3e}")),
        ]);
    }
    let mut stages = Table::new(&[("stage", Align::Left), ("time", Align::Right)]);
    for (stage, time) in &run.stages {
        stages.row([stage.clone(), seconds(Duration::from_secs_f64(*time))]);
    }
    stages.row(["total".into(), seconds(Duration::from_secs_f64(run.seconds))]);
    let peak = run.measured_peak_bytes.map_or("not measured".into(), bytes);
    let planned = bytes(run.planned_peak_bytes);
    let memory = match run.plan.memory {
        Place::Host => format!("peak memory {peak} (planned {planned})"),
        #[cfg(feature = "cuda")]
        Place::Gpu => format!("peak host memory {peak}, planned GPU memory {planned}"),
    };
    let error = report.mean_relative_error.map_or(String::new(), |error| format!(", mean relative error {error:.3e}"));
    format!(
        "{layers}\n{stages}\nremoved {} of {} weights in {} Linears ({:.4} %){error}\n{memory}\n\
         written to {output}\n",
        report.pruned,
        report.prunable_parameters,
        report.layers.len(),
        100.0 * report.sparsity,
    )
}
