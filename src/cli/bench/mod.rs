//! `obsdiff bench`: how fast the kernels, and the models' blocks made of them, are on this machine's GPU.

#[cfg(feature = "cuda")]
mod block;
#[cfg(feature = "cuda")]
mod kernels;

use std::io::Write;
use std::path::PathBuf;

#[cfg(feature = "cuda")]
use crate::error::Error;
use crate::error::Result;
use crate::ops::Device;

/// Measures the CUDA engine's kernels, or whole blocks of SD3.5-large and FLUX.1-dev
///
/// Kernels are measured beside cuBLASLt, cuSOLVER and cuSPARSELt, where these are installed, blocks dense against 2:4
/// sparse.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(value_enum, default_value_t = Subject::Kernels)]
    subject: Subject,
    /// The GPU: cuda or cuda:N
    #[arg(long, default_value_t = Device::Cuda(0))]
    device: Device,
    /// Only these kernels' operations, such as gram
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Runs whose median is taken
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    runs: usize,
    /// Also write the measurements to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail if a kernel is more than 3 % and three spreads slower than in this file of an earlier run on the same
    /// GPU model
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// What `obsdiff bench` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// Every kernel by itself
    Kernels,
    /// Whole blocks of the models in bf16, dense against 2:4 sparse
    Block,
}

/// Measures and prints to `out`.
///
/// # Errors
/// [`crate::Error::NoGpu`] without one, and those of the measurement.
#[cfg(feature = "cuda")]
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    match args.subject {
        Subject::Kernels => kernels::run(args, out),
        Subject::Block => block::run(args, out),
    }
}

/// Refuses: a build for the CPU has nothing to measure.
///
/// # Errors
/// [`crate::Error::NoGpu`].
#[cfg(not(feature = "cuda"))]
pub fn run(args: &Args, _out: &mut dyn Write) -> Result<()> {
    let Args { subject: Subject::Kernels | Subject::Block, device, only: _, runs: _, json: _, baseline: _ } = args;
    Err(crate::Error::NoGpu(format!(
        "--device {device}: this build computes on the CPU only; {}",
        crate::doctor::HOW_TO_GET_CUDA
    )))
}

#[cfg(feature = "cuda")]
impl Args {
    /// The number of the GPU.
    fn ordinal(&self) -> Result<usize> {
        match self.device {
            Device::Auto => Ok(0),
            Device::Cuda(ordinal) => Ok(ordinal),
            Device::Cpu => Err(Error::Usage("--device is `cpu`, expected cuda or cuda:N".into())),
        }
    }

    /// Writes `report` where --json says.
    fn write(&self, report: &serde_json::Value) -> Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        std::fs::write(path, format!("{report:#}\n")).map_err(|source| Error::io(path, source))
    }
}

/// What nvidia-smi says of the clocks, if it is there.
#[cfg(feature = "cuda")]
fn clocks() -> Option<String> {
    let query = "--query-gpu=clocks.sm,clocks.max.sm,clocks.mem,power.draw,temperature.gpu";
    let said = std::process::Command::new("nvidia-smi").args([query, "--format=csv"]).output().ok()?;
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_string())
}
