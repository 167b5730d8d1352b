//! The column sweep on the interpreter.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use obsdiff_kernels::check::{Outcome, Scale, sweep as check};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::sweep::{Rounding, Selection, SweepInput, SweepSegment, sweep, sweep_bytes};
use obsdiff_kernels::triangle::{PackedTriangle, TILE};
use obsdiff_kernels::{Backend, Buffer, Device, Error, Launch, Properties, Result};
use obsdiff_ptx::Schedule;

/// Runs the small cases and fails with all that are out of bounds.
fn check_on(device: &Device) {
    let mut failures = Vec::new();
    let mut worst: f64 = 0.0;
    check::run(device, Scale::Small, &mut |outcome: Outcome| {
        if outcome.bound > 0.0 {
            worst = worst.max(outcome.error / outcome.bound);
        }
        if !outcome.passed() {
            failures.push(format!("{}: {:e} > {:e} {}", outcome.case, outcome.error, outcome.bound, outcome.detail));
        }
    })
    .unwrap();
    println!("largest error over its bound: {worst:.2}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn sweep_agrees_with_float64_on_every_case() {
    check_on(&Interpreted::device());
}

#[test]
fn sweep_agrees_with_float64_as_compiled_for_blackwell() {
    check_on(&Device::new(Interpreted::new("120a", Schedule::RoundRobin, 3)));
}

/// A factor with few off-diagonal entries, its inverses and weights, on `device`.
struct Operands {
    factor: PackedTriangle,
    inverses: Buffer<f32>,
    weight: Buffer<f32>,
}

const COLUMNS: usize = 160;
const SEGMENTS: [SweepSegment; 2] =
    [SweepSegment { rows: 40, rounding: Rounding::None }, SweepSegment { rows: 3, rounding: Rounding::BF16 }];
const ROWS: usize = 43;

impl Operands {
    /// R is the identity plus entries c in its first row, so the inverse is the identity minus them.
    fn new(device: &Device) -> Self {
        let tiles = COLUMNS.div_ceil(TILE);
        let mut lower = vec![0.0; COLUMNS * COLUMNS];
        lower.iter_mut().step_by(COLUMNS + 1).for_each(|value| *value = 1.0);
        let mut inverses = vec![0.0; tiles * TILE * TILE];
        for tile in inverses.chunks_exact_mut(TILE * TILE) {
            tile.iter_mut().step_by(TILE + 1).for_each(|value| *value = 1.0);
        }
        for j in 1..COLUMNS {
            let entry = 1.0 / (j + 3) as f32;
            lower[j * COLUMNS] = entry;
            if j < TILE {
                inverses[j] = -entry;
            }
        }
        let weight: Vec<f32> = (0..ROWS * COLUMNS).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1000.0 - 1.0).collect();
        Operands {
            factor: PackedTriangle::from_lower(device, COLUMNS, &lower, "factor").unwrap(),
            inverses: Buffer::from_slice(device, &inverses, "inverses").unwrap(),
            weight: Buffer::from_slice(device, &weight, "weight").unwrap(),
        }
    }

    fn input<'a>(&'a self, selection: Selection<'a>) -> SweepInput<'a> {
        let Operands { factor, inverses, .. } = self;
        SweepInput { factor, inverses, dead: &[], segments: &SEGMENTS, selection, block_size: 64 }
    }
}

/// Counts for the three blocks of both segments.
fn counts() -> Vec<Vec<usize>> {
    vec![vec![1500, 1000, 640], vec![90, 96, 1]]
}

/// The bits of everything that a sweep gives.
fn swept_bits(device: &Device, selection: Selection) -> (Vec<u32>, Vec<u8>, Vec<u64>) {
    let operands = Operands::new(device);
    let mut weight = Buffer::zeros(device, ROWS * COLUMNS, "weight").unwrap();
    weight.copy_from(0, &operands.weight).unwrap();
    let output = sweep(device, &mut weight, &operands.input(selection)).unwrap();
    (
        weight.to_vec().unwrap().into_iter().map(f32::to_bits).collect(),
        output.mask.to_vec().unwrap(),
        output.damped_loss.into_iter().map(f64::to_bits).collect(),
    )
}

#[test]
fn sweep_gives_the_same_bytes_under_any_schedule() {
    let counts = counts();
    for selection in [Selection::Unstructured { counts: &counts }, Selection::NM { keep: 4, of: 8 }] {
        let expected = swept_bits(&Interpreted::device(), selection);
        support::under_random_schedules(|device, seed| {
            assert!(swept_bits(device, selection) == expected, "{selection:?} under schedule {seed}");
        });
    }
}

