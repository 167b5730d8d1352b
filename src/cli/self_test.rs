//! `obsdiff self-test`: every kernel on this machine's GPU against its reference.

use crate::ops::Device;

/// Checks every CUDA kernel on the GPU against its float64 reference.
#[derive(clap::Args)]
pub struct Args {
    /// The GPU: cuda, cuda:N, or auto, which skips the checks where there is no GPU (OBSDIFF_REQUIRE_GPU=1 makes
    /// that a failure)
    #[arg(long, default_value_t = Device::Auto)]
    device: Device,
    /// Only these operations, such as gram
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Small sizes alone, as for compute-sanitizer
    #[arg(long)]
    small: bool,
    /// How often the small cases are repeated to see that their bytes are equal
    #[arg(long, value_name = "RUNS", default_value_t = 10)]
    repeat: usize,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the checks and prints to `out`.
///
/// # Errors
/// [`crate::Error::CheckFailed`] if a kernel is wrong, [`crate::Error::NoGpu`] without one that was asked
/// for.
#[cfg(not(feature = "cuda"))]
pub fn run(args: &Args, _out: &mut dyn std::io::Write) -> crate::Result<()> {
    let Args { device, only: _, small: _, repeat: _, json: _ } = args;
    Err(crate::Error::NoGpu(format!(
        "--device {device}: this build computes on the CPU only; {}",
        crate::doctor::HOW_TO_GET_CUDA
    )))
}

#[cfg(feature = "cuda")]
pub use with_cuda::run;

#[cfg(feature = "cuda")]
mod with_cuda {
    use std::io::Write;
    use std::time::Instant;

    use obsdiff_kernels::check::{Outcome, Scale, suite};
    use obsdiff_kernels::driver::Driver;
    use obsdiff_kernels::{Device, Error as KernelError};
    use serde_json::json;

    use super::Args;
    use crate::cli::table::{Align, Table};
    use crate::error::{Error, Result};

    /// See the module.
    pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
        let ordinal = ordinal(args.device)?;
        let unknown = args.only.iter().find(|name| suite::ALL.iter().all(|check| check.operation != name.as_str()));
        if let Some(unknown) = unknown {
            let names: Vec<&str> = suite::ALL.iter().map(|check| check.operation).collect();
            return Err(Error::Usage(format!("--only names `{unknown}`; expected some of {}", names.join(", "))));
        }
        let chosen: Vec<&suite::Check> = suite::ALL
            .iter()
            .filter(|check| args.only.is_empty() || args.only.iter().any(|name| name == check.operation))
            .collect();
        let device = match Driver::device(ordinal.unwrap_or(0)) {
            Ok(device) => device,
            Err(KernelError::Unavailable(reason)) => {
                return without_gpu(args, ordinal.is_some(), &reason, chosen.len(), out);
            }
            Err(error) => return Err(error.into()),
        };
        let mut outcomes = Vec::new();
        let mut failures = Vec::new();
        for check in chosen {
            let started = Instant::now();
            let scales = if args.small { &[Scale::Small][..] } else { &[Scale::Small, Scale::Full] };
            for &scale in scales {
                let outcome = (check.run)(&device, scale, &mut |outcome: Outcome| {
                    if !outcome.passed() {
                        failures.push(format!("{} {}: {}", outcome.kernel, outcome.case, outcome.detail));
                    }
                    outcomes.push(outcome);
                });
                if let Err(error) = outcome {
                    failures.push(format!("{}: {error}", check.operation));
                }
            }
            if let Err(error) = suite::repeats(&device, check, args.repeat) {
                failures.push(error.to_string());
            }
            let seconds = started.elapsed().as_secs_f64();
            tracing::info!("{} checked in {seconds:.1} s", check.operation);
        }
        let passed = outcomes.iter().filter(|outcome| outcome.passed()).count();
        if args.json {
            print_json(&device, &outcomes, &failures, out)?;
        } else {
            let mut table = Table::new(&[
                ("kernel", Align::Left),
                ("case", Align::Left),
                ("error", Align::Right),
                ("bound", Align::Right),
                ("", Align::Left),
            ]);
            for Outcome { kernel, case, error, bound, .. } in &outcomes {
                let verdict = if error <= bound { "" } else { "FAILED" };
                table.row([
                    (*kernel).into(),
                    case.clone(),
                    format!("{error:.2e}"),
                    format!("{bound:.2e}"),
                    verdict.into(),
                ]);
            }
            let name = &device.properties().name;
            let summary = format!("{passed} passed, {} failed, 0 skipped on {name}\n", failures.len());
            crate::cli::print(out, &format!("{table}{summary}"))?;
        }
        match failures.as_slice() {
            [] => Ok(()),
            failures => Err(Error::CheckFailed(format!("the GPU's results are wrong: {}", failures.join("; ")))),
        }
    }

    /// `auto` may find no GPU; anything else must.
    fn ordinal(device: crate::ops::Device) -> Result<Option<usize>> {
        match device {
            crate::ops::Device::Auto => Ok(None),
            crate::ops::Device::Cuda(ordinal) => Ok(Some(ordinal)),
            crate::ops::Device::Cpu => Err(Error::Usage("--device is `cpu`, expected auto, cuda or cuda:N".into())),
        }
    }

    fn without_gpu(args: &Args, asked: bool, reason: &str, skipped: usize, out: &mut dyn Write) -> Result<()> {
        let required = std::env::var("OBSDIFF_REQUIRE_GPU").is_ok_and(|value| value == "1");
        if asked || required {
            return Err(Error::NoGpu(reason.into()));
        }
        if args.json {
            return crate::cli::print_json(out, &json!({"schema": "obsdiff.self-test/1", "skipped": reason}));
        }
        crate::cli::print(out, &format!("SKIP: {reason}\n0 passed, 0 failed, {skipped} skipped\n"))
    }

    fn print_json(device: &Device, outcomes: &[Outcome], failures: &[String], out: &mut dyn Write) -> Result<()> {
        let cases: Vec<_> = outcomes
            .iter()
            .map(|outcome| {
                json!({
                    "kernel": outcome.kernel, "case": outcome.case, "error": outcome.error, "bound": outcome.bound,
                    "passed": outcome.passed(),
                })
            })
            .collect();
        let gpu = &device.properties().name;
        let report = json!({"schema": "obsdiff.self-test/1", "gpu": gpu, "cases": cases, "failures": failures});
        crate::cli::print_json(out, &report)
    }
}
