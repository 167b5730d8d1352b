//! `gram` beside cuBLASLt's full X^T X, in bf16 and in f32.

use super::shapes::FLUX_TOKENS;
use super::{Measurement, Timer, peer};
use crate::error::Result;
use crate::gram::{GramInput, GramSums, RowWeights, gram};
use crate::matrix::Matrix;
use crate::peers::cublaslt::{Gemm, Product};
use crate::triangle::PackedTriangle;
use crate::{Buffer, Pointer};

/// See the module.
///
/// # Errors
/// [`crate::Error::Device`], [`crate::Error::OutOfMemory`].
pub fn run(timer: &Timer, report: &mut dyn FnMut(Measurement)) -> Result<()> {
    let tokens = FLUX_TOKENS;
    for columns in [1536, 2432, 3072, 9728, 12288, 15360] {
        let bf16 = timer.random_bf16(tokens * columns)?;
        let x = Matrix::from_buffer(&bf16, tokens, columns)?;
        measure(timer, x, bf16.pointer(), report)?;
    }
    for columns in [3072, 12288] {
        let f32 = timer.random_f32(tokens * columns)?;
        let x = Matrix::from_buffer(&f32, tokens, columns)?;
        measure(timer, x, f32.pointer(), report)?;
    }
    Ok(())
}

fn measure<T>(timer: &Timer, x: Matrix, pointer: Pointer<T>, report: &mut dyn FnMut(Measurement)) -> Result<()> {
    let (tokens, columns, element) = (x.rows(), x.columns(), x.element());
    let mut sums = GramSums::zeros(timer.device(), columns)?;
    let time = timer
        .time(&mut || gram(timer.device(), &mut [GramInput { x, weights: RowWeights::All(1.0), into: &mut sums }]))?;
    let peer = peer(timer, "cuBLASLt X^T X", |timer| {
        let gemm = Gemm::new(timer.driver(), Product::Gram { tokens, columns }, element)?;
        let full: Buffer<f32> = Buffer::uninitialised(timer.device(), columns * columns, "a full product")?;
        timer.time(&mut || gemm.run(pointer, pointer, full.pointer()))
    });
    report(Measurement {
        kernel: "gram",
        case: format!("{} [{tokens}, {columns}]", element.name()),
        time,
        // As cuBLASLt counts it, the full product: the rate is then the effective one.
        flops: 2.0 * (tokens * columns * columns) as f64,
        bytes: (tokens * columns * element.bytes()) as f64 + 2.0 * PackedTriangle::bytes(columns) as f64,
        peer,
    });
    Ok(())
}
