//! The Hessian's three states in the memory of a GPU: the lower triangle in tiles, a factor beside it while there
//! is one.

use obsdiff_kernels::energy::{energy, energy_bytes};
use obsdiff_kernels::factor::{Factor, FactorInput, FactorOutcome, factor, factor_bytes, factor_scratch_bytes};
use obsdiff_kernels::gram::{GramInput, GramSums, RowWeights, gram};
use obsdiff_kernels::refine::{refine, refine_bytes};
use obsdiff_kernels::sweep::{self, Selection, SweepInput, SweepSegment, sweep_bytes};
use obsdiff_kernels::triangle::PackedTriangle;
use obsdiff_kernels::{Buffer, Matrix};

use super::engine::{Cuda, matrix};
use super::values::{Values, owned};
use crate::error::Result;
use crate::ops::tensor::refuse;
use crate::ops::{
    FactorError, FactoredHessian, FullHessian, Hessian, Mask, NM, Pattern, Rounding, SweepOptions, Swept, Symmetric,
    Tensor,
};

/// Sums of inputs.
#[derive(Debug)]
pub struct Accumulator {
    engine: Cuda,
    sums: GramSums,
}

impl Accumulator {
    /// Empty, for inputs of `columns` values.
    pub fn new(engine: &Cuda, columns: usize) -> Result<Self> {
        Ok(Accumulator { engine: engine.clone(), sums: GramSums::zeros(engine.device(), columns)? })
    }

    /// Goes on from the lower triangle of `matrix`.
    pub fn from_host(engine: &Cuda, matrix: &Symmetric) -> Result<Self> {
        let mut accumulator = Self::new(engine, matrix.size())?;
        let device = engine.device();
        accumulator.sums.h = PackedTriangle::from_lower(device, matrix.size(), matrix.as_slice(), "Hessian")?;
        Ok(accumulator)
    }
}

impl Hessian for Accumulator {
    fn columns(&self) -> usize {
        self.sums.columns()
    }

    fn add(&mut self, inputs: &Tensor, weight: f64) -> Result<bool> {
        let x = rows_of(inputs, self.columns())?;
        gram(
            self.engine.device(),
            &mut [GramInput { x, weights: RowWeights::All(weight as f32), into: &mut self.sums }],
        )?;
        // Looking at the flags would wait for the GPU; `all_finite` does once.
        Ok(true)
    }

    fn all_finite(&self) -> Result<bool> {
        Ok(self.sums.all_finite()?)
    }

    fn scale(&mut self, factor: f32) -> Result<()> {
        Ok(self.sums.h.scale(factor)?)
    }

    fn diagonal(&self) -> Result<Vec<f32>> {
        Ok(self.sums.h.diagonal()?)
    }

    fn input_sum(&self) -> Result<Vec<f64>> {
        Ok(self.sums.sums.to_vec()?)
    }

    fn factor(self: Box<Self>, dampening: f64) -> Result<Box<dyn FactoredHessian>, FactorError> {
        let input = FactorInput { hessian: &self.sums.h, dampening };
        let outcome = factor(self.engine.device(), &[input]).map_err(crate::Error::from)?.pop();
        match outcome {
            Some(FactorOutcome::Factored(factor)) => {
                let Accumulator { engine, sums } = *self;
                Ok(Box::new(Factored { engine, hessian: sums.h, factor }))
            }
            Some(FactorOutcome::NotPositive { pivot }) => {
                Err(FactorError::NonPositivePivot { hessian: self, index: pivot })
            }
            None => Err(refuse("factor: no outcome for its only matrix".into()).into()),
        }
    }

    fn download(&self) -> Result<Symmetric> {
        download(&self.sums.h)
    }
}

/// A Hessian and its factor.
#[derive(Debug)]
struct Factored {
    engine: Cuda,
    hessian: PackedTriangle,
    factor: Factor,
}

impl FactoredHessian for Factored {
    fn dead(&self) -> &[usize] {
        &self.factor.dead
    }

    fn damping(&self) -> f32 {
        self.factor.damping
    }

