//! `sweep` of a weight matrix, unstructured and 2:4; its peer, the column loop in PyTorch, is not a library and is
//! timed beside it by scripts/gpu.

use super::{Measurement, Timer};
use crate::Buffer;
use crate::error::{Error, Result};
use crate::factor::{FactorInput, FactorOutcome, factor};
use crate::sweep::{Rounding, Selection, SweepInput, SweepSegment, sweep};
use crate::triangle::PackedTriangle;

/// Columns of a block.
const BLOCK: usize = 128;

/// See the module.
///
/// # Errors
/// [`crate::Error::Device`], [`crate::Error::OutOfMemory`].
pub fn run(timer: &Timer, report: &mut dyn FnMut(Measurement)) -> Result<()> {
    let device = timer.device();
    for (rows, columns) in [(3072, 3072), (21504, 3072), (3072, 12288)] {
        let mut matrix = vec![0.0f32; columns * columns];
        for index in 0..columns {
            matrix[index * columns + index] = 1.0;
            if index > 0 {
                matrix[index * columns + index - 1] = 0.3;
            }
        }
        let hessian = PackedTriangle::from_lower(device, columns, &matrix, "a Hessian")?;
        let outcome = factor(device, &[FactorInput { hessian: &hessian, dampening: 0.01 }])?.pop();
        let Some(FactorOutcome::Factored(factored)) = outcome else {
            return Err(Error::argument("bench", "the benchmark's Hessian is not positive definite"));
        };
        let dense = timer.random_f32(rows * columns)?;
        let mut weight = Buffer::uninitialised(device, dense.len(), "weights")?;
        let counts = [vec![rows * BLOCK / 2; columns / BLOCK]];
        let selections =
            [("50 %", Selection::Unstructured { counts: &counts }), ("2:4", Selection::NM { keep: 2, of: 4 })];
        for (name, selection) in selections {
            let input = SweepInput {
                factor: &factored.triangle,
                inverses: &factored.inverses,
                dead: &factored.dead,
                segments: &[SweepSegment { rows, rounding: Rounding::BF16 }],
                selection,
                block_size: BLOCK,
            };
            let time = timer.time(&mut || {
                weight.copy_from(0, &dense)?;
                sweep(device, &mut weight, &input).map(|_| ())
            })?;
            report(Measurement {
                kernel: "sweep",
                case: format!("f32 [{rows}, {columns}], {name}"),
                time,
                flops: (rows * columns * columns) as f64,
                bytes: 8.0 * (rows * columns) as f64 + PackedTriangle::bytes(columns) as f64,
                peer: None,
            });
        }
    }
    Ok(())
}
