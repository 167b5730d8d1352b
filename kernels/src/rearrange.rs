//! Copies that change only where values lie. They need no device memory beyond their operands.

use bytemuck::{Pod, Zeroable};

use crate::buffer::Pointer;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Matrix, MatrixMut};
use crate::rows::expect;

const THREADS: usize = 256;
/// Axes of a [`Strided`] at most.
pub const MAX_AXES: usize = 6;
/// Bytes that a thread of `copy_rows` copies where everything is a multiple of them.
const WIDE_UNIT: usize = 16;

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct CopyRowsParams {
    from: Pointer<u8>,
    to: Pointer<u8>,
    from_stride: i64,
    to_stride: i64,
    rows: u32,
    units: u32,
}

const _: () = assert!(size_of::<CopyRowsParams>() == 40);

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct StridedCopyParams {
    from: Pointer<u8>,
    to: Pointer<u8>,
    stride: [i64; MAX_AXES],
    size: [u32; MAX_AXES],
    total: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<StridedCopyParams>() == 96);

/// to = from, of the same shape and format; their rows may lie differently far apart. Copying into a
/// [`MatrixMut::column_range`] concatenates along the last axis, into a [`MatrixMut::row_range`] along the first.
///
/// # Errors
/// [`Error::Argument`] if the shapes or formats differ, [`Error::Device`].
pub fn copy_rows(device: &Device, to: &mut MatrixMut, from: Matrix) -> Result<()> {
    const NAME: &str = "copy_rows";
    let to = to.view();
    let (rows, columns, value_bytes) = (from.rows(), from.columns(), from.element().bytes());
    expect(NAME, "to", to, (rows, columns), from.element())?;
    let wide = from.rows_aligned_to(WIDE_UNIT)
        && to.rows_aligned_to(WIDE_UNIT)
        && (columns * value_bytes).is_multiple_of(WIDE_UNIT);
    let unit = if wide { WIDE_UNIT } else { value_bytes };
    let units = columns * value_bytes / unit;
    let blocks = blocks(NAME, rows, units)?;
    // The stride of a single row means nothing and need not be a multiple of the unit.
    let stride = |matrix: Matrix| if rows > 1 { (matrix.stride() * value_bytes / unit) as i64 } else { 0 };
    let params = CopyRowsParams {
        from: from.pointer(),
        to: to.pointer(),
        from_stride: stride(from),
        to_stride: stride(to),
        rows: rows as u32,
        units: units as u32,
    };
    match blocks {
        0 => Ok(()),
        _ => {
            let kernel = format!("{NAME}_{unit}");
            device.launch(&image::REARRANGE, &kernel, [blocks, 1, 1], [THREADS as u32, 1, 1], 0, &params)
        }
    }
}

/// Places of values: value (i, j, ..) of a result is value `offset + i * strides[0] + j * strides[1] + ..` of its
/// source.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a> {
    pub offset: usize,
    pub shape: &'a [usize],
    /// As many as `shape`.
    pub strides: &'a [usize],
}

impl Strided<'_> {
    /// Values of the result.
    fn values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Values that the source must have.
    fn source_values(&self) -> usize {
        match self.values() {
            0 => 0,
            _ => {
                self.offset
                    + 1
                    + self.shape.iter().zip(self.strides).map(|(size, stride)| (size - 1) * stride).sum::<usize>()
            }
        }
    }
}

/// to = the values of `from` at the places `at`, in row-major order. Of both matrices only format, first value and
/// number of values count; their rows have no gaps.
///
/// # Errors
/// [`Error::Argument`] for more than [`MAX_AXES`] axes, a matrix with gaps, formats that differ, places beyond `from`
/// or another number of values than `to` has; [`Error::Device`].
pub fn strided_copy(device: &Device, to: &mut MatrixMut, from: Matrix, at: &Strided) -> Result<()> {
    const NAME: &str = "strided_copy";
    let to = to.view();
    let refuse = |problem: String| Err(Error::argument(NAME, problem));
    if at.shape.len() > MAX_AXES || at.shape.len() != at.strides.len() {
        return refuse(format!("shape {:?} with strides {:?}, at most {MAX_AXES} axes", at.shape, at.strides));
    }
    if [to, from].iter().any(|matrix| matrix.rows() > 1 && matrix.stride() != matrix.columns()) {
        return refuse("a matrix has gaps between its rows".into());
    }
    let held = |matrix: Matrix| matrix.rows() * matrix.columns();
    if to.element() != from.element() || held(to) != at.values() || held(from) < at.source_values() {
        return refuse(format!(
            "{} {} values to {} {}, expected {} or more to {} of one format",
            held(from),
            from.element().name(),
            held(to),
            to.element().name(),
            at.source_values(),
            at.values()
        ));
    }
    let blocks = blocks(NAME, 1, at.values())?;
    if blocks == 0 {
        return Ok(());
    }
    let bytes = from.element().bytes();
    let mut params = StridedCopyParams {
        from: from.pointer().offset(at.offset * bytes),
        to: to.pointer(),
        stride: [0; MAX_AXES],
        size: [1; MAX_AXES],
        total: at.values() as u32,
        reserved: 0,
    };
    let unused = MAX_AXES - at.shape.len();
    for (i, (&size, &stride)) in at.shape.iter().zip(at.strides).enumerate() {
        params.size[unused + i] = size as u32;
        params.stride[unused + i] = stride as i64;
    }
    let kernel = format!("{NAME}_{bytes}");
    device.launch(&image::REARRANGE, &kernel, [blocks, 1, 1], [THREADS as u32, 1, 1], 0, &params)
}

/// Blocks of one thread per unit.
fn blocks(operation: &'static str, rows: usize, units: usize) -> Result<u32> {
    match rows.checked_mul(units) {
        Some(total) if total <= u32::MAX as usize - THREADS => Ok(total.div_ceil(THREADS) as u32),
        _ => Err(Error::argument(operation, format!("{rows} x {units} values are too many"))),
    }
}
