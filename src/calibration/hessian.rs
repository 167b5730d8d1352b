//! One weighted Hessian per tap, accumulated while the model runs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::model::Observer;
use crate::model::taps::Tap;
use crate::ops::{Engine, Hessian, Symmetric, Tensor};
use crate::sampling::Probe;

/// The Hessian of one tap, `2 / sum(a_t B) * sum(a_t x x^T)` after [`TapHessian::finish`] (OBS-Diff, eq. 5; B
/// counts rows of the batch, guidance doubles included, as in the official code).
#[derive(Debug)]
pub struct TapHessian {
    pub tap: Tap,
    /// `[columns, columns]`.
    pub hessian: Box<dyn Hessian>,
    /// Weighted mean of the inputs, `[columns]`; empty before [`TapHessian::finish`].
    pub mean: Vec<f64>,
    /// Tokens seen.
    pub tokens: u64,
    /// Sum of a_t times batch rows.
    weight_of_rows: f64,
    /// Sum of a_t times tokens.
    weight_of_tokens: f64,
}

impl TapHessian {
    /// An empty accumulator on `engine`.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn new(tap: Tap, engine: &dyn Engine) -> Result<Self> {
        let hessian = engine.hessian(tap.columns)?;
        Ok(TapHessian::holding(tap, hessian))
    }

    /// One that somebody else gathered, on `engine`.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn from_matrix(tap: Tap, matrix: Symmetric, engine: &dyn Engine) -> Result<Self> {
        let hessian = engine.hessian_from(matrix)?;
        Ok(TapHessian::holding(tap, hessian))
    }

    fn holding(tap: Tap, hessian: Box<dyn Hessian>) -> Self {
        TapHessian { tap, hessian, mean: Vec::new(), tokens: 0, weight_of_rows: 0.0, weight_of_tokens: 0.0 }
    }

    /// Adds `inputs`, f32 [.., columns] on the accumulator's engine, from `rows` rows of a batch, with weight
    /// `weight`. `false`, and nothing meaningful accumulated, if an input is not finite.
    ///
    /// # Errors
    /// Those of [`Hessian::add`].
    pub fn add(&mut self, inputs: &Tensor, rows: usize, weight: f64) -> Result<bool> {
        let tokens = inputs.elements() / self.tap.columns;
        self.tokens += tokens as u64;
        self.weight_of_rows += weight * rows as f64;
        self.weight_of_tokens += weight * tokens as f64;
        self.hessian.add(inputs, weight)
    }

    /// Scales the sums to the Hessian and the mean input.
    ///
    /// # Errors
    /// [`Error::NoCalibrationData`] if every input was zero or none came; [`Error::NonFinite`] if the sums
    /// left the range of f32; those of the engine.
    pub fn finish(&mut self) -> Result<()> {
        let no_data = || Error::NoCalibrationData { tensor: self.tap.name().to_string() };
        if self.weight_of_rows <= 0.0 {
            return Err(no_data());
        }
        if !self.hessian.all_finite()? {
            return Err(Error::NonFinite {
                tensor: format!("{}.input", self.tap.name()),
                found: "NaN or infinity".into(),
                context: "at some step of the calibration".into(),
            });
        }
        let scale = 2.0 / self.weight_of_rows;
        self.hessian.scale(scale as f32)?;
        self.mean = self.hessian.input_sum()?.iter().map(|sum| sum / self.weight_of_tokens).collect();
        let diagonal = self.hessian.diagonal()?;
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
    /// For `taps` of a model on `engine`, with the weights a_t of all steps.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn new(taps: impl IntoIterator<Item = Tap>, weights: Vec<f64>, engine: &dyn Engine) -> Result<Self> {
        let accumulators = taps.into_iter().map(|tap| TapHessian::new(tap, engine)).collect::<Result<Vec<_>>>()?;
        let by_name = accumulators.iter().enumerate().map(|(i, a)| (a.tap.name().to_string(), i)).collect();
        Ok(Calibrator { accumulators, by_name, weights, step: 0, spent: Duration::ZERO })
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
        let finite = self.accumulators[index].add(input, input.dim(0)?, self.weights[self.step])?;
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
