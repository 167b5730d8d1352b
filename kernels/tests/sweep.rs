//! The column sweep on the interpreter.

use obsdiff_kernels::check::{Outcome, Scale, sweep as check};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::sweep::{Rounding, Selection, SweepInput, SweepSegment, sweep, sweep_bytes};
use obsdiff_kernels::triangle::{PackedTriangle, TILE};
use obsdiff_kernels::{Buffer, Device, Error};
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
