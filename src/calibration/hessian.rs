//! One weighted Hessian per tap, accumulated while the model runs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::model::Observer;
use crate::model::taps::Tap;
use crate::ops::{Symmetric, Tensor, column_sums, gram};
use crate::sampling::Probe;

/// The Hessian of one tap, `2 / sum(a_t B) * sum(a_t x x^T)` after [`TapHessian::finish`] (OBS-Diff, eq. 5; B
/// counts rows of the batch, guidance doubles included, as in the official code).
#[derive(Debug)]
pub struct TapHessian {
    pub tap: Tap,
    /// `[columns, columns]`, lower triangle.
    pub matrix: Symmetric,
    /// Weighted sum of the inputs, then their weighted mean, `[columns]`.
    pub mean: Vec<f64>,
    /// Tokens seen.
    pub tokens: u64,
    /// Sum of a_t times batch rows.
    weight_of_rows: f64,
    /// Sum of a_t times tokens.
    weight_of_tokens: f64,
}

impl TapHessian {
    /// An empty accumulator.
    pub fn new(tap: Tap) -> Self {
        let columns = tap.columns;
        TapHessian {
            tap,
            matrix: Symmetric::zeros(columns),
            mean: vec![0.0; columns],
            tokens: 0,
            weight_of_rows: 0.0,
            weight_of_tokens: 0.0,
        }
    }

    /// Adds inputs `x`, f32 `[tokens, columns]` from `rows` rows of a batch, with weight `weight`. `false`, and
    /// nothing meaningful accumulated, if an input is not finite.
    pub fn add(&mut self, x: &[f32], rows: usize, weight: f64) -> bool {
        let columns = self.tap.columns;
        let tokens = x.len() / columns;
        let sums = column_sums(x, columns);
        let finite = sums.iter().all(|sum| sum.is_finite());
        self.mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += weight * sum);
        gram(&mut self.matrix, x, weight as f32);
        self.tokens += tokens as u64;
        self.weight_of_rows += weight * rows as f64;
        self.weight_of_tokens += weight * tokens as f64;
        finite
    }

    /// Scales the sums to the Hessian and the mean input.
    ///
    /// # Errors
    /// [`Error::NoCalibrationData`] if every input was zero or none came; [`Error::NonFinite`] if the sums
    /// left the range of f32.
    pub fn finish(&mut self) -> Result<()> {
        let no_data = || Error::NoCalibrationData { tensor: self.tap.name().to_string() };
        if self.weight_of_rows <= 0.0 {
            return Err(no_data());
        }
        let scale = 2.0 / self.weight_of_rows;
        self.matrix.scale(scale as f32);
        self.mean.iter_mut().for_each(|mean| *mean /= self.weight_of_tokens);
        let diagonal = self.matrix.diagonal();
        if diagonal.iter().all(|&h| h == 0.0) {
            return Err(no_data());
        }
        if let Some(column) = diagonal.iter().position(|h| !h.is_finite()) {
            return Err(Error::NonFinite {
                tensor: format!("Hessian of {}", self.tap.name()),
                found: diagonal[column].to_string(),
                context: format!("at diagonal entry {column}"),
            });
        }
        Ok(())
    }
}

/// Watches a trajectory and accumulates the Hessians of a set of taps.
pub struct Calibrator {
    accumulators: Vec<TapHessian>,
    by_name: HashMap<String, usize>,
    /// a_t of every step.
    weights: Vec<f64>,
    step: usize,
    spent: Duration,
}

impl Calibrator {
    /// For `taps`, with the weights a_t of all steps.
    pub fn new(taps: impl IntoIterator<Item = Tap>, weights: Vec<f64>) -> Self {
        let accumulators: Vec<TapHessian> = taps.into_iter().map(TapHessian::new).collect();
        let by_name = accumulators.iter().enumerate().map(|(i, a)| (a.tap.name().to_string(), i)).collect();
        Calibrator { accumulators, by_name, weights, step: 0, spent: Duration::ZERO }
    }

    /// Time spent on accumulation so far.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// The accumulated sums, in the order of the taps; call [`TapHessian::finish`] on each.
    pub fn into_hessians(self) -> Vec<TapHessian> {
        self.accumulators
    }
}

impl Observer for Calibrator {
    fn observe(&mut self, module: &str, input: &Tensor) -> Result<()> {
        let Some(&index) = self.by_name.get(module) else { return Ok(()) };
        let start = Instant::now();
        let accumulator = &mut self.accumulators[index];
        let rows = input.dim(0)?;
        let finite = accumulator.add(input.as_slice()?, rows, self.weights[self.step]);
        self.spent += start.elapsed();
        if !finite {
            return Err(Error::NonFinite {
                tensor: format!("{module}.input"),
                found: "NaN or infinity".into(),
                context: format!("at step {} of {}", self.step + 1, self.weights.len()),
            });
        }
        Ok(())
    }
}

impl Probe for Calibrator {
    fn begin_step(&mut self, step: usize, _total: usize) -> Result<()> {
        self.step = step;
        Ok(())
    }
}
