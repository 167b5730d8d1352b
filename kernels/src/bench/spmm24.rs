//! `spmm24` beside cuSPARSELt, and `gemm` beside cuBLASLt.

use super::shapes::{LINEARS, Linear};
use super::{Measurement, Timer, peer};
use crate::Buffer;
use crate::error::Result;
use crate::gemm::gemm;
use crate::matrix::{Element, Matrix, MatrixMut};
use crate::pack24::Packed24;
use crate::peers::cublaslt::{Gemm, Product};
use crate::peers::cusparselt::SparseGemm;
use crate::spmm24::spmm24;
use half::bf16;

/// Runs both at every shape, so that a sparse product that is not faster than the dense one is seen at once.
///
/// # Errors
/// [`crate::Error::Device`], [`crate::Error::OutOfMemory`].
pub fn run(timer: &Timer, report: &mut dyn FnMut(Measurement)) -> Result<()> {
    for linear in LINEARS {
        let Linear { name, tokens, features, columns } = linear;
        let device = timer.device();
        let x = timer.random_bf16(tokens * columns)?;
        let dense = timer.random_bf16(features * columns)?;
        let mut values = dense.to_vec()?;
        for group in values.chunks_exact_mut(4) {
            group[1] = bf16::ZERO;
            group[2] = bf16::ZERO;
        }
        let sparse = Buffer::from_slice(device, &values, "a 2:4 matrix")?;
        let packed = Packed24::compress(device, Matrix::from_buffer(&sparse, features, columns)?)?.into_registers()?;
        let mut y: Buffer<bf16> = Buffer::uninitialised(device, tokens * features, "a product")?;
        let input = Matrix::from_buffer(&x, tokens, columns)?;
        let case = format!("bf16 {name} [{tokens}, {features}, {columns}]");
        let flops = 2.0 * (tokens * features * columns) as f64;
        let moved = (2 * tokens * (columns + features)) as f64;

        let time = timer.time(&mut || {
            let weight = Matrix::from_buffer(&dense, features, columns)?;
            gemm(device, input, weight, None, &mut MatrixMut::from_buffer(&mut y, tokens, features)?)
        })?;
        let cublaslt = peer(timer, "cuBLASLt", |timer| {
            let gemm = Gemm::new(timer.driver(), Product::Linear { tokens, features, columns }, Element::Bf16)?;
            timer.time(&mut || gemm.run(dense.pointer(), x.pointer(), y.pointer()))
        });
        let bytes = moved + (2 * features * columns) as f64;
        report(Measurement { kernel: "gemm", case: case.clone(), time, flops, bytes, peer: cublaslt.clone() });

        let time = timer.time(&mut || {
            spmm24(device, input, &packed, None, &mut MatrixMut::from_buffer(&mut y, tokens, features)?)
        })?;
        let cusparselt = peer(timer, "cuSPARSELt", |timer| {
            let shape = [tokens, features, columns];
            let mut product = SparseGemm::new(timer.driver(), Element::Bf16, shape, sparse.pointer())?;
            product.search(x.pointer(), y.pointer())?;
            timer.time(&mut || product.run(x.pointer(), y.pointer()))
        });
        let bytes = moved + Packed24::bytes(features, columns) as f64;
        report(Measurement { kernel: "spmm24", case: case.clone(), time, flops, bytes, peer: cusparselt });
        report(Measurement { kernel: "spmm24 against dense", case, time, flops, bytes, peer: cublaslt });
    }
    Ok(())
}
