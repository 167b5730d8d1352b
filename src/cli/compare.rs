//! `obsdiff compare`: the same noise and prompts through a dense and a pruned model.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::model_arg::ModelArg;
use super::progress::Bars;
use super::sampling_args::SamplingArgs;
use super::table::{Align, Table, bytes};
use super::text_args::TextArgs;
use super::{print, print_json};
use crate::compare::{COMPARISON_FILE, CompareJob, Comparison, GRID_FILE, MetricModels, PictureMetrics, compare};
use crate::error::{Error, Result};
use crate::hub::Part;
use crate::metrics::Spread;
use crate::recipe::Patch;

/// Runs a dense and a pruned model from the same noise and says how far their latents and pictures lie apart
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
    /// Folder for comparison.json, grid.png (dense over pruned) and the pictures
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print one JSON object, as in comparison.json
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Replace the folder of an earlier comparison
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    measures: MeasureArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Measures of pictures that need a local model
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Measures of pictures")]
struct MeasureArgs {
    /// Measure LPIPS with the weights of lpips.LPIPS (alex or vgg) as a safetensors file
    #[arg(long, value_name = "FILE")]
    lpips: Option<PathBuf>,
    /// Measure the CLIP score of pictures and prompts with the model in a folder of transformers
    #[arg(long, value_name = "DIR")]
    clip: Option<PathBuf>,
    /// Measure Frechet distances over the features of a classifier file or a CLIP folder
    #[arg(long, value_name = "FILE|DIR")]
    features: Option<PathBuf>,
    /// Compare latents only: decode nothing
    #[arg(long, conflicts_with_all = ["lpips", "clip", "features"])]
    latents_only: bool,
}

/// Compares and prints to `out`.
///
/// # Errors
/// Those of [`compare`] and of the device.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let sampling = args.sampling.over(Patch::default());
    let conditioning = args
        .text
        .source(args.conditioning.as_deref(), sampling.seed)?
        .ok_or_else(|| Error::Usage("there is nothing to draw: pass --prompts or --conditioning".into()))?;
    let mut dense_parts = vec![Part::Transformer, Part::Trajectory];
    dense_parts.extend(args.text.parts());
    if !args.measures.latents_only {
        dense_parts.push(Part::Vae);
    }
    let job = CompareJob {
        dense: args.dense.resolve(&dense_parts)?,
        pruned: args.pruned.resolve(&[Part::Transformer])?,
        conditioning,
        sampling,
        dtype: args.sampling.weight_dtype(),
        engine: args.sampling.engine()?,
        decode: !args.measures.latents_only,
        metrics: MetricModels {
            lpips: args.measures.lpips.clone(),
            clip: args.measures.clip.clone(),
            features: args.measures.features.clone(),
        },
        output: args.output.clone(),
        overwrite: args.overwrite,
        command: std::env::args().collect(),
    };
    let bars = Bars::new();
    let comparison = compare(&job, &bars)?;
    drop(bars);
    if args.json {
        return print_json(out, &json!(comparison));
    }
    let mut text = as_text(&comparison);
    if let Some(folder) = &args.output {
        let (record, grid) = (folder.join(COMPARISON_FILE), folder.join(GRID_FILE));
        text.push_str(&format!("wrote {}, {}\n", record.display(), grid.display()));
    }
    print(out, &text)
}

fn as_text(comparison: &Comparison) -> String {
    let mut models = Table::new(&[("", Align::Left), ("dense", Align::Right), ("pruned", Align::Right)]);
    let mut row = |name: &str, dense: String, pruned: String| models.row([name.to_string(), dense, pruned]);
    let (size, time) = (&comparison.bytes, &comparison.seconds_per_step);
    row("zeros in prunable weights", "-".into(), format!("{:.2} %", comparison.sparsity * 100.0));
    row("transformer", bytes(size.dense), bytes(size.pruned));
    row("one step", format!("{:.3} s", time.dense), format!("{:.3} s", time.pruned));
    if let Some(score) = comparison.pictures.as_ref().and_then(|pictures| pictures.clip_score.as_ref()) {
        row("CLIP score", format!("{:.2}", score.dense.mean), format!("{:.2}", score.pruned.mean));
    }
    if let Some(distance) = comparison.pictures.as_ref().and_then(|pictures| pictures.frechet_real) {
        row("Fréchet distance to real", format!("{:.4}", distance.dense), format!("{:.4}", distance.pruned));
    }
    let mut text = format!("{models}\n{}\n", measures(comparison));
    text.push_str(&format!(
        "|z - z_dense|^2 / |z_dense|^2  {:.4e} over all {} items (mean square {:.4e})\n",
        comparison.latent_rel, comparison.per_item.items, comparison.latent_mse
    ));
    if let Some(PictureMetrics { frechet: Some(distance), .. }) = &comparison.pictures {
        text.push_str(&format!("Fréchet distance between the models' pictures  {distance:.4}\n"));
    }
    text
}

/// One line per paired measure.
fn measures(comparison: &Comparison) -> Table {
    let columns = ["min", "median", "mean", "max", "std"].map(|name| (name, Align::Right));
    let mut table = Table::new(&[&[("per item", Align::Left)], &columns[..]].concat());
    let mut row = |name: String, spread: &Spread, format: fn(f64) -> String| {
        let values = [spread.min, spread.median, spread.mean, spread.max, spread.std].map(format);
        table.row(std::iter::once(name).chain(values));
    };
    row("latent error".into(), &comparison.per_item, |x| format!("{x:.3e}"));
    if let Some(pictures) = &comparison.pictures {
        row("PSNR, dB".into(), &pictures.psnr, |x| format!("{x:.2}"));
        if let Some(ssim) = &pictures.ssim {
            row("SSIM".into(), ssim, |x| format!("{x:.4}"));
        }
        if let Some(lpips) = &pictures.lpips {
            let network = pictures.lpips_network.as_deref().unwrap_or_default();
            row(format!("LPIPS ({network})"), lpips, |x| format!("{x:.4}"));
        }
    }
    table
}
