//! The Hessian's three states in host memory.

use super::energy::energy;
use super::factor::{NonPositivePivot, factor};
use super::gram::{column_sums, gram};
use super::refine::refine;
use super::sweep::sweep;
use crate::error::Result;
use crate::ops::symmetric::Factor;
use crate::ops::tensor::refuse;
use crate::ops::{FactorError, FactoredHessian, FullHessian, Hessian, Mask, SweepOptions, Swept, Symmetric, Tensor};

/// Sums of inputs.
#[derive(Debug)]
pub struct Accumulator {
    /// Lower triangle.
    matrix: Symmetric,
    input_sum: Vec<f64>,
}

impl Accumulator {
    /// Goes on from `matrix`.
    pub fn new(matrix: Symmetric) -> Self {
        let input_sum = vec![0.0; matrix.size()];
        Accumulator { matrix, input_sum }
    }
}

impl Hessian for Accumulator {
    fn columns(&self) -> usize {
        self.matrix.size()
    }

    fn add(&mut self, inputs: &Tensor, weight: f64) -> Result<bool> {
        let x = rows_of(inputs, self.columns())?;
        let sums = column_sums(x, self.columns());
        let finite = sums.iter().all(|sum| sum.is_finite());
        self.input_sum.iter_mut().zip(sums).for_each(|(total, sum)| *total += weight * sum);
        gram(&mut self.matrix, x, weight as f32);
        Ok(finite)
    }

    fn all_finite(&self) -> Result<bool> {
        Ok(self.input_sum.iter().all(|sum| sum.is_finite()))
    }

    fn scale(&mut self, factor: f32) -> Result<()> {
        self.matrix.scale(factor);
        Ok(())
    }

    fn diagonal(&self) -> Result<Vec<f32>> {
        Ok(self.matrix.diagonal())
    }

    fn input_sum(&self) -> Result<Vec<f64>> {
        Ok(self.input_sum.clone())
    }

    fn factor(self: Box<Self>, dampening: f64) -> Result<Box<dyn FactoredHessian>, FactorError> {
        let Accumulator { matrix, input_sum } = *self;
        match factor(matrix, dampening) {
            Ok(factor) => Ok(Box::new(factor)),
            Err(NonPositivePivot { matrix, index }) => {
                Err(FactorError::NonPositivePivot { hessian: Box::new(Accumulator { matrix, input_sum }), index })
            }
        }
    }

    fn download(&self) -> Result<Symmetric> {
        Ok(self.matrix.clone())
    }
}

impl FactoredHessian for Factor {
    fn dead(&self) -> &[usize] {
        &self.dead
    }

    fn damping(&self) -> f32 {
        self.damping
    }

    fn smallest_pivot(&self) -> f32 {
        Factor::smallest_pivot(self)
    }

    fn largest_pivot(&self) -> Result<f32> {
        Ok(Factor::largest_pivot(self))
    }

    fn sweep(&self, mut weight: Tensor, options: &SweepOptions) -> Result<Swept> {
        rows_of(&weight, self.size())?;
        let (mask, damped_loss) = sweep(weight.as_mut_slice()?, self, options);
        Ok(Swept { weight, mask, damped_loss })
    }

    fn into_damped(self: Box<Self>) -> Result<Box<dyn FullHessian>> {
        Ok(Box::new(Factor::into_damped(*self)))
    }
}

/// A mirrored matrix.
impl FullHessian for Symmetric {
    fn refine(&self, mut weight: Tensor, dense: &Tensor, mask: &Mask, iterations: usize) -> Result<Tensor> {
        let dense = rows_of(dense, self.size())?;
        if weight.elements() != dense.len() || mask.as_slice().len() != dense.len() {
            return Err(refuse(format!("refine: {weight:?}, its dense weights and its mask differ in size")));
        }
        refine(weight.as_mut_slice()?, dense, mask, self, iterations);
        Ok(weight)
    }

    fn energy(&self, weight: &Tensor) -> Result<f64> {
        Ok(energy(rows_of(weight, self.size())?, self))
    }

    fn set_diagonal(&mut self, diagonal: &[f32]) -> Result<()> {
        Symmetric::set_diagonal(self, diagonal);
        Ok(())
    }

    fn download(&self) -> Result<Symmetric> {
        Ok(self.clone())
    }
}

/// The values of a tensor whose last axis goes with the Hessian.
fn rows_of(tensor: &Tensor, columns: usize) -> Result<&[f32]> {
    match tensor.dims().last() {
        Some(&last) if last == columns => tensor.as_slice(),
        _ => Err(refuse(format!("{tensor:?} does not go with a Hessian of {columns} columns"))),
    }
}
