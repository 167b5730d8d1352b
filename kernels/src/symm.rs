//! `product = (left H) o mask` with a packed symmetric H, in float32 accuracy.

use bytemuck::{Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Element, Matrix, MatrixMut};
use crate::triangle::{PackedTriangle, TILE};

/// Threads of a block: `TILE_THREADS` of tile.cuh.
const THREADS: u32 = 128;

/// Three stages (`STAGES` of tile.cuh) of two f32 operands of 16 (`STEP` of symm.cu) by 128 values.
const SHARED_BYTES: u32 = (3 * 2 * 16 * TILE * size_of::<f32>()) as u32;

/// `SymmParams` of symm.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    left: Pointer<f32>,
    h: Pointer<f32>,
    mask: Pointer<u8>,
    product: Pointer<f32>,
    left_stride: i64,
    product_stride: i64,
    rows: i32,
    size: i32,
}

const _: () = assert!(size_of::<Params>() == 56);

/// The entries of a `[rows, columns]` matrix that are kept: u8, row-major, 1 or 0, from row `start` of `mask` on.
#[derive(Debug, Clone, Copy)]
pub struct MaskRows<'a> {
    pub mask: &'a Buffer<u8>,
    pub start: usize,
}

/// `product = left h`, zero outside `mask` if there is one. `left` and `product`: f32 `[rows, h.size()]`.
///
/// Needs no device memory of its own.
///
/// # Errors
/// [`Error::Argument`] for shapes that do not fit, [`Error::Device`].
pub fn symm(
    device: &Device,
    left: Matrix,
    h: &PackedTriangle,
    mask: Option<MaskRows>,
    product: &mut MatrixMut,
) -> Result<()> {
    let refuse = |problem: String| Err(Error::argument("symm", problem));
    let (to, size, rows) = (product.view(), h.size(), left.rows());
    if left.element() != Element::F32 || to.element() != Element::F32 {
        return refuse(format!("{} and {} values; f32 only", left.element().name(), to.element().name()));
    }
    if left.columns() != size || to.columns() != size || to.rows() != rows {
        let (to_rows, to_columns) = (to.rows(), to.columns());
        return refuse(format!("{rows} x {} times {size} x {size} into {to_rows} x {to_columns}", left.columns()));
    }
    let mask = match mask {
        Some(MaskRows { mask, start }) if mask.len() < (start + rows) * size => {
            return refuse(format!("a mask of {} for rows {start} to {} of {size}", mask.len(), start + rows));
        }
        Some(MaskRows { mask, start }) => mask.pointer().offset(start * size),
        None => Pointer::NULL,
    };
    if rows == 0 || size == 0 {
        return Ok(());
    }
    let (Ok(rows_i32), Ok(size_i32)) = (i32::try_from(rows), i32::try_from(size)) else {
        return refuse(format!("{rows} x {size} values; at most 2^31 - 1 each"));
    };
    let params = Params {
        left: left.pointer().cast(),
        h: h.pointer(),
        mask,
        product: to.pointer().cast(),
        left_stride: left.stride() as i64,
        product_stride: to.stride() as i64,
        rows: rows_i32,
        size: size_i32,
    };
    // Rows run fastest: the blocks under way then share few tile columns of H.
    let grid = [rows.div_ceil(TILE) as u32, h.tiles() as u32, 1];
    device.launch(&image::SYMM, "symm_f32", grid, [THREADS, 1, 1], SHARED_BYTES, &params)
}
