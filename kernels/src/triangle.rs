//! Symmetric and triangular matrices on the device: the lower triangle only, cut into square tiles.
//!
//! ```text
//!      +---+
//!      | 0 |               tile (i, j), j <= i, is number i (i + 1) / 2 + j;
//!      +---+---+           inside, TILE x TILE f32 values row by row
//!      | 1 | 2 |
//!      +---+---+---+       places beyond the matrix, and right of the diagonal
//!      | 3 | 4 | 5 |       inside a diagonal tile, hold 0
//!      +---+---+---+
//! ```
//!
//! A tile is one contiguous 64 KiB run, so kernels load it with whole cache lines, and the matrix takes half of
//! the room of a square one.

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};

/// Rows and columns of a tile: `TRIANGLE_TILE` of `common.cuh`.
pub const TILE: usize = 128;

/// The lower triangle of a `[size, size]` f32 matrix in tiles.
#[derive(Debug)]
pub struct PackedTriangle {
    size: usize,
    values: Buffer<f32>,
}

impl PackedTriangle {
    /// Device bytes of a matrix of `size` rows.
    pub fn bytes(size: usize) -> u64 {
        (Self::values(size) * size_of::<f32>()) as u64
    }

    /// f32 values of a matrix of `size` rows.
    pub fn values(size: usize) -> usize {
        let tiles = size.div_ceil(TILE);
        tiles * (tiles + 1) / 2 * TILE * TILE
    }

    /// Position of entry (`row`, `column`), `column <= row`.
    pub fn position(row: usize, column: usize) -> usize {
        let (i, j) = (row / TILE, column / TILE);
        (i * (i + 1) / 2 + j) * TILE * TILE + row % TILE * TILE + column % TILE
    }

    /// All zero.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn zeros(device: &Device, size: usize, what: &str) -> Result<Self> {
        Ok(PackedTriangle { size, values: Buffer::zeros(device, Self::values(size), what)? })
    }

    /// From the lower triangle of a host matrix `[size, size]`, row-major; what lies above the diagonal is not
    /// read.
    ///
    /// # Errors
    /// [`Error::Argument`] if `matrix` has another length, [`Error::OutOfMemory`].
    pub fn from_lower(device: &Device, size: usize, matrix: &[f32], what: &str) -> Result<Self> {
        if matrix.len() != size * size {
            return Err(Error::argument("triangle", format!("{} values for {size} x {size}", matrix.len())));
        }
        let mut packed = vec![0.0; Self::values(size)];
        for row in 0..size {
            for start in (0..=row).step_by(TILE) {
                let end = (start + TILE).min(row + 1);
                packed[Self::position(row, start)..][..end - start]
                    .copy_from_slice(&matrix[row * size + start..][..end - start]);
            }
        }
        Ok(PackedTriangle { size, values: Buffer::from_slice(device, &packed, what)? })
    }

    /// The lower triangle as a host matrix `[size, size]`, row-major, zero above the diagonal.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn to_lower(&self) -> Result<Vec<f32>> {
        let packed = self.values.to_vec()?;
        let size = self.size;
        let mut matrix = vec![0.0; size * size];
        for row in 0..size {
            for start in (0..=row).step_by(TILE) {
                let end = (start + TILE).min(row + 1);
                matrix[row * size + start..][..end - start]
                    .copy_from_slice(&packed[Self::position(row, start)..][..end - start]);
            }
        }
        Ok(matrix)
    }

    /// Every value as it lies in memory, padding included.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn to_values(&self) -> Result<Vec<f32>> {
        self.values.to_vec()
    }

    /// A copy on the same device.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn duplicate(&self, what: &str) -> Result<Self> {
        let mut values = Buffer::uninitialised(self.values.device(), self.values.len(), what)?;
        values.copy_from(0, &self.values)?;
        Ok(PackedTriangle { size: self.size, values })
    }

    /// Rows of the matrix.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Rows of tiles.
    pub fn tiles(&self) -> usize {
        self.size.div_ceil(TILE)
    }

    pub fn device(&self) -> &Device {
        self.values.device()
    }

    pub fn pointer(&self) -> Pointer<f32> {
        self.values.pointer()
    }
}