    fn smallest_pivot(&self) -> f32 {
        self.factor.smallest_pivot
    }

    fn largest_pivot(&self) -> Result<f32> {
        let diagonal = self.factor.triangle.diagonal()?;
        Ok(diagonal.into_iter().fold(0.0, f32::max).powi(2))
    }

    fn sweep(&self, weight: Tensor, options: &SweepOptions) -> Result<Swept> {
        let mut swept = self.sweep_all(vec![(weight, *options)])?;
        swept.pop().ok_or_else(|| refuse("sweep: no result for its only weights".into()))
    }

    fn sweep_all(&self, weights: Vec<(Tensor, SweepOptions)>) -> Result<Vec<Swept>> {
        let Some(&(_, first)) = weights.first() else { return Ok(Vec::new()) };
        let (columns, block_size) = (self.hessian.size(), first.block_size);
        let rows =
            weights.iter().map(|(weight, _)| Ok(rows_of(weight, columns)?.rows())).collect::<Result<Vec<_>>>()?;
        let segments: Vec<SweepSegment> = rows
            .iter()
            .zip(&weights)
            .map(|(&rows, (_, options))| SweepSegment { rows, rounding: rounding(options.rounding) })
            .collect();
        let counts = rows.iter().zip(&weights).map(|(&rows, (_, options))| block_counts(options, rows, columns));
        let counts: Vec<Vec<usize>> = counts.collect();
        let same = |options: &SweepOptions| options.block_size == block_size && kind(options) == kind(&first);
        if !weights.iter().all(|(_, options)| same(options)) {
            return Err(refuse("sweep: patterns of several kinds or blocks of several sizes at once".into()));
        }
        let input = SweepInput {
            factor: &self.factor.triangle,
            inverses: &self.factor.inverses,
            dead: &self.factor.dead,
            segments: &segments,
            selection: match first.pattern {
                Pattern::Unstructured(_) => Selection::Unstructured { counts: &counts },
                Pattern::NM(nm) => Selection::NM { keep: nm.keep(), of: nm.of() },
            },
            block_size,
        };
        let stacked = Tensor::cat(&weights.iter().map(|(weight, _)| weight).collect::<Vec<_>>(), 0)?;
        drop(weights);
        let (shape, mut values) = stacked.into_gpu_values()?;
        let Values::F32(buffer) = &mut values else { return Err(refuse("sweep: weights are not f32".into())) };
        let swept = sweep::sweep(self.engine.device(), owned(buffer)?, &input)?;
        let flags = swept.mask.to_vec()?;
        drop(swept.mask);
        let stacked = self.engine.tensor(values, &shape);
        let mut start = 0;
        let mut results = Vec::with_capacity(rows.len());
        for (&rows, damped_loss) in rows.iter().zip(swept.damped_loss) {
            let mut mask = Mask::all(rows, columns);
            for (keep, &flag) in mask.as_mut_slice().iter_mut().zip(&flags[start * columns..]) {
                *keep = flag != 0;
            }
            let weight = if rows == shape[0] { stacked.clone() } else { stacked.narrow(0, start, rows)? };
            results.push(Swept { weight, mask, damped_loss });
            start += rows;
        }
        Ok(results)
    }

    fn into_damped(self: Box<Self>) -> Result<Box<dyn FullHessian>> {
        let Factored { engine, mut hessian, factor } = *self;
        let mut diagonal = hessian.diagonal()?;
        factor.dead.iter().for_each(|&column| diagonal[column] = 1.0);
        diagonal.iter_mut().for_each(|value| *value += factor.damping);
        hessian.set_diagonal(&diagonal)?;
        Ok(Box::new(Full { engine, hessian }))
    }
}

/// Of the kernels.
fn rounding(rounding: Rounding) -> sweep::Rounding {
    match rounding {
        Rounding::None => sweep::Rounding::None,
        Rounding::F16 => sweep::Rounding::F16,
        Rounding::BF16 => sweep::Rounding::BF16,
    }
}

