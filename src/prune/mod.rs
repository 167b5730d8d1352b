//! From the Hessian of a tap and its weights to pruned weights. Knows no files and no model.

pub mod baselines;

use std::time::{Duration, Instant};

use crate::calibration::TapHessian;
use crate::error::{Error, Result};
use crate::model::taps::{Linear, Tap};
use crate::ops::{
    self, Engine, FactorError, FactoredHessian, Hessian, Mask, Pattern, Place, ROW_CHUNK, Rounding, SweepOptions,
    Tensor,
};
use crate::recipe::{Method, Recipe, Refine};

/// One Linear before pruning.
#[derive(Debug)]
pub struct DenseLayer {
    pub linear: Linear,
    /// f32 [rows, columns] in host memory.
    pub weight: Tensor,
    /// The dtype that the weight will be stored in.
    pub stored_as: Rounding,
}

/// One Linear after pruning.
#[derive(Debug)]
pub struct PrunedLayer {
    pub name: String,
    /// f32 [rows, columns] in host memory; every value is representable in the stored dtype.
    pub weight: Tensor,
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
    /// Largest pivot of the same factorisation.
    pub largest_pivot: Option<f64>,
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

/// Refuses a sweep that the engine whose memory is `place` does not do, before anything is computed.
///
/// # Errors
/// [`Error::Usage`] with what it does instead.
pub fn check_sweep(recipe: &Recipe, place: Place) -> Result<()> {
    if !recipe.method.compensates() || place.sweeps_blocks_of(recipe.block_size) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--block-size is {}, and a GPU sweeps 16, 32, 64 or 128 columns at a time; choose one of these, or --device cpu",
        recipe.block_size
    )))
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

/// Prunes every Linear of one tap on `engine`, which holds the Hessian.
///
/// # Errors
/// [`Error::NotPositiveDefinite`] after the damping ladder, [`Error::NonFinite`] if a pruned weight is not
/// finite or leaves the range of its dtype; those of the engine.
pub fn solve(
    hessian: TapHessian,
    layers: Vec<DenseLayer>,
    recipe: &Recipe,
    engine: &dyn Engine,
    times: &mut SolveTimes,
) -> Result<(Vec<PrunedLayer>, HessianHealth)> {
    let TapHessian { tap, hessian, tokens, .. } = hessian;
    let diagonal = hessian.diagonal()?;
    let mut health = HessianHealth {
        tap: tap.name().to_string(),
        columns: tap.columns,
        dead_columns: diagonal.iter().filter(|&&h| h == 0.0).count(),
        dampening_attempts: Vec::new(),
        smallest_pivot: None,
        largest_pivot: None,
        tokens,
    };
    if health.dead_columns > 0 {
        tracing::warn!(tap = tap.name(), dead = health.dead_columns, of = tap.columns, "columns without any input");
    }

    let start = Instant::now();
    let factored = factor_damped(hessian, recipe.dampening, &mut health)?;
    engine.synchronize()?;
    times.factor += start.elapsed();

    let start = Instant::now();
    let mut chosen = choose(layers, &*factored, &diagonal, recipe, engine)?;
    engine.synchronize()?;
    times.sweep += start.elapsed();

    let start = Instant::now();
    let mut hessian = factored.into_damped()?;
    if let Refine::Pcg(iterations) = recipe.refine {
        let refine = |layer: Chosen| {
            let weight = hessian.refine(layer.weight, &layer.dense, &layer.mask, iterations)?;
            Ok(Chosen { weight, ..layer })
        };
        chosen = chosen.into_iter().map(refine).collect::<Result<_>>()?;
    }
    engine.synchronize()?;
    times.refine += start.elapsed();

    let start = Instant::now();
    hessian.set_diagonal(&diagonal)?;
    let mut pruned = Vec::with_capacity(chosen.len());
    for layer in chosen {
        let mut weight = layer.weight.to_host()?;
        drop(layer.weight);
        round(&layer.name, &mut weight, layer.stored_as)?;
        let output = hessian.energy(&layer.dense)?;
        let change = ops::add_scaled(layer.dense, -1.0, &engine.upload(&weight)?)?;
        let lost = hessian.energy(&change)?;
        let relative_error = Some(if output > 0.0 { lost.max(0.0) / output } else { 0.0 });
        pruned.push(PrunedLayer { name: layer.name, weight, mask: layer.mask, relative_error });
    }
    engine.synchronize()?;
    times.error += start.elapsed();
    Ok((pruned, health))
}

/// A Linear whose mask is final.
struct Chosen {
    name: String,
    stored_as: Rounding,
    /// f32 [rows, columns], on the engine.
    dense: Tensor,
    /// As `dense`, zero outside the mask.
    weight: Tensor,
    mask: Mask,
}