#[test]
fn every_block_of_every_segment_loses_its_count() {
    let counts = counts();
    let (_, mask, _) = swept_bits(&Interpreted::device(), Selection::Unstructured { counts: &counts });
    let mut rows = mask.chunks_exact(COLUMNS);
    for (segment, counts) in SEGMENTS.iter().zip(&counts) {
        let rows: Vec<&[u8]> = rows.by_ref().take(segment.rows).collect();
        for (block, &count) in counts.iter().enumerate() {
            let columns = block * 64..COLUMNS.min(block * 64 + 64);
            let zeros = rows.iter().flat_map(|row| &row[columns.clone()]).filter(|&&kept| kept == 0).count();
            assert_eq!(zeros, count, "block {block} of {segment:?}");
        }
    }
}

#[test]
fn sweep_refuses_what_does_not_fit() {
    let device = Interpreted::device();
    let operands = Operands::new(&device);
    let mut weight = Buffer::zeros(&device, ROWS * COLUMNS, "weight").unwrap();
    let mut refused = |input: SweepInput, part: &str| match sweep(&device, &mut weight, &input) {
        Err(Error::Argument { operation: "sweep", problem }) => assert!(problem.contains(part), "{problem}"),
        other => panic!("expected a refusal with `{part}`, found {other:?}"),
    };
    let fits = operands.input(Selection::NM { keep: 2, of: 4 });
    for block_size in [0, 8, 48, 256] {
        refused(SweepInput { block_size, ..fits }, "block size");
    }
    refused(SweepInput { segments: &SEGMENTS[..1], ..fits }, "weights for segments");
    refused(SweepInput { dead: &[COLUMNS], ..fits }, "dead column");
    refused(SweepInput { inverses: &operands.weight, ..fits }, "inverses");
    for (keep, of) in [(0, 4), (4, 4), (64, 128)] {
        refused(SweepInput { selection: Selection::NM { keep, of }, ..fits }, "expected N:M");
    }
    for (keep, of) in [(1, 3), (1, 64)] {
        refused(SweepInput { selection: Selection::NM { keep, of }, ..fits }, "does not divide");
    }
    let mask = Buffer::zeros(&device, COLUMNS, "mask").unwrap();
    refused(SweepInput { selection: Selection::Fixed { mask: &mask }, ..fits }, "a mask of");
    let mut wrong = counts();
    wrong[1][2] = 3 * 32 + 1;
    refused(operands.input(Selection::Unstructured { counts: &wrong }), "block 2 of segment 1");
    wrong[1].pop();
    refused(operands.input(Selection::Unstructured { counts: &wrong }), "counts in segment 1");
    wrong.pop();
    refused(operands.input(Selection::Unstructured { counts: &wrong }), "segments");
}

/// Counts the bytes that live on a device.
struct Counting {
    inner: Arc<Interpreted>,
    live: Mutex<HashMap<u64, usize>>,
    peak: AtomicUsize,
}

impl Backend for Counting {
    fn properties(&self) -> &Properties {
        self.inner.properties()
    }

    fn free_bytes(&self) -> Result<u64> {
        self.inner.free_bytes()
    }

    fn allocate(&self, bytes: usize, what: &str) -> Result<u64> {
        let address = self.inner.allocate(bytes, what)?;
        let mut live = self.live.lock().unwrap();
        live.insert(address, bytes);
        self.peak.fetch_max(live.values().sum(), Ordering::Relaxed);
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

#[test]
fn sweep_bytes_is_the_peak_of_what_a_sweep_takes() {
    let inner = Interpreted::new("80", Schedule::RoundRobin, 4);
    let counting = Arc::new(Counting { inner, live: Mutex::default(), peak: AtomicUsize::new(0) });
    let device = Device::new(counting.clone());
    let operands = Operands::new(&device);
    let mut weight = Buffer::zeros(&device, ROWS * COLUMNS, "weight").unwrap();
    let inputs: usize = counting.live.lock().unwrap().values().sum();
    let counts = counts();
    let input = SweepInput { dead: &[1, 2], ..operands.input(Selection::Unstructured { counts: &counts }) };
    sweep(&device, &mut weight, &input).unwrap();
    let taken = counting.peak.load(Ordering::Relaxed) - inputs;
    assert_eq!(taken as u64, sweep_bytes(&SEGMENTS.map(|segment| segment.rows), COLUMNS, 64));
}
