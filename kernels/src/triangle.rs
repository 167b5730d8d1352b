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

use bytemuck::{Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;

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

    /// The tiles.
    pub(crate) fn buffer(&self) -> &Buffer<f32> {
        &self.values
    }
}

/// Threads of a block of triangle.cu.
const THREADS: usize = 256;

/// `TriangleParams` of triangle.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    packed: Pointer<f32>,
    other: Pointer<f32>,
    values: i64,
    factor: f32,
    size: i32,
}

const _: () = assert!(size_of::<Params>() == 32);

/// Operations of triangle.cu.
impl PackedTriangle {
    /// Multiplies every entry.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn scale(&mut self, factor: f32) -> Result<()> {
        self.launch("triangle_scale", self.values.len() / 4, Pointer::NULL, factor)
    }

    /// The diagonal, on the host.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn diagonal(&self) -> Result<Vec<f32>> {
        self.diagonal_on_device()?.to_vec()
    }

    /// The diagonal as a vector on the device.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn diagonal_on_device(&self) -> Result<Buffer<f32>> {
        let diagonal = Buffer::uninitialised(self.device(), self.size, "diagonal of a Hessian")?;
        self.launch("triangle_diagonal", self.size, diagonal.pointer(), 0.0)?;
        Ok(diagonal)
    }

    /// Replaces the diagonal.
    ///
    /// # Errors
    /// [`Error::Argument`] unless there is one value per row, [`Error::OutOfMemory`], [`Error::Device`].
    pub fn set_diagonal(&mut self, values: &[f32]) -> Result<()> {
        if values.len() != self.size {
            return Err(Error::argument("triangle", format!("{} diagonal values for {}", values.len(), self.size)));
        }
        let values = Buffer::from_slice(self.device(), values, "diagonal of a Hessian")?;
        self.launch("triangle_set_diagonal", self.size, values.pointer(), 0.0)
    }

    /// Adds the same to every diagonal entry: damping.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn add_to_diagonal(&mut self, damping: f32) -> Result<()> {
        self.launch("triangle_add_diagonal", self.size, Pointer::NULL, damping)
    }

    /// The whole symmetric matrix into `full`, `[size, size]`, row-major.
    ///
    /// # Errors
    /// [`Error::Argument`] if `full` has another length, [`Error::Device`].
    pub fn unpack(&self, full: &mut Buffer<f32>) -> Result<()> {
        let size = self.size;
        if full.len() != size * size {
            return Err(Error::argument("triangle", format!("room for {} values of {size} x {size}", full.len())));
        }
        if size == 0 {
            return Ok(());
        }
        let tiles = self.tiles() as u32;
        let params = self.params(full.pointer(), 0.0)?;
        let threads = [THREADS as u32, 1, 1];
        self.device().launch(&image::TRIANGLE, "triangle_unpack", [tiles, tiles, 1], threads, 0, &params)
    }

    /// Launches one thread per item.
    fn launch(&self, kernel: &str, items: usize, other: Pointer<f32>, factor: f32) -> Result<()> {
        if items == 0 {
            return Ok(());
        }
        let blocks = items.div_ceil(THREADS) as u32;
        let params = self.params(other, factor)?;
        self.device().launch(&image::TRIANGLE, kernel, [blocks, 1, 1], [THREADS as u32, 1, 1], 0, &params)
    }

    fn params(&self, other: Pointer<f32>, factor: f32) -> Result<Params> {
        let size = i32::try_from(self.size)
            .map_err(|_| Error::argument("triangle", format!("{} rows; at most 2^31 - 1", self.size)))?;
        Ok(Params { packed: self.pointer(), other, values: self.values.len() as i64, factor, size })
    }
}
