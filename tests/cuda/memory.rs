//! Device memory: what is planned, what is taken, and what a limit changes.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use obsdiff::calibration::TapHessian;
use obsdiff::job::{Outcome, Progress, PruneJob, prune};
use obsdiff::memory::Size;
use obsdiff::model::taps::{Linear, Stream, Tap};
use obsdiff::ops::cuda::Cuda;
use obsdiff::ops::{DType, Engine, Place, Rounding, Tensor};
use obsdiff::plan::Plan;
use obsdiff::prune::{DenseLayer, SolveTimes, solve};
use obsdiff::recipe::{Patch, Recipe};
use obsdiff_kernels::interpreted::{Interpreted, Schedule};
use obsdiff_kernels::{Backend, Device, Error, Launch, Properties, Result};

use super::support::{data, files_below, json, noises};

/// Counts the bytes that live on a device, and refuses more than `capacity` of them.
struct Counting {
    inner: Arc<Interpreted>,
    live: Mutex<HashMap<u64, usize>>,
    peak: AtomicUsize,
    capacity: usize,
}

impl Counting {
    fn new(capacity: usize) -> Arc<Self> {
        let inner = Interpreted::new("80", Schedule::RoundRobin, 4);
        Arc::new(Counting { inner, live: Mutex::default(), peak: AtomicUsize::new(0), capacity })
    }

    fn engine(self: &Arc<Self>) -> Arc<dyn Engine> {
        Arc::new(Cuda::new(Device::new(self.clone()), "counting".into()))
    }

    fn live(&self) -> usize {
        self.live.lock().unwrap().values().sum()
    }

    fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Backend for Counting {
    fn properties(&self) -> &Properties {
        self.inner.properties()
    }

    fn free_bytes(&self) -> Result<u64> {
        self.inner.free_bytes()
    }

    fn allocate(&self, bytes: usize, what: &str) -> Result<u64> {
        let mut live = self.live.lock().unwrap();
        let taken: usize = live.values().sum();
        if taken + bytes > self.capacity {
            let (needed, available) = (bytes as u64, (self.capacity - taken) as u64);
            return Err(Error::OutOfMemory { what: what.into(), needed, available });
        }
        let address = self.inner.allocate(bytes, what)?;
        live.insert(address, bytes);
        self.peak.fetch_max(taken + bytes, Ordering::Relaxed);
        Ok(address)
    }

    fn free(&self, address: u64) {
        self.live.lock().unwrap().remove(&address);
        self.inner.free(address);
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.inner.upload(to, bytes)
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.inner.download(from, bytes)
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.inner.copy(to, from, bytes)
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()> {
        self.inner.fill(to, byte, bytes)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.inner.launch(launch)
    }

    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }
}

/// Remembers the names of the stages, and the device's peak when each began.
struct Stages {
    device: Arc<Counting>,
    begun: Mutex<Vec<(String, u64)>>,
}

impl Stages {
    fn of(device: Arc<Counting>) -> Self {
        Stages { device, begun: Mutex::default() }
    }
}

impl Progress for Stages {
    fn begin(&self, stage: &str, _: u64) {
        self.begun.lock().unwrap().push((stage.to_string(), self.device.peak() as u64));
    }

    fn advance(&self) -> obsdiff::Result<()> {
        Ok(())
    }
}

/// A job of one step.
struct Job<'a> {
    name: &'a str,
    layers: &'a str,
    packages: &'a str,
    dtype: DType,
    max_vram: Option<u64>,
}

const ALL: Job = Job { name: "sd3_medium", layers: "*", packages: "1", dtype: DType::F32, max_vram: None };

impl Job<'_> {
    fn run(&self, output: &Path, stages: &Stages) -> obsdiff::Result<Outcome> {
        let folder = data("pipelines").join(self.name);
        let info = json(&folder.join("info.json"));
        let size = |key: &str| Some(info[key].as_u64().unwrap() as usize);
        let patch = Patch {
            pattern: Some("2:4".into()),
            refine: Some("pcg:1".into()),
            layers: Some(vec![self.layers.into()]),
            packages: Some(self.packages.into()),
            num_inference_steps: Some(1),
            height: size("height"),
            width: size("width"),
            batch_size: Some(2),
            max_vram: self.max_vram.map(Size),
            ..Patch::default()
        };
        let job = PruneJob {
            model: folder.join("pipeline"),
            output: output.to_path_buf(),
            overwrite: false,
            calibration: Some(folder.join("conditioning.safetensors").into()),
            recipe: Recipe::resolve(&patch)?,
            sampling: patch,
            dtype: self.dtype,
            engine: stages.device.engine(),
            journal: None,
            command: Vec::new(),
        };
        prune(&job, stages)
    }

    /// Runs it: what was written but for `run.json`, the outcome, the peak, the stages.
    fn measured(&self) -> Measured {
        let (folder, stages) = (tempfile::tempdir().unwrap(), Stages::of(Counting::new(usize::MAX)));
        let output = folder.path().join("pruned");
        let outcome = self.run(&output, &stages).unwrap();
        let mut files = files_below(&output);
        assert!(files.remove(Path::new("run.json")).is_some());
        let peak = stages.device.peak() as u64;
        Measured { files, plan: outcome.run.plan, peak, stages: stages.begun.into_inner().unwrap() }
    }
}

/// What a job wrote and took.
struct Measured {
    files: BTreeMap<PathBuf, Vec<u8>>,
    plan: Plan,
    peak: u64,
    stages: Vec<(String, u64)>,
}

