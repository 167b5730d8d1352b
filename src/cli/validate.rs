//! `obsdiff validate`: opens a written model again and checks it.

use std::io::Write;

use super::model_arg::ModelArg;
use crate::error::{Error, Result};
use crate::hub::Part;
use crate::validate::{Validation, validate};

/// Checks that a model is whole and that its pruning is what its report claims.
#[derive(clap::Args)]
pub struct Args {
    /// The model to check: a folder, a file in the original layout, or a name on the hub
    #[arg(value_name = "MODEL")]
    out: ModelArg,
    /// The model that it was pruned from, a folder or a name on the hub: everything else must be unchanged
    #[arg(long, value_name = "MODEL")]
    against: Option<ModelArg>,
    /// Print one JSON object instead of a list
    #[arg(long)]
    json: bool,
}

/// Validates and prints every check to `out`.
///
/// # Errors
/// [`Error::CheckFailed`] if a check does not hold, those of [`validate`], or a failure to print.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let against = args.against.as_ref().map(|model| model.resolve(&[Part::Transformer])).transpose()?;
    let validation = validate(&args.out.resolve(&[Part::Transformer, Part::Report])?, against.as_deref())?;
    if args.json {
        super::print_json(out, &serde_json::json!(validation))?;
    } else {
        super::print(out, &list(&validation))?;
    }
    if validation.failed > 0 {
        return Err(Error::CheckFailed(format!(
            "{}: {} of {} checks failed",
            args.out,
            validation.failed,
            validation.checks.len()
        )));
    }
    Ok(())
}

fn list(validation: &Validation) -> String {
    let width = validation.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let line = |ok: bool, name: &str, detail: &str| {
        format!("{:<4}  {name:<width$}  {detail}\n", if ok { "ok" } else { "FAIL" })
    };
    validation.checks.iter().map(|check| line(check.ok, &check.name, &check.detail)).collect()
}
