//! `factor` beside cuSOLVER's potrf, potri, potrf.

use super::{Measurement, Timer, peer};
use crate::Buffer;
use crate::error::Result;
use crate::factor::{FactorInput, factor};
use crate::peers::cusolver::Chain;
use crate::triangle::PackedTriangle;

/// See the module.
///
/// # Errors
/// [`crate::Error::Device`], [`crate::Error::OutOfMemory`].
pub fn run(timer: &Timer, report: &mut dyn FnMut(Measurement)) -> Result<()> {
    for size in [3072, 9728, 12288, 15360] {
        let matrix = diagonally_dominant(size);
        let hessian = PackedTriangle::from_lower(timer.device(), size, &matrix, "a matrix to factor")?;
        let time = timer
            .time(&mut || factor(timer.device(), &[FactorInput { hessian: &hessian, dampening: 0.01 }]).map(|_| ()))?;
        let peer = peer(timer, "cuSOLVER potrf, potri, potrf", |timer| {
            let original = Buffer::from_slice(timer.device(), &matrix, "a matrix to factor")?;
            let mut work = Buffer::uninitialised(timer.device(), matrix.len(), "a matrix to factor")?;
            let mut chain = Chain::new(timer.driver(), size)?;
            // The copy is part of both: `factor` leaves its input as it is too.
            timer.time(&mut || {
                work.copy_from(0, &original)?;
                chain.run(&mut work)
            })
        });
        report(Measurement {
            kernel: "factor",
            case: format!("f32 [{size}, {size}]"),
            time,
            flops: 2.0 / 3.0 * (size as f64).powi(3),
            bytes: 2.0 * PackedTriangle::bytes(size) as f64,
            peer,
        });
    }
    Ok(())
}

/// The lower triangle, zero above: off-diagonal entries fall off with the distance, so every pivot is positive.
fn diagonally_dominant(size: usize) -> Vec<f32> {
    let mut matrix = vec![0.0f32; size * size];
    for (row, values) in matrix.chunks_exact_mut(size).enumerate() {
        for (column, value) in values[..=row].iter_mut().enumerate() {
            let distance = (row - column) as f32;
            *value = 0.3f32.powf(distance.min(40.0)) + if distance == 0.0 { 1.0 } else { 0.0 };
        }
    }
    matrix
}
