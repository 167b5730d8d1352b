//! Copies that change only where values lie. They need no device memory beyond their operands.

use bytemuck::{Pod, Zeroable};

use crate::buffer::Pointer;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Matrix, MatrixMut};
use crate::rows::expect;

const THREADS: usize = 256;
/// Dimensions of a [`Permutation`] at most.
pub const MAX_DIMENSIONS: usize = 6;
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
struct PermuteParams {
    from: Pointer<u8>,
    to: Pointer<u8>,
    stride: [i64; MAX_DIMENSIONS],
    dimension: [u32; MAX_DIMENSIONS],
    total: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<PermuteParams>() == 96);

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

/// A view of contiguous values: up to six dimensions, slowest first, each with the distance of its neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permutation {
    /// (length, stride in values)
    dimensions: Vec<(usize, usize)>,
    /// Position of the first value.
    first: usize,
}

impl Permutation {
    /// From (length, stride) pairs, slowest first, beginning at value number `first`.
    ///
    /// # Errors
    /// [`Error::Argument`] for more than [`MAX_DIMENSIONS`] dimensions or a length over 2^32.
    pub fn new(first: usize, dimensions: &[(usize, usize)]) -> Result<Self> {
        let fits = dimensions.len() <= MAX_DIMENSIONS && dimensions.iter().all(|d| u32::try_from(d.0).is_ok());
        match fits {
            true => Ok(Permutation { dimensions: dimensions.to_vec(), first }),
            false => Err(Error::argument("permute", format!("dimensions {dimensions:?}"))),
        }
    }

    /// Latents [batch, channels, rows * patch, columns * patch] as patches [batch, rows * columns, channels * patch *
    /// patch].
    ///
    /// # Errors
    /// Those of [`Permutation::new`].
    pub fn patchify(batch: usize, channels: usize, [rows, columns]: [usize; 2], patch: usize) -> Result<Self> {
        let width = columns * patch;
        let plane = rows * patch * width;
        Self::new(
            0,
            &[
                (batch, channels * plane),
                (rows, patch * width),
                (columns, patch),
                (channels, plane),
                (patch, width),
                (patch, 1),
            ],
        )
    }

    /// Patches [batch, rows * columns, patch * patch * channels] as latents [batch, channels, rows * patch, columns *
    /// patch].
    ///
    /// # Errors
    /// Those of [`Permutation::new`].
    pub fn unpatchify(batch: usize, channels: usize, [rows, columns]: [usize; 2], patch: usize) -> Result<Self> {
        let token = patch * patch * channels;
        Self::new(
            0,
            &[
                (batch, rows * columns * token),
                (channels, 1),
                (rows, columns * token),
                (patch, patch * channels),
                (columns, token),
                (patch, channels),
            ],
        )
    }

    /// The middle `rows` x `columns` entries of a square table [size * size, width].
    ///
    /// # Errors
    /// [`Error::Argument`] if the table is smaller; those of [`Permutation::new`].
    pub fn crop(size: usize, [rows, columns]: [usize; 2], width: usize) -> Result<Self> {
        if rows > size || columns > size {
            return Err(Error::argument("permute", format!("{rows} x {columns} of a table of {size} x {size}")));
        }
        let first = ((size - rows) / 2 * size + (size - columns) / 2) * width;
        Self::new(first, &[(rows, size * width), (columns, width), (width, 1)])
    }

    /// Values of the result.
    pub fn len(&self) -> usize {
        self.dimensions.iter().map(|dimension| dimension.0).product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values that the source must have.
    pub fn source_len(&self) -> usize {
        match self.is_empty() {
            true => 0,
            false => {
                self.first + 1 + self.dimensions.iter().map(|(length, stride)| (length - 1) * stride).sum::<usize>()
            }
        }
    }
}

/// to = the values of `from` in the order of `permutation`. Both matrices are contiguous and only their first value
/// and size count.
///
/// # Errors
/// [`Error::Argument`] if a matrix is not contiguous, the formats differ, `from` is too small or `to` has another
/// size; [`Error::Device`].
pub fn permute(device: &Device, to: &mut MatrixMut, from: Matrix, permutation: &Permutation) -> Result<()> {
    const NAME: &str = "permute";
    let to = to.view();
    let values = |matrix: Matrix| matrix.rows() * matrix.columns();
    if [to, from].iter().any(|matrix| matrix.rows() > 1 && matrix.stride() != matrix.columns()) {
        return Err(Error::argument(NAME, "a matrix is not contiguous"));
    }
    if to.element() != from.element() || values(to) != permutation.len() || values(from) < permutation.source_len() {
        return Err(Error::argument(
            NAME,
            format!(
                "{} {} values to {} {}, expected {} or more to {} of one format",
                values(from),
                from.element().name(),
                values(to),
                to.element().name(),
                permutation.source_len(),
                permutation.len()
            ),
        ));
    }
    let blocks = blocks(NAME, 1, permutation.len())?;
    if blocks == 0 {
        return Ok(());
    }
    let bytes = from.element().bytes();
    let mut params = PermuteParams {
        from: from.pointer().offset(permutation.first * bytes),
        to: to.pointer(),
        stride: [0; MAX_DIMENSIONS],
        dimension: [1; MAX_DIMENSIONS],
        total: permutation.len() as u32,
        reserved: 0,
    };
    let unused = MAX_DIMENSIONS - permutation.dimensions.len();
    for (i, &(length, stride)) in permutation.dimensions.iter().enumerate() {
        params.dimension[unused + i] = length as u32;
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