/// Chooses what falls, by the recipe's method, and lets the sweep compensate it.
fn choose(
    layers: Vec<DenseLayer>,
    factored: &dyn FactoredHessian,
    diagonal: &[f32],
    recipe: &Recipe,
    engine: &dyn Engine,
) -> Result<Vec<Chosen>> {
    match recipe.method {
        Method::ObsDiff | Method::SparseGpt => sweep(layers, factored, recipe, engine),
        Method::Wanda | Method::Magnitude => {
            layers.into_iter().map(|layer| select(layer, diagonal, recipe, engine)).collect()
        }
    }
}

/// By the column sweep, all Linears of the tap together.
fn sweep(
    mut layers: Vec<DenseLayer>,
    factored: &dyn FactoredHessian,
    recipe: &Recipe,
    engine: &dyn Engine,
) -> Result<Vec<Chosen>> {
    let mut dense = Vec::with_capacity(layers.len());
    for layer in &mut layers {
        let columns = layer.weight.dim(1)?;
        zero_columns(layer.weight.as_mut_slice()?, columns, factored.dead());
        let rounding = if recipe.round_in_sweep { layer.stored_as } else { Rounding::None };
        let (pattern, block_size, count) = (recipe.pattern, recipe.block_size, recipe.count.into());
        dense.push((engine.upload(&layer.weight)?, SweepOptions { pattern, block_size, count, rounding }));
    }
    let swept = factored.sweep_all(dense.clone())?;
    let chosen = layers.into_iter().zip(dense).zip(swept).map(|((layer, (dense, _)), swept)| Chosen {
        name: layer.linear.name,
        stored_as: layer.stored_as,
        dense,
        weight: swept.weight,
        mask: swept.mask,
    });
    Ok(chosen.collect())
}

/// By a score of each weight alone; the others stay as they are.
fn select(layer: DenseLayer, diagonal: &[f32], recipe: &Recipe, engine: &dyn Engine) -> Result<Chosen> {
    let DenseLayer { linear, weight: dense, stored_as } = layer;
    let mut weight = dense.clone();
    let values = weight.as_mut_slice()?;
    let mask = match recipe.method {
        Method::Wanda => baselines::wanda(values, diagonal, recipe.pattern),
        _ => baselines::magnitude(values, diagonal.len(), recipe.pattern),
    };
    let (dense, weight) = (engine.upload(&dense)?, engine.upload(&weight)?);
    Ok(Chosen { name: linear.name, stored_as, dense, weight, mask })
}

/// Prunes by magnitude, which needs no Hessian.
///
/// # Errors
/// [`Error::NonFinite`] as in [`solve`].
pub fn solve_by_magnitude(layer: DenseLayer, pattern: Pattern) -> Result<PrunedLayer> {
    let DenseLayer { linear, mut weight, stored_as } = layer;
    let columns = weight.dim(1)?;
    let mask = baselines::magnitude(weight.as_mut_slice()?, columns, pattern);
    round(&linear.name, &mut weight, stored_as)?;
    Ok(PrunedLayer { name: linear.name, weight, mask, relative_error: None })
}

/// Factors with the damping ladder: as asked, then ten times more, twice.
fn factor_damped(
    mut hessian: Box<dyn Hessian>,
    dampening: f64,
    health: &mut HessianHealth,
) -> Result<Box<dyn FactoredHessian>> {
    let size = hessian.columns();
    let mut dampening = dampening;
    loop {
        health.dampening_attempts.push(dampening);
        match hessian.factor(dampening) {
            Ok(factored) => {
                health.smallest_pivot = Some(f64::from(factored.smallest_pivot()));
                health.largest_pivot = Some(f64::from(factored.largest_pivot()?));
                return Ok(factored);
            }
            Err(FactorError::Engine(error)) => return Err(error),
            Err(FactorError::NonPositivePivot { hessian: given_back, index: pivot }) => {
                let tensor = health.tap.clone();
                tracing::warn!(tap = tensor, pivot, dampening, "the damped Hessian is indefinite");
                if health.dampening_attempts.len() > DAMPENING_RETRIES {
                    return Err(Error::NotPositiveDefinite { tensor, pivot, size, dampening });
                }
                hessian = given_back;
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

/// Rounds the weights of Linear `name`, in host memory, to the stored dtype and refuses what is not finite.
fn round(name: &str, weight: &mut Tensor, stored_as: Rounding) -> Result<()> {
    if stored_as != Rounding::None {
        weight.as_mut_slice()?.iter_mut().for_each(|weight| *weight = stored_as.apply(*weight));
    }
    let (columns, values) = (weight.dim(1)?, weight.as_slice()?);
    match values.iter().position(|weight| !weight.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NonFinite {
            tensor: format!("{name}.weight"),
            found: values[at].to_string(),
            context: format!("after pruning, at row {}, column {}", at / columns, at % columns),
        }),
    }
}
