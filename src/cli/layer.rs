//! `obsdiff layer`: one Linear of any model, from and to safetensors.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::sampling_args::DeviceArg;
use super::table::{Align, Table, seconds};
use crate::calibration::TapHessian;
use crate::checkpoint::convert::{from_f32, rounding};
use crate::checkpoint::file::SafetensorsFile;
use crate::checkpoint::header::Dtype;
use crate::checkpoint::writer::{TensorOut, write_safetensors};
use crate::error::{Error, Result};
use crate::model::taps::{Linear, Stream, Tap};
use crate::ops::{Engine, Rounding, Symmetric, Tensor};
use crate::prune::{DenseLayer, SolveTimes, check_pattern, check_sweep, solve};
use crate::recipe::{Patch, Recipe};

/// Prunes one Linear of any model: weight and Hessian (or inputs) in, weight and mask out
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The weight, [rows, columns].
    #[arg(long, value_name = "FILE:NAME")]
    weight: Source,
    /// The Hessian, [columns, columns], or else --inputs; its scale does not matter.
    #[arg(long, value_name = "FILE:NAME", required_unless_present = "inputs", conflicts_with = "inputs")]
    hessian: Option<Source>,
    /// The inputs instead, [..., columns]: [batches, rows, tokens, columns] with weights, any shape without.
    #[arg(long, value_name = "FILE:NAME")]
    inputs: Option<Source>,
    /// Weight of each batch of the inputs, [batches].
    #[arg(long, value_name = "FILE:NAME", requires = "inputs", help_heading = "Calibration")]
    input_weights: Option<Source>,
    /// Output file with `weight` (dtype of the input), `mask` (U8, 1 = kept) and `hessian_diag`.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Recipe file; flags override it.
    #[arg(long, value_name = "FILE", help_heading = "Pruning")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    patch: Patch,
    #[command(flatten)]
    device: DeviceArg,
    /// Replace an existing output file.
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// A tensor in a file: `FILE:NAME`.
#[derive(Debug, Clone)]
struct Source {
    path: PathBuf,
    name: String,
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((path, name)) if !path.is_empty() && !name.is_empty() => {
                Ok(Source { path: path.into(), name: name.into() })
            }
            _ => Err("expected FILE:NAME, the name of a tensor in a safetensors file".into()),
        }
    }
}

/// A tensor read from its source: shape, dtype, and every value checked finite.
struct Loaded {
    path: PathBuf,
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    values: Vec<f32>,
}

impl Source {
    fn load(&self) -> Result<Loaded> {
        let file = SafetensorsFile::open(&self.path)?;
        let info = file.require(&self.name)?;
        let (shape, dtype) = (info.shape.clone(), info.dtype);
        let values = match dtype {
            Dtype::F64 => file.to_f64(&self.name)?.into_iter().map(|value| value as f32).collect(),
            _ => file.to_f32(&self.name)?,
        };
        let loaded = Loaded { path: self.path.clone(), name: self.name.clone(), shape, dtype, values };
        match loaded.values.iter().position(|value| !value.is_finite()) {
            None => Ok(loaded),
            Some(at) => Err(Error::NonFinite {
                tensor: self.name.clone(),
                found: loaded.values[at].to_string(),
                context: format!("at position {at} in {}", self.path.display()),
            }),
        }
    }
}

