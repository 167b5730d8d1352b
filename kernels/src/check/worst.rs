//! The largest error of a case and where it is.

use super::Outcome;

/// Collects the errors of one case.
#[derive(Debug, Default)]
pub(super) struct Worst {
    error: f64,
    detail: String,
}

impl Worst {
    /// Compares one value; errors are relative to `scale`. NaN is the largest error of all.
    pub fn see(&mut self, found: f64, expected: f64, scale: f64, place: impl Fn() -> String) {
        let error = if found == expected { 0.0 } else { (found - expected).abs() / scale };
        if error.is_nan() || error > self.error {
            self.error = error;
            self.detail = format!("{} is {found:e} instead of {expected:e}", place());
        }
    }

    /// Nothing outside of the result may be written; `place` is the first byte that was.
    pub fn see_outside(&mut self, place: Option<usize>) {
        if let Some(byte) = place {
            self.error = f64::INFINITY;
            self.detail = format!("byte {byte} of the memory was written, outside of the result");
        }
    }

    pub fn outcome(self, kernel: &'static str, case: String, bound: f64) -> Outcome {
        Outcome { kernel, case, error: self.error, bound, detail: self.detail }
    }
}
