//! `tr(X H X^T)`: how much output weights, or a change of weights, make of their inputs.

use bytemuck::{Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Matrix, MatrixMut};
use crate::symm::symm;
use crate::triangle::PackedTriangle;

/// Threads of a block of energy.cu.
const THREADS: u32 = 256;

/// Rows under way at a time: enough tiles to fill any GPU, in a bounded room.
const ROW_CHUNK: usize = 4096;

/// `EnergyParams` of energy.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    x: Pointer<f32>,
    product: Pointer<f32>,
    own: Pointer<f32>,
    other: Pointer<f32>,
    energy: Pointer<f64>,
    x_stride: i64,
    product_stride: i64,
    rows: i32,
    size: i32,
}

const _: () = assert!(size_of::<Params>() == 64);

/// Device bytes that [`energy`] needs beside its arguments for `[rows, columns]`.
pub fn energy_bytes(rows: usize, columns: usize) -> u64 {
    let chunk = rows.min(ROW_CHUNK);
    (chunk * columns * size_of::<f32>() + 2 * columns * size_of::<f32>() + chunk * size_of::<f64>()) as u64
}

/// `sum over rows x of x h x^T` for `x`, f32 `[rows, h.size()]`; with `diagonal`, that stands in the place of h's
/// own: the undamped one, say. Waits for the result.
///
/// # Errors
/// [`Error::Argument`] for shapes that do not fit, [`Error::OutOfMemory`], [`Error::Device`].
pub fn energy(device: &Device, x: Matrix, h: &PackedTriangle, diagonal: Option<&[f32]>) -> Result<f64> {
    let (rows, columns) = (x.rows(), x.columns());
    if let Some(diagonal) = diagonal
        && diagonal.len() != h.size()
    {
        return Err(Error::argument("energy", format!("{} diagonal values for {}", diagonal.len(), h.size())));
    }
    let diagonals = match diagonal {
        Some(diagonal) => {
            Some((h.diagonal_on_device()?, Buffer::from_slice(device, diagonal, "diagonal of a Hessian")?))
        }
        None => None,
    };
    let (own, other) = match &diagonals {
        Some((own, other)) => (own.pointer(), other.pointer()),
        None => (Pointer::NULL, Pointer::NULL),
    };
    let chunk = rows.min(ROW_CHUNK);
    let mut product = Buffer::<f32>::uninitialised(device, chunk * columns, "energy")?;
    let energies = Buffer::<f64>::uninitialised(device, chunk, "energy")?;
    let mut total = 0.0;
    for start in (0..rows).step_by(ROW_CHUNK) {
        let count = ROW_CHUNK.min(rows - start);
        let part = x.row_range(start, count)?;
        symm(device, part, h, None, &mut MatrixMut::from_buffer(&mut product, count, columns)?)?;
        let params = Params {
            x: part.pointer().cast(),
            product: product.pointer(),
            own,
            other,
            energy: energies.pointer(),
            x_stride: part.stride() as i64,
            product_stride: columns as i64,
            rows: count as i32,
            size: columns as i32,
        };
        device.launch(&image::ENERGY, "energy_rows", [count as u32, 1, 1], [THREADS, 1, 1], 0, &params)?;
        total += energies.range_to_vec(0, count)?.iter().sum::<f64>();
    }
    Ok(total)
}
