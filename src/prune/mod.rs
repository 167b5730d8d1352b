//! From the Hessian of a tap and its weights to pruned weights. Knows no files and no model.

pub mod baselines;

use std::time::{Duration, Instant};

use crate::calibration::TapHessian;
use crate::error::{Error, Result};
use crate::model::taps::{Linear, Tap};
use crate::ops::{Factor, Mask, Pattern, ROW_CHUNK, Rounding, SweepOptions, Symmetric, energy, factor, refine, sweep};
use crate::recipe::{Method, Recipe, Refine};

/// One Linear before pruning.
#[derive(Debug)]
pub struct DenseLayer {
    pub linear: Linear,
    /// f32 `[rows, columns]`, row-major.
    pub weight: Vec<f32>,
    /// The dtype that the weight will be stored in.
    pub stored_as: Rounding,
}

/// One Linear after pruning.
#[derive(Debug)]
pub struct PrunedLayer {
    pub name: String,
    pub columns: usize,
    /// f32 `[rows, columns]`; every value is representable in the stored dtype.
    pub weight: Vec<f32>,
    pub mask: Mask,
    /// `tr(D H D^T) / tr(W H W^T)` with `D` the change of the weights and H undamped; `None` without
    /// calibration.
    pub relative_error: Option<f64>,
}

/// How the factorisation of one Hessian went.
#[derive(Debug, Clone, PartialEq)]
pub struct HessianHealth {
    pub tap: String,
    pub columns: usize,
    /// Columns that never saw a nonzero input.
    pub dead_columns: usize,
    /// Dampening of every attempt; the last one succeeded.
    pub dampening_attempts: Vec<f64>,
    /// Smallest pivot of the damped factorisation; `None` for methods that do not factor.
    pub smallest_pivot: Option<f64>,
    pub tokens: u64,
}

/// Time spent per stage of the solution.
#[derive(Debug, Clone, Copy, Default)]
pub struct SolveTimes {
    pub factor: Duration,
    pub sweep: Duration,
    pub refine: Duration,
    pub error: Duration,
}

/// How often the dampening is raised tenfold before a Hessian is given up.
const DAMPENING_RETRIES: usize = 2;

/// Bytes that [`solve`] holds at most beside the Hessian itself and the model: dense and pruned weights of the
/// tap, their masks, the changes of the largest Linear, and the row chunks of the refinement.
pub fn solve_bytes(tap: &Tap, recipe: &Recipe, threads: usize) -> u64 {
    let float = size_of::<f32>();
    let rows: usize = tap.linears.iter().map(|linear| linear.rows).sum();
    let largest = tap.linears.iter().map(|linear| linear.rows).max().unwrap_or(0);
    let chunks = largest.div_ceil(ROW_CHUNK).min(threads);
    let chunk_matrices = if recipe.refine == Refine::None { 1 } else { 3 };
    let weights = rows * tap.columns * (2 * float + size_of::<bool>());
    let changes = largest * tap.columns * float;
    let working = chunks * ROW_CHUNK.min(largest) * tap.columns * chunk_matrices * float;
    (weights + changes.max(working)) as u64
}

/// Refuses a pattern that does not fit the columns of a tap.
///
/// # Errors
/// [`Error::Usage`] naming the Linear, its columns and what to do.
pub fn check_pattern(pattern: Pattern, tap: &Tap) -> Result<()> {
    match pattern {
        Pattern::NM(nm) if !tap.columns.is_multiple_of(nm.of()) => Err(Error::Usage(format!(
            "`{}` has {} columns, which {} does not divide; leave it out with --ignore or choose another pattern \
             than {nm}",
            tap.name(),
            tap.columns,
            nm.of()
        ))),
        _ => Ok(()),
    }
}

