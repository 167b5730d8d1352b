//! `obsdiff doctor`: what this machine offers and what of it this program can use.

use std::io::Write;

use super::table::bytes;
use crate::doctor::{Diagnosis, diagnose};
use crate::error::Result;

/// Shows CPU, memory, driver, GPUs and libraries, and why a GPU cannot be used.
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Looks and prints to `out`.
///
/// # Errors
/// A failure to print.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let diagnosis = diagnose();
    if args.json {
        return super::print_json(out, &serde_json::json!(diagnosis));
    }
    super::print(out, &text(&diagnosis))
}

fn text(found: &Diagnosis) -> String {
    let mut lines = vec![
        format!("obsdiff     {}{}", found.obsdiff, if found.cuda_build { " with CUDA" } else { "" }),
        format!("CPU         {} threads", found.cpu_threads),
    ];
    if let Some(free) = found.memory_available {
        lines.push(format!("memory      {} available", bytes(free)));
    }
    if let Some(driver) = &found.driver {
        lines.push(format!("driver      CUDA {driver}"));
    }
    for (ordinal, gpu) in found.gpus.iter().enumerate() {
        lines.push(format!(
            "GPU {ordinal}       {}, compute capability {}, {} multiprocessors, {}; kernels: {}",
            gpu.name,
            gpu.compute_capability,
            gpu.multiprocessors,
            bytes(gpu.memory_bytes),
            gpu.kernels
        ));
    }
    for library in &found.libraries {
        let version = library.version.as_deref().unwrap_or("not installed (only benchmarks compare with it)");
        lines.push(format!("{:<11} {version}", library.name));
    }
    lines.push(match found.problems.as_slice() {
        [] => "--device cuda works here; `obsdiff self-test --device cuda` checks every kernel on the GPU".into(),
        problems => format!("--device cuda does not work here: {}", problems.join("; ")),
    });
    lines.push(String::new());
    lines.join("\n")
}
