//! What this machine offers and what of it this program can use.

use serde::Serialize;

/// A device that `--device` can name.
#[derive(Debug, Clone, Serialize)]
pub struct Gpu {
    pub name: String,
    /// Such as `9.0`.
    pub compute_capability: String,
    pub multiprocessors: u32,
    pub memory_bytes: u64,
    /// How the kernels run on it: machine code by its name, compiled by the driver, or not at all.
    pub kernels: String,
}

/// A library that benchmarks compare with.
#[derive(Debug, Clone, Serialize)]
pub struct Library {
    pub name: String,
    /// `None` where it is not installed.
    pub version: Option<String>,
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    pub schema: &'static str,
    pub obsdiff: &'static str,
    pub cpu_threads: usize,
    /// Bytes free, where the system tells.
    pub memory_available: Option<u64>,
    /// Whether this build holds the CUDA engine.
    pub cuda_build: bool,
    /// Such as `13.0`.
    pub driver: Option<String>,
    pub gpus: Vec<Gpu>,
    pub libraries: Vec<Library>,
    /// Why `--device cuda` would not work, one sentence each; empty if it would.
    pub problems: Vec<String>,
}

/// Looks around.
pub fn diagnose() -> Diagnosis {
    let mut diagnosis = Diagnosis {
        schema: "obsdiff.doctor/1",
        obsdiff: env!("CARGO_PKG_VERSION"),
        cpu_threads: rayon::current_num_threads(),
        memory_available: crate::memory::available(),
        cuda_build: cfg!(feature = "cuda"),
        driver: None,
        gpus: Vec::new(),
        libraries: Vec::new(),
        problems: Vec::new(),
    };
    look_for_gpus(&mut diagnosis);
    diagnosis
}

#[cfg(not(feature = "cuda"))]
fn look_for_gpus(diagnosis: &mut Diagnosis) {
    diagnosis.problems.push(format!("this build computes on the CPU only; {HOW_TO_GET_CUDA}"));
}

/// How to get a program with the CUDA engine.
pub const HOW_TO_GET_CUDA: &str =
    "for GPUs run scripts/cuda-toolkit and build again with `cargo build --release --features cuda`";

#[cfg(feature = "cuda")]
fn look_for_gpus(diagnosis: &mut Diagnosis) {
    use obsdiff_kernels::image::{Fit, fit};
    use obsdiff_kernels::{driver, libraries};

    diagnosis.libraries = libraries::ALL
        .iter()
        .map(|known| {
            let opened = libraries::open(known).ok();
            let version = opened.map(|opened| {
                opened
                    .version
                    .map_or("of unknown version".into(), |[major, minor, patch]| format!("{major}.{minor}.{patch}"))
            });
            Library { name: known.name.into(), version }
        })
        .collect();
    match driver::version() {
        Ok((major, minor)) => diagnosis.driver = Some(format!("{major}.{minor}")),
        Err(problem) => {
            diagnosis.problems.push(problem.to_string());
            return;
        }
    }
    let gpus = match driver::list() {
        Ok(gpus) => gpus,
        Err(problem) => {
            diagnosis.problems.push(problem.to_string());
            return;
        }
    };
    if gpus.is_empty() {
        diagnosis.problems.push("the driver shows no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES".into());
    }
    let usable = gpus.iter().any(|gpu| fit(gpu.compute_capability) != Fit::None);
    for (ordinal, gpu) in gpus.into_iter().enumerate() {
        let (major, minor) = gpu.compute_capability;
        let kernels = match fit(gpu.compute_capability) {
            Fit::MachineCode(name) => format!("machine code for sm_{name}"),
            Fit::CompiledByDriver => "compiled by the driver at the first start".into(),
            Fit::None => {
                let problem = format!("GPU {ordinal}, {}, is older than the kernels need (Ampere, 8.0)", gpu.name);
                diagnosis.problems.push(problem);
                "none".into()
            }
        };
        diagnosis.gpus.push(Gpu {
            name: gpu.name,
            compute_capability: format!("{major}.{minor}"),
            multiprocessors: gpu.multiprocessors,
            memory_bytes: gpu.memory_bytes,
            kernels,
        });
    }
    if usable {
        // One GPU that works is enough; the others are told apart in the table.
        diagnosis.problems.clear();
    }
}