/// Prunes every Linear of one tap.
///
/// # Errors
/// [`Error::NotPositiveDefinite`] after the damping ladder, [`Error::NonFinite`] if a pruned weight is not
/// finite or leaves the range of its dtype.
pub fn solve(
    hessian: TapHessian,
    mut layers: Vec<DenseLayer>,
    recipe: &Recipe,
    times: &mut SolveTimes,
) -> Result<(Vec<PrunedLayer>, HessianHealth)> {
    let TapHessian { tap, matrix, tokens, .. } = hessian;
    let diagonal = matrix.diagonal();
    let mut health = HessianHealth {
        tap: tap.name().to_string(),
        columns: tap.columns,
        dead_columns: diagonal.iter().filter(|&&h| h == 0.0).count(),
        dampening_attempts: Vec::new(),
        smallest_pivot: None,
        tokens,
    };
    if health.dead_columns > 0 {
        tracing::warn!(tap = tap.name(), dead = health.dead_columns, of = tap.columns, "columns without any input");
    }

    let start = Instant::now();
    let factored = factor_damped(matrix, recipe.dampening, &mut health)?;
    times.factor += start.elapsed();

    let start = Instant::now();
    let mut pruned: Vec<PrunedLayer> = Vec::with_capacity(layers.len());
    for DenseLayer { linear, weight: dense, stored_as } in &mut layers {
        let rounding = if recipe.round_in_sweep { *stored_as } else { Rounding::None };
        if recipe.method.compensates() {
            zero_columns(dense, tap.columns, factored.dead());
        }
        let mut weight = dense.clone();
        let mask = match recipe.method {
            Method::ObsDiff | Method::SparseGpt => {
                let block_size = recipe.block_size;
                let options =
                    SweepOptions { pattern: recipe.pattern, block_size, count: recipe.count.into(), rounding };
                sweep(&mut weight, &factored, &options).mask
            }
            Method::Wanda => baselines::wanda(&mut weight, &diagonal, recipe.pattern),
            Method::Magnitude => baselines::magnitude(&mut weight, tap.columns, recipe.pattern),
        };
        let name = linear.name.clone();
        pruned.push(PrunedLayer { name, columns: tap.columns, weight, mask, relative_error: None });
    }
    times.sweep += start.elapsed();

    let start = Instant::now();
    let mut hessian = factored.into_damped();
    if let Refine::Pcg(iterations) = recipe.refine {
        for (pruned, dense) in pruned.iter_mut().zip(&layers) {
            refine(&mut pruned.weight, &dense.weight, &pruned.mask, &hessian, iterations);
        }
    }
    times.refine += start.elapsed();

    let start = Instant::now();
    hessian.set_diagonal(&diagonal);
    for (pruned, dense) in pruned.iter_mut().zip(&layers) {
        round(pruned, dense.stored_as)?;
        let change: Vec<f32> = dense.weight.iter().zip(&pruned.weight).map(|(dense, weight)| dense - weight).collect();
        let output = energy(&dense.weight, &hessian);
        let lost = energy(&change, &hessian);
        pruned.relative_error = Some(if output > 0.0 { lost.max(0.0) / output } else { 0.0 });
    }
    times.error += start.elapsed();
    Ok((pruned, health))
}

/// Prunes by magnitude, which needs no Hessian.
///
/// # Errors
/// [`Error::NonFinite`] as in [`solve`].
pub fn solve_by_magnitude(layer: DenseLayer, columns: usize, pattern: Pattern) -> Result<PrunedLayer> {
    let DenseLayer { linear, mut weight, stored_as } = layer;
    let mask = baselines::magnitude(&mut weight, columns, pattern);
    let mut pruned = PrunedLayer { name: linear.name, columns, weight, mask, relative_error: None };
    round(&mut pruned, stored_as)?;
    Ok(pruned)
}

/// Factors with the damping ladder: as asked, then ten times more, twice.
fn factor_damped(mut matrix: Symmetric, dampening: f64, health: &mut HessianHealth) -> Result<Factor> {
    let size = matrix.size();
    let mut dampening = dampening;
    loop {
        health.dampening_attempts.push(dampening);
        match factor(matrix, dampening) {
            Ok(factored) => {
                health.smallest_pivot = Some(f64::from(factored.smallest_pivot()));
                return Ok(factored);
            }
            Err(refused) => {
                let tensor = health.tap.clone();
                tracing::warn!(tap = tensor, pivot = refused.index, dampening, "the damped Hessian is indefinite");
                if health.dampening_attempts.len() > DAMPENING_RETRIES {
                    return Err(Error::NotPositiveDefinite { tensor, pivot: refused.index, size, dampening });
                }
                matrix = refused.matrix;
                dampening = if dampening > 0.0 { dampening * 10.0 } else { 0.01 };
            }
        }
    }
}

/// Weights on columns that never see an input are worth nothing, before and after.
fn zero_columns(weight: &mut [f32], columns: usize, dead: &[usize]) {
    for row in weight.chunks_exact_mut(columns) {
        dead.iter().for_each(|&column| row[column] = 0.0);
    }
}

/// Rounds to the stored dtype and refuses what is not finite.
fn round(layer: &mut PrunedLayer, stored_as: Rounding) -> Result<()> {
    if stored_as != Rounding::None {
        layer.weight.iter_mut().for_each(|weight| *weight = stored_as.apply(*weight));
    }
    match layer.weight.iter().position(|weight| !weight.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NonFinite {
            tensor: format!("{}.weight", layer.name),
            found: layer.weight[at].to_string(),
            context: format!("after pruning, at row {}, column {}", at / layer.columns, at % layer.columns),
        }),
    }
}
