//! Least-squares refinement on a fixed mask: `min tr((W - V) H (W - V)^T)` over the support of `V`, by conjugate
//! gradients preconditioned with the diagonal (PCG; ALPS, Meng et al. 2024, section 3.3).

use bytemuck::{Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Element, Matrix, MatrixMut};
use crate::symm::{MaskRows, symm};
use crate::triangle::PackedTriangle;

/// Threads of a block of refine.cu.
const THREADS: usize = 256;

/// Rows under way at a time: enough tiles to fill any GPU, in a bounded room.
const ROW_CHUNK: usize = 4096;

/// `RefineParams` of refine.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    dense: Pointer<f32>,
    weight: Pointer<f32>,
    direction: Pointer<f32>,
    residual: Pointer<f32>,
    product: Pointer<f32>,
    inverse: Pointer<f32>,
    energy: Pointer<f64>,
    dense_stride: i64,
    weight_stride: i64,
    rows: i32,
    size: i32,
}

const _: () = assert!(size_of::<Params>() == 80);

/// Device bytes that [`refine`] needs beside its arguments for weights of `[rows, columns]`.
pub fn refine_bytes(rows: usize, columns: usize) -> u64 {
    let chunk = rows.min(ROW_CHUNK);
    ((3 * chunk * columns + columns) * size_of::<f32>() + chunk * size_of::<f64>()) as u64
}

/// Improves `weight` (f32 `[rows, d]`, zero outside `mask`) towards `dense` (same shape) in `iterations` steps.
///
/// `mask`: u8 `[rows, d]`, 1 where a weight is kept; `damped`: the damped Hessian, of which the lower triangle
/// stands for both. A row that is solved is left as it is.
///
/// # Errors
/// [`Error::Argument`] for shapes that do not fit, [`Error::OutOfMemory`], [`Error::Device`].
pub fn refine(
    device: &Device,
    weight: &mut MatrixMut,
    dense: Matrix,
    mask: &Buffer<u8>,
    damped: &PackedTriangle,
    iterations: usize,
) -> Result<()> {
    let refuse = |problem: String| Err(Error::argument("refine", problem));
    let target = weight.view();
    let (rows, columns) = (target.rows(), target.columns());
    if target.element() != Element::F32 || dense.element() != Element::F32 {
        return refuse(format!("{} and {} weights; f32 only", target.element().name(), dense.element().name()));
    }
    if (dense.rows(), dense.columns()) != (rows, columns) || damped.size() != columns {
        let (dense_rows, dense_columns, size) = (dense.rows(), dense.columns(), damped.size());
        return refuse(format!("{rows} x {columns} weights, {dense_rows} x {dense_columns} dense ones, {size} inputs"));
    }
    if mask.len() != rows * columns {
        return refuse(format!("a mask of {} for {rows} x {columns}", mask.len()));
    }
    if rows == 0 || columns == 0 {
        return Ok(());
    }

    let chunk = rows.min(ROW_CHUNK);
    let room = || Buffer::<f32>::uninitialised(device, chunk * columns, "refinement");
    let direction = room()?;
    let (mut residual, mut product) = (room()?, room()?);
    let energy = Buffer::<f64>::uninitialised(device, chunk, "refinement")?;
    let inverse = damped.diagonal_on_device()?;
    let first = Params {
        dense: dense.pointer().cast(),
        weight: target.pointer().cast(),
        direction: direction.pointer(),
        residual: residual.pointer(),
        product: product.pointer(),
        inverse: inverse.pointer(),
        energy: energy.pointer(),
        dense_stride: dense.stride() as i64,
        weight_stride: target.stride() as i64,
        rows: chunk as i32,
        size: columns as i32,
    };
    let launch = |kernel: &str, blocks: usize, params: &Params| {
        device.launch(&image::REFINE, kernel, [blocks as u32, 1, 1], [THREADS as u32, 1, 1], 0, params)
    };

    launch("refine_invert", columns.div_ceil(THREADS), &first)?;
    for start in (0..rows).step_by(ROW_CHUNK) {
        let count = ROW_CHUNK.min(rows - start);
        let params = Params {
            dense: first.dense.offset(start * dense.stride()),
            weight: first.weight.offset(start * target.stride()),
            rows: count as i32,
            ..first
        };
        let mask = Some(MaskRows { mask, start });
        launch("refine_difference", count, &params)?;
        let from = Matrix::from_buffer(&direction, count, columns)?;
        symm(device, from, damped, mask, &mut MatrixMut::from_buffer(&mut residual, count, columns)?)?;
        launch("refine_begin", count, &params)?;
        for _ in 0..iterations {
            let from = Matrix::from_buffer(&direction, count, columns)?;
            symm(device, from, damped, mask, &mut MatrixMut::from_buffer(&mut product, count, columns)?)?;
            launch("refine_step", count, &params)?;
        }
    }
    Ok(())
}
