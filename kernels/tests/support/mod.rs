//! Running the checks of an operation as a test.

#![allow(dead_code)]

use obsdiff_kernels::Device;
use obsdiff_kernels::check::{Outcome, Run, Scale};
use obsdiff_kernels::interpreted::{Interpreted, Schedule};

/// Random orders of warps under which every kernel gives the same bytes and raises no alarm.
const SCHEDULES: u64 = 100;

/// Runs `case` under each of [`SCHEDULES`] random schedules, three blocks at a time.
pub fn under_random_schedules(mut case: impl FnMut(&Device, u64)) {
    let interpreted = Interpreted::new("80", Schedule::RoundRobin, 3);
    let device = Device::new(interpreted.clone());
    for seed in 0..SCHEDULES {
        interpreted.set_schedule(Schedule::Random(seed));
        case(&device, seed);
    }
}

/// Runs the small cases and panics with those that fail; a check without cases fails too.
pub fn assert_passes(device: &Device, run: Run) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let done = run(device, Scale::Small, &mut |outcome| outcomes.push(outcome));
    done.unwrap_or_else(|error| panic!("after {} cases: {error}", outcomes.len()));
    assert!(!outcomes.is_empty(), "no case ran");
    for Outcome { kernel, case, error, bound, .. } in &outcomes {
        println!("{kernel}, {case}: {error:.2e} of {bound:.2e}");
    }
    let failures: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.passed())
        .map(|Outcome { kernel, case, error, bound, detail }| {
            format!("{kernel}, {case}: error {error:e}, bound {bound:e}: {detail}")
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} cases failed:\n{}", failures.len(), outcomes.len(), failures.join("\n"));
    outcomes
}
