//! Running the checks of an operation as a test.

use obsdiff_kernels::Device;
use obsdiff_kernels::check::{Outcome, Run, Scale};

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
