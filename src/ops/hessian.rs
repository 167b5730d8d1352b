//! The Hessian of a tap in its three states, each on the engine that made it.
//!
//! ```text
//! Hessian: sums of inputs  --factor-->  FactoredHessian: sweeps  --into_damped-->  FullHessian: refines, measures
//! ```
//!
//! A state becomes the next one in the memory that it has; an implementation holds one matrix of
//! `[columns, columns]` f32, or as much.

use std::fmt;

use super::{Mask, SweepOptions, Swept, Symmetric, Tensor};
use crate::error::{Error, Result};

/// `H = sum of weight * x^T x` over inputs x, while it is gathered.
pub trait Hessian: fmt::Debug + Send {
    /// d: H is `[d, d]`.
    fn columns(&self) -> usize;

    /// Adds `weight * x^T x` to H and `weight` times the sum over tokens to the sum of the inputs, for `inputs` x
    /// [.., columns] on this engine, in its dtype for activations. `false`, and nothing meaningful added, if an input
    /// is known to be NaN or infinite.
    ///
    /// # Errors
    /// [`Error::Runtime`] for inputs of another width; those of the engine.
    fn add(&mut self, inputs: &Tensor, weight: f64) -> Result<bool>;

    /// Whether every input so far was finite. An engine that works ahead of its caller knows it here, not in
    /// [`Hessian::add`].
    ///
    /// # Errors
    /// Those of the engine.
    fn all_finite(&self) -> Result<bool>;

    /// Multiplies H.
    ///
    /// # Errors
    /// Those of the engine.
    fn scale(&mut self, factor: f32) -> Result<()>;

    /// The diagonal of H.
    ///
    /// # Errors
    /// Those of the engine.
    fn diagonal(&self) -> Result<Vec<f32>>;

    /// The weighted sum of the inputs, `[columns]`; [`Hessian::scale`] does not change it.
    ///
    /// # Errors
    /// Those of the engine.
    fn input_sum(&self) -> Result<Vec<f64>>;

    /// Factors `H + dampening * mean(diag H) * I`. Columns with `H[i, i] = 0` are dead: they get a diagonal of 1.
    ///
    /// # Errors
    /// [`FactorError::NonPositivePivot`] with the Hessian as it was; [`FactorError::Engine`].
    fn factor(self: Box<Self>, dampening: f64) -> Result<Box<dyn FactoredHessian>, FactorError>;

    /// A copy of H in host memory.
    ///
    /// # Errors
    /// Those of the engine.
    fn download(&self) -> Result<Symmetric>;
}

/// `H + damping * I = R R^T` with R upper triangular.
pub trait FactoredHessian: fmt::Debug + Send {
    /// Columns whose input was always zero.
    fn dead(&self) -> &[usize];

    /// What was added to each diagonal entry of H.
    fn damping(&self) -> f32;

    /// Smallest diagonal entry of R, squared.
    fn smallest_pivot(&self) -> f32;

    /// Largest diagonal entry of R, squared. Pivots lie between the smallest and the largest eigenvalue of the damped
    /// H, so that this over [`FactoredHessian::smallest_pivot`] is a lower bound of its condition number.
    ///
    /// # Errors
    /// Those of the engine.
    fn largest_pivot(&self) -> Result<f32>;

    /// Prunes `weight`, f32 [rows, columns] on this engine, and compensates the weights that stay. Dead columns are
    /// zeroed first, without compensation. Unstructured counts follow `options.count`, N:M groups lose exactly
    /// M - N weights each; removed weights are exactly 0.
    ///
    /// # Errors
    /// [`Error::Runtime`] for weights of another width; those of the engine.
    fn sweep(&self, weight: Tensor, options: &SweepOptions) -> Result<Swept>;

    /// [`FactoredHessian::sweep`] of several weights that share this Hessian, with the same results; an engine may take
    /// them in one go. Their patterns are of one kind (unstructured, or one N:M) and their blocks of one size.
    ///
    /// # Errors
    /// Those of [`FactoredHessian::sweep`].
    fn sweep_all(&self, weights: Vec<(Tensor, SweepOptions)>) -> Result<Vec<Swept>> {
        weights.into_iter().map(|(weight, options)| self.sweep(weight, &options)).collect()
    }

    /// Gives back the damped Hessian, dead columns with a diagonal of 1 before damping.
    ///
    /// # Errors
    /// Those of the engine.
    fn into_damped(self: Box<Self>) -> Result<Box<dyn FullHessian>>;
}

/// All of H, both triangles.
pub trait FullHessian: fmt::Debug + Send {
    /// Improves `weight`, f32 [rows, columns] and zero outside `mask`, towards `dense` (same shape, both on this
    /// engine) in `iterations` conjugate gradient steps over the kept weights.
    ///
    /// # Errors
    /// [`Error::Runtime`] for weights of another width; those of the engine.
    fn refine(&self, weight: Tensor, dense: &Tensor, mask: &Mask, iterations: usize) -> Result<Tensor>;

    /// `tr(W H W^T)` for `weight` W, f32 [rows, columns] on this engine.
    ///
    /// # Errors
    /// [`Error::Runtime`] for weights of another width; those of the engine.
    fn energy(&self, weight: &Tensor) -> Result<f64>;

    /// Replaces the diagonal, `[columns]`.
    ///
    /// # Errors
    /// Those of the engine.
    fn set_diagonal(&mut self, diagonal: &[f32]) -> Result<()>;

    /// A copy of H in host memory, both triangles.
    ///
    /// # Errors
    /// Those of the engine.
    fn download(&self) -> Result<Symmetric>;
}

/// A factorisation that did not succeed.
#[derive(Debug)]
pub enum FactorError {
    /// The pivot of column `index` is not positive and finite; the Hessian is given back as it was.
    NonPositivePivot { hessian: Box<dyn Hessian>, index: usize },
    /// The engine failed.
    Engine(Error),
}

impl From<Error> for FactorError {
    fn from(error: Error) -> Self {
        FactorError::Engine(error)
    }
}