/// Panics unless `taken` is at most what was planned and at least half of it.
#[track_caller]
fn assert_planned(what: &str, taken: u64, planned: u64) {
    println!("{what}: {taken} of {planned} planned bytes, {:.3}", taken as f64 / planned as f64);
    assert!(taken <= planned, "{what}: {taken} bytes taken, {planned} planned");
    assert!(2 * taken >= planned, "{what}: only {taken} bytes taken, {planned} planned");
}

#[test]
fn a_limit_makes_more_passes_and_the_same_bytes() {
    for (packages, least) in [("1", 3), ("2", 2)] {
        let all = Job { layers: "*attn*", packages, ..ALL };
        let free = all.measured();
        assert_eq!(free.plan.memory, Place::Gpu);
        assert!(free.plan.packages.iter().all(|package| package.passes.len() == 1), "{packages} packages, no limit");
        assert_planned("one pass", free.peak, free.plan.peak_bytes);

        let hessians = free.plan.packages.iter().map(|package| package.hessian_bytes).max().unwrap();
        let limit = free.plan.peak_bytes - hessians * (least - 1) / least;
        let limited = Job { max_vram: Some(limit), ..all }.measured();
        let passes = limited.plan.packages[0].passes.len();
        assert!(passes as u64 >= least, "{packages} packages: {passes} passes in the first");
        assert_planned("more passes", limited.peak, limited.plan.peak_bytes);
        assert!(limited.peak <= limit, "{} bytes taken, the limit is {limit}", limited.peak);
        let of = if packages == "1" { "" } else { " 1/2" };
        for stage in ["calibrate", "prune"].map(|stage| format!("{stage}{of}, pass 2/{passes}")) {
            assert!(limited.stages.iter().any(|(name, _)| *name == stage), "no {stage} in {:?}", limited.stages);
        }
        assert_eq!(limited.files.keys().collect::<Vec<_>>(), free.files.keys().collect::<Vec<_>>());
        for (path, bytes) in free.files {
            assert!(limited.files[&path] == bytes, "{} differs", path.display());
        }
    }
}

#[test]
fn calibration_takes_the_planned_memory() {
    for name in ["sd35_medium", "flux_dev"] {
        for dtype in [DType::F32, DType::BF16] {
            let Measured { plan, peak, stages, .. } =
                Job { name, layers: "*blocks.0.attn.to_out.0", dtype, ..ALL }.measured();
            assert_planned(&format!("{name} in {dtype}"), peak, plan.peak_bytes);
            let (_, calibrated) = stages.iter().find(|(stage, _)| stage == "prune").unwrap();
            let activations = calibrated - plan.weight_bytes - plan.hessian_bytes;
            assert_planned(&format!("activations of {name} in {dtype}"), activations, plan.activation_bytes);
        }
    }
}

#[test]
fn solving_a_tap_takes_the_planned_memory() {
    // The factor is the largest, the weights of all Linears are, and the refinement of one is.
    for (rows, columns, refine) in [(&[16][..], 300, "none"), (&[256, 256, 256], 64, "none"), (&[512], 64, "pcg:1")] {
        let device = Counting::new(usize::MAX);
        let engine = device.engine();
        let linears = rows.iter().enumerate().map(|(i, &rows)| Linear { name: format!("layer{i}"), rows }).collect();
        let tap = Tap { columns, stream: Stream::Image, linears };
        let patch = Patch { pattern: Some("2:4".into()), refine: Some(refine.into()), ..Patch::default() };
        let recipe = Recipe::resolve(&patch).unwrap();
        let dense = tap.linears.iter().map(|linear| {
            let weight = Tensor::from_vec(noises(7, linear.rows * columns), [linear.rows, columns]).unwrap();
            DenseLayer { linear: linear.clone(), weight, stored_as: Rounding::BF16 }
        });
        let mut hessian = TapHessian::new(tap.clone(), &*engine).unwrap();
        assert_eq!(device.live() as u64, Place::Gpu.hessian_bytes(columns));
        let inputs = Tensor::from_vec(noises(3, 2 * columns * columns), [1, 2 * columns, columns]).unwrap();
        hessian.add(&engine.upload(&inputs).unwrap(), 1, 1.0).unwrap();
        hessian.finish().unwrap();
        let before = device.live();
        device.peak.store(before, Ordering::Relaxed);
        solve(hessian, dense.collect(), &recipe, &*engine, &mut SolveTimes::default()).unwrap();
        let taken = (device.peak() - before) as u64;
        assert_planned(&format!("{rows:?} x {columns}"), taken, Place::Gpu.solve_bytes(&tap, &recipe, 1));
        assert_eq!(device.live(), 0, "something stayed on the device");
    }
}

#[test]
fn too_little_memory_is_refused_with_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("pruned");
    let limited = Job { max_vram: Some(100_000), ..ALL };
    let stages = Stages::of(Counting::new(usize::MAX));
    let refusal = limited.run(&output, &stages).unwrap_err();
    assert_eq!((refusal.exit_code(), stages.device.peak()), (5, 0), "{refusal}");
    let obsdiff::Error::OutOfMemory { needed, available, .. } = refusal else { panic!("{refusal}") };
    assert!(available == 100_000 && needed > available, "{refusal}");
    let text = refusal.to_string();
    assert!(text.contains("100000") && text.contains(&needed.to_string()) && text.contains("--max-vram"), "{text}");

    // Somebody else took the memory after the plan was made.
    let refusal = ALL.run(&output, &Stages::of(Counting::new(1 << 20))).unwrap_err();
    assert_eq!(refusal.exit_code(), 5, "{refusal}");
    assert!(refusal.to_string().contains("--max-vram"), "{refusal}");
    assert!(!output.exists());
}