/// The group of an N:M pattern; `None` for an unstructured one.
fn kind(options: &SweepOptions) -> Option<NM> {
    match options.pattern {
        Pattern::Unstructured(_) => None,
        Pattern::NM(nm) => Some(nm),
    }
}

/// How many weights an unstructured pattern takes from each block of columns.
fn block_counts(options: &SweepOptions, rows: usize, columns: usize) -> Vec<usize> {
    let Pattern::Unstructured(sparsity) = options.pattern else { return Vec::new() };
    let starts = (0..columns).step_by(options.block_size);
    let block = |start| (start, columns.min(start + options.block_size));
    starts.map(block).map(|(start, end)| options.count.block_count(sparsity, rows, start, end)).collect()
}

/// A Hessian whose lower triangle stands for both.
#[derive(Debug)]
struct Full {
    engine: Cuda,
    hessian: PackedTriangle,
}

impl FullHessian for Full {
    fn refine(&self, weight: Tensor, dense: &Tensor, mask: &Mask, iterations: usize) -> Result<Tensor> {
        let columns = self.hessian.size();
        let dense = rows_of(dense, columns)?;
        let flags: Vec<u8> = mask.as_slice().iter().map(|&keep| u8::from(keep)).collect();
        let device = self.engine.device();
        let flags = Buffer::from_slice(device, &flags, "a mask")?;
        let rows = rows_of(&weight, columns)?.rows();
        let (shape, mut values) = weight.into_gpu_values()?;
        refine(device, &mut values.matrix_mut(rows, columns)?, dense, &flags, &self.hessian, iterations)?;
        Ok(self.engine.tensor(values, &shape))
    }

    fn energy(&self, weight: &Tensor) -> Result<f64> {
        let weight = rows_of(weight, self.hessian.size())?;
        Ok(energy(self.engine.device(), weight, &self.hessian, None)?)
    }

    fn set_diagonal(&mut self, diagonal: &[f32]) -> Result<()> {
        Ok(self.hessian.set_diagonal(diagonal)?)
    }

    fn download(&self) -> Result<Symmetric> {
        let mut full = download(&self.hessian)?;
        full.mirror();
        Ok(full)
    }
}

/// Device bytes of the Hessian of a tap while it is gathered.
pub fn hessian_bytes(columns: usize) -> u64 {
    GramSums::bytes(columns)
}

/// Device bytes that solving a tap takes at most beside its Hessian. First the factor, then beside what stays of it
/// the dense weights of its Linears, each `[rows, columns]`, their stacked copy and its sweep, which is more than the
/// same weights once more when the stack is cut; at last the dense and pruned weights with what the refinement and the
/// measurement of the largest need.
pub fn solve_bytes(rows: &[usize], columns: usize, block_size: usize, refined: bool) -> u64 {
    let float = size_of::<f32>() as u64;
    let weights = 2 * float * (rows.iter().sum::<usize>() * columns) as u64;
    let largest = rows.iter().copied().max().unwrap_or(0);
    let mask = (largest * columns) as u64;
    let kept = factor_bytes(columns) - factor_scratch_bytes(columns);
    let sweep = kept + weights + sweep_bytes(rows, columns, block_size);
    let refine = if refined { weights + mask + refine_bytes(largest, columns) } else { 0 };
    let measure = weights + energy_bytes(largest, columns);
    factor_bytes(columns).max(sweep).max(refine).max(measure)
}

fn download(packed: &PackedTriangle) -> Result<Symmetric> {
    let lower = packed.to_lower()?;
    Symmetric::from_rows(packed.size(), lower).ok_or_else(|| refuse("a Hessian of another size".into()))
}

/// A tensor whose last axis goes with the Hessian, as a matrix.
fn rows_of(tensor: &Tensor, columns: usize) -> Result<Matrix<'_>> {
    match tensor.dims().last() {
        Some(&last) if last == columns => matrix(tensor),
        _ => Err(refuse(format!("{tensor:?} does not go with a Hessian of {columns} columns"))),
    }
}
