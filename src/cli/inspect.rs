//! `obsdiff inspect`: what a model folder or a safetensors file holds.

use std::io::Write;

use super::model_arg::ModelArg;
use crate::error::Result;
use crate::hub::Part;
use crate::inspect::{Inspection, inspect};

/// Shows sizes, dtypes, and how sparse each prunable Linear is.
#[derive(clap::Args)]
pub struct Args {
    /// Diffusers folder, of a pipeline or a transformer alone, a safetensors file (of the original SD3 or FLUX layout, or
    /// any other), or a name on the hub
    #[arg(value_name = "MODEL|FILE")]
    path: ModelArg,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Inspects and prints to `out`.
///
/// # Errors
/// Those of [`inspect`], or a failure to print.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let inspection = inspect(&args.path.resolve(&[Part::Transformer])?)?;
    if args.json {
        return super::print_json(out, &serde_json::json!(inspection));
    }
    super::print(out, &table(&inspection))
}

fn table(found: &Inspection) -> String {
    let mut lines = vec![found.path.clone()];
    if let Some(layout) = found.layout {
        lines.push(format!("layout      {layout}"));
    }
    if let Some(reason) = &found.refused {
        lines.push(format!("refused     {reason}"));
    }
    if let Some(arch) = &found.architecture {
        lines.push(format!("class       {}", arch.class));
        let singles = if arch.single_blocks > 0 { format!(" + {} single", arch.single_blocks) } else { String::new() };
        let dual = if arch.dual_attention_blocks > 0 {
            format!(", {} with dual attention", arch.dual_attention_blocks)
        } else {
            String::new()
        };
        lines.push(format!("blocks      {}{singles}{dual}", arch.blocks));
        lines.push(format!("width       {} ({} heads)", arch.width, arch.heads));
        lines.push(format!("prompts     {} wide, pooled {}", arch.prompt_width, arch.pooled_width));
    }
    let dtypes: Vec<_> = found.dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
    lines.push(format!("tensors     {} ({})", found.tensors, dtypes.join(", ")));
    if found.carried > 0 {
        lines.push(format!("carried     {} tensors of other networks in the same file", found.carried));
    }
    lines.push(format!("files       {}", found.files));
    lines.push(format!("parameters  {}", found.parameters));
    lines.push(format!("bytes       {}", found.bytes));
    if found.matrix_weights > 0 {
        lines.push(format!(
            "zeros       {} of {} weights in {} matrices ({:.2} %)",
            found.matrix_zeros,
            found.matrix_weights,
            found.matrices.len(),
            100.0 * found.matrix_zeros as f64 / found.matrix_weights as f64
        ));
        lines.push(String::new());
        let width = found.matrices.iter().map(|m| m.name.len()).max().unwrap_or(0).max("matrix".len());
        let header = ["matrix", "shape", "dtype", "zeros", "sparsity", "pattern"];
        let [matrix, shape, dtype, zeros, sparsity, pattern] = header;
        lines.push(format!("{matrix:<width$}  {shape:>13}  {dtype:<5}  {zeros:>11}  {sparsity:>8}  {pattern}"));
        for m in &found.matrices {
            let shape = format!("{} x {}", m.rows, m.columns);
            let broken = if m.non_finite > 0 { format!("  ({} NaN or infinite)", m.non_finite) } else { String::new() };
            lines.push(format!(
                "{:<width$}  {shape:>13}  {:<5}  {:>11}  {:>6.2} %  {}{broken}",
                m.name,
                m.dtype,
                m.zeros,
                100.0 * m.sparsity,
                m.pattern
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}