impl Loaded {
    fn expect(&self, holds: bool, expected: impl Into<String>) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(Error::Shape {
            path: self.path.clone(),
            tensor: self.name.clone(),
            expected: expected.into(),
            found: self.shape.clone(),
        })
    }
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let engine = args.device.engine()?;
    let file = args.recipe.as_deref().map(Patch::read).transpose()?.unwrap_or_default();
    let recipe = Recipe::resolve(&args.patch.clone().over(file))?;
    if args.output.exists() && !args.overwrite {
        return Err(Error::OutputExists { path: args.output.clone() });
    }
    let weight = args.weight.load()?;
    weight.expect(weight.shape.len() == 2 && !weight.values.is_empty(), "[rows, columns], both positive")?;
    let (rows, columns) = (weight.shape[0], weight.shape[1]);
    let tap = Tap { columns, stream: Stream::Image, linears: vec![Linear { name: weight.name.clone(), rows }] };
    check_pattern(recipe.pattern, &tap)?;
    check_sweep(&recipe, engine.place())?;

    let start = Instant::now();
    let hessian = match (&args.hessian, &args.inputs) {
        (Some(source), _) => {
            let given = source.load()?;
            given
                .expect(given.shape == [columns, columns], format!("[{columns}, {columns}] as the weight's columns"))?;
            check_symmetric(&given, columns)?;
            let matrix = Symmetric::from_rows(columns, given.values);
            TapHessian::from_matrix(tap, matrix.unwrap_or_else(|| Symmetric::zeros(columns)), &*engine)?
        }
        (None, inputs) => {
            let mut hessian = TapHessian::new(tap, &*engine)?;
            if let Some(inputs) = inputs.as_ref().map(Source::load).transpose()? {
                accumulate(&mut hessian, &inputs, args.input_weights.as_ref(), &*engine)?;
            }
            hessian
        }
    };
    let accumulated = start.elapsed();
    let diagonal = hessian.hessian.diagonal()?;
    if diagonal.iter().all(|&h| h == 0.0) {
        return Err(Error::NoCalibrationData { tensor: weight.name.clone() });
    }

    // float64 weights come back as float32, the precision they are pruned in.
    let dtype = if weight.dtype == Dtype::F64 { Dtype::F32 } else { weight.dtype };
    let stored_as = rounding(dtype).unwrap_or(Rounding::None);
    let linear = Linear { name: weight.name.clone(), rows };
    let dense = DenseLayer { linear, weight: Tensor::from_vec(weight.values, [rows, columns])?, stored_as };
    let mut times = SolveTimes::default();
    let (mut pruned, health) = solve(hessian, vec![dense], &recipe, &*engine, &mut times)?;
    let Some(layer) = pruned.pop() else { return Ok(()) };

    let removed = layer.mask.pruned();
    let error = layer.relative_error.unwrap_or(0.0);
    let summary = json!({
        "schema": "obsdiff.layer/1",
        "weight": weight.name,
        "rows": rows,
        "columns": columns,
        "pattern": recipe.pattern.to_string(),
        "pruned": removed,
        "sparsity": removed as f64 / (rows * columns) as f64,
        "relative_error": error,
        "dead_columns": health.dead_columns,
        "dampening_attempts": health.dampening_attempts,
        "smallest_pivot": health.smallest_pivot,
        "largest_pivot": health.largest_pivot,
        "seconds": {
            "hessian": accumulated.as_secs_f64(),
            "factor": times.factor.as_secs_f64(),
            "sweep": times.sweep.as_secs_f64(),
            "refine": times.refine.as_secs_f64(),
            "error": times.error.as_secs_f64(),
        },
    });
    write_output(
        &args.output,
        layer.weight.as_slice()?,
        weight.dtype,
        [rows, columns],
        layer.mask.as_slice(),
        &diagonal,
        &summary,
    )?;
    if args.json {
        return super::print_json(out, &summary);
    }
    let mut table = Table::new(&[("", Align::Left), ("", Align::Right)]);
    table.row([weight.name, format!("{rows} x {columns}, {}", recipe.pattern)]);
    table.row(["removed".into(), format!("{removed} ({:.4} %)", 100.0 * removed as f64 / (rows * columns) as f64)]);
    table.row(["relative error".into(), format!("{error:.4e}")]);
    table.row(["Hessian".into(), seconds(accumulated)]);
    table.row(["factor".into(), seconds(times.factor)]);
    table.row(["sweep".into(), seconds(times.sweep)]);
    table.row(["refine".into(), seconds(times.refine)]);
    table.row(["written to".into(), args.output.display().to_string()]);
    super::print(out, &table.to_string())
}

/// Adds inputs batch by batch, as the official code counts them: rows of a batch, not tokens.
fn accumulate(hessian: &mut TapHessian, inputs: &Loaded, weights: Option<&Source>, engine: &dyn Engine) -> Result<()> {
    let columns = hessian.tap.columns;
    let shape = &inputs.shape;
    inputs.expect(shape.last() == Some(&columns), format!("[..., {columns}] as the weight's columns"))?;
    let weights = match weights {
        None => vec![1.0],
        Some(source) => {
            let weights = source.load()?;
            inputs.expect(shape.len() >= 3, "[batches, rows, ..., columns] to go with input weights")?;
            weights.expect(weights.shape == shape[..1], format!("[{}], one per batch of the inputs", shape[0]))?;
            weights.values
        }
    };
    let rows = match shape.len() {
        0..=2 => 1,
        3 => shape[0],
        _ => shape[1],
    };
    let per_batch = inputs.values.len() / weights.len();
    if per_batch == 0 {
        return Err(Error::NoCalibrationData { tensor: hessian.tap.name().to_string() });
    }
    for (batch, &weight) in inputs.values.chunks_exact(per_batch).zip(&weights) {
        let batch = Tensor::from_vec(batch.to_vec(), [per_batch / columns, columns])?;
        hessian.add(&engine.upload(&batch)?, rows, f64::from(weight))?;
    }
    hessian.finish()
}

fn check_symmetric(given: &Loaded, columns: usize) -> Result<()> {
    let at = |i: usize, j: usize| given.values[i * columns + j];
    let scale = (0..columns).map(|i| at(i, i).abs()).fold(0.0f32, f32::max);
    for i in 0..columns {
        if at(i, i) < 0.0 {
            return Err(Error::malformed(&given.path, format!("`{}`: diagonal entry {i} is negative", given.name)));
        }
        for j in 0..i {
            if (at(i, j) - at(j, i)).abs() > 1e-4 * scale {
                let problem = format!("`{}` is not symmetric at row {i}, column {j}", given.name);
                return Err(Error::malformed(&given.path, problem));
            }
        }
    }
    Ok(())
}

fn write_output(
    path: &Path,
    weight: &[f32],
    dtype: Dtype,
    shape: [usize; 2],
    keep: &[bool],
    diagonal: &[f32],
    summary: &serde_json::Value,
) -> Result<()> {
    let mut bytes = Vec::new();
    from_f32(weight, dtype, &mut bytes);
    let mask: Vec<u8> = keep.iter().map(|&keep| u8::from(keep)).collect();
    let columns = [shape[1]];
    let tensors = [
        TensorOut { name: "weight", dtype, shape: &shape, bytes: bytes.into() },
        TensorOut { name: "mask", dtype: Dtype::U8, shape: &shape, bytes: mask.into() },
        TensorOut::f32("hessian_diag", &columns, diagonal),
    ];
    let stable = ["schema", "weight", "pattern", "pruned", "sparsity", "relative_error", "dead_columns"];
    let metadata: Vec<(String, String)> = stable
        .iter()
        .map(|&key| (key.to_string(), summary[key].as_str().map_or_else(|| summary[key].to_string(), String::from)))
        .collect();
    write_safetensors(path, &tensors, &metadata)
}
