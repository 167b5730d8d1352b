//! 2:4 sparse matrices on the device, in the two orders that `pack24.cu` describes.

use bytemuck::{Pod, Zeroable};

use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::image;
use crate::matrix::{Element, Matrix, MatrixMut};
use crate::reference::pack24::{BLOCK_ROWS, Packed, WORD_COLUMNS, check_columns};
pub use crate::reference::pack24::{Refusal, STEP_COLUMNS};

/// Threads of a block: `THREADS` of `pack24.cu`.
const THREADS: u32 = 256;

/// Steps of 32 columns that a block of the two repacking kernels covers: one per warp.
const BLOCK_STEPS: usize = THREADS as usize / 32;

/// `Pack24Params` of `pack24.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    dense: Pointer<u8>,
    values: Pointer<u16>,
    metadata: Pointer<u16>,
    registers: Pointer<u32>,
    first_bad: Pointer<u64>,
    dense_stride: i64,
    rows: i32,
    columns: i32,
    dense_aligned: i32,
    padding: i32,
}

const _: () = assert!(size_of::<Params>() == 64);

/// A matrix in neutral order, as files hold it. Its metadata is well formed: checked wherever it comes from.
#[derive(Debug)]
pub struct Packed24 {
    element: Element,
    rows: usize,
    columns: usize,
    /// 16-bit `[rows, columns / 2]`.
    values: Buffer<u16>,
    /// u16 `[rows, columns / 16]`.
    metadata: Buffer<u16>,
}

/// A matrix in register order, as `spmm24` multiplies it.
#[derive(Debug)]
pub struct Registers24 {
    element: Element,
    rows: usize,
    columns: usize,
    /// 16-bit `[rows, columns / 2]`, as in neutral order.
    values: Buffer<u16>,
    /// u32 `[columns / 32, padded rows]`.
    metadata: Buffer<u32>,
}

impl Packed24 {
    /// Device bytes of a matrix; packing needs 8 more for a moment.
    pub fn bytes(rows: usize, columns: usize) -> u64 {
        (rows * (columns + columns / 8)) as u64
    }

    /// Packs a dense f16 or bf16 matrix. A group with fewer than two nonzeros keeps its lowest-numbered zeros
    /// besides; NaN is not zero, -0 is and becomes +0.
    ///
    /// # Errors
    /// [`Error::Argument`] if the columns are no multiple of 16, or naming the first group in row-major order with
    /// more than two nonzeros; [`Error::OutOfMemory`], [`Error::Device`].
    pub fn compress(device: &Device, dense: Matrix<'_>) -> Result<Self> {
        Self::try_compress(device, dense)?.map_err(refused)
    }

    /// [`Packed24::compress`] of a matrix that may not be 2:4; the inner error is then its first such group.
    ///
    /// # Errors
    /// Those of [`Packed24::compress`] but for groups.
    pub fn try_compress(device: &Device, dense: Matrix<'_>) -> Result<Result<Self, Refusal>> {
        let packed = Self::uninitialised(device, dense.element(), dense.rows(), dense.columns())?;
        let first_bad = Refused::none(device)?;
        let params = packed.params()?.dense(dense).refusing(&first_bad);
        packed.launch("pack24_compress", &params)?;
        Ok(match first_bad.first(packed.columns)? {
            None => Ok(packed),
            Some((row, group)) => Err(Refusal::Nonzeros { row, group }),
        })
    }

    /// A matrix from a file.
    ///
    /// # Errors
    /// [`Error::Argument`] if the sizes do not fit each other, or naming the first group in row-major order whose
    /// metadata is malformed; [`Error::OutOfMemory`], [`Error::Device`].
    pub fn upload(device: &Device, element: Element, host: &Packed) -> Result<Self> {
        let mut packed = Self::uninitialised(device, element, host.rows, host.columns)?;
        let (values, words) = (packed.values.len(), packed.metadata.len());
        if (host.values.len(), host.metadata.len()) != (values, words) {
            return Err(Error::argument(
                "pack24",
                format!(
                    "{} values and {} words of metadata; a {} x {} matrix has {values} and {words}",
                    host.values.len(),
                    host.metadata.len(),
                    host.rows,
                    host.columns
                ),
            ));
        }
        packed.values.write(0, &host.values)?;
        packed.metadata.write(0, &host.metadata)?;
        let first_bad = Refused::none(device)?;
        packed.launch("pack24_check", &packed.params()?.refusing(&first_bad))?;
        match first_bad.first(packed.columns)? {
            None => Ok(packed),
            Some((row, group)) => Err(refused(Refusal::Places { row, group })),
        }
    }

    /// The matrix on the host, for a file.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn download(&self) -> Result<Packed> {
        Ok(Packed {
            rows: self.rows,
            columns: self.columns,
            values: self.values.to_vec()?,
            metadata: self.metadata.to_vec()?,
        })
    }

    /// Writes the dense matrix.
    ///
    /// # Errors
    /// [`Error::Argument`] if `dense` has another shape or format, [`Error::Device`].
    pub fn decompress(&self, dense: &mut MatrixMut<'_>) -> Result<()> {
        let view = dense.view();
        if (view.element(), view.rows(), view.columns()) != (self.element, self.rows, self.columns) {
            return Err(Error::argument(
                "pack24",
                format!(
                    "the dense matrix is {} [{}, {}] and the packed one {} [{}, {}]",
                    view.element().name(),
                    view.rows(),
                    view.columns(),
                    self.element.name(),
                    self.rows,
                    self.columns
                ),
            ));
        }
        self.launch("pack24_decompress", &self.params()?.dense(view))
    }

    /// The same matrix in register order; the values stay where they are.
    ///
    /// # Errors
    /// [`Error::Argument`] if the columns are no multiple of 32, [`Error::OutOfMemory`], [`Error::Device`].
    pub fn into_registers(self) -> Result<Registers24> {
        check_columns(self.columns, STEP_COLUMNS).map_err(refused)?;
        let device = self.values.device();
        let words = self.columns / STEP_COLUMNS * self.rows.next_multiple_of(BLOCK_ROWS);
        let metadata = Buffer::uninitialised(device, words, "2:4 metadata")?;
        let params = Params { registers: metadata.pointer(), ..self.params()? };
        repack(device, "pack24_to_registers", &params)?;
        let Packed24 { element, rows, columns, values, .. } = self;
        Ok(Registers24 { element, rows, columns, values, metadata })
    }

    pub fn element(&self) -> Element {
        self.element
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    fn uninitialised(device: &Device, element: Element, rows: usize, columns: usize) -> Result<Self> {
        if element == Element::F32 {
            return Err(Error::argument("pack24", "an f32 matrix; 2:4 storage takes f16 and bf16"));
        }
        check_columns(columns, WORD_COLUMNS).map_err(refused)?;
        let values = Buffer::uninitialised(device, rows * columns / 2, "2:4 values")?;
        let metadata = Buffer::uninitialised(device, rows * columns / WORD_COLUMNS, "2:4 metadata")?;
        Ok(Packed24 { element, rows, columns, values, metadata })
    }

    fn params(&self) -> Result<Params> {
        Params::new(self.rows, self.columns, self.values.pointer(), self.metadata.pointer())
    }

    /// One thread per word of metadata.
    fn launch(&self, kernel: &str, params: &Params) -> Result<()> {
        let blocks = u32::try_from(self.metadata.len().div_ceil(THREADS as usize)).map_err(|_| too_large(self.rows))?;
        match blocks {
            0 => Ok(()),
            _ => self.values.device().launch(&image::PACK24, kernel, [blocks, 1, 1], [THREADS, 1, 1], 0, params),
        }
    }
}

impl Registers24 {
    /// Device bytes of a matrix; while it is repacked, `rows * columns / 8` more.
    pub fn bytes(rows: usize, columns: usize) -> u64 {
        (rows * columns + rows.next_multiple_of(BLOCK_ROWS) * columns / 8) as u64
    }

    /// The same matrix in neutral order; the values stay where they are.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn into_neutral(self) -> Result<Packed24> {
        let Registers24 { element, rows, columns, values, metadata: registers } = self;
        let device = values.device();
        let metadata = Buffer::uninitialised(device, rows * columns / WORD_COLUMNS, "2:4 metadata")?;
        let params = Params::new(rows, columns, values.pointer(), metadata.pointer())?;
        repack(device, "pack24_from_registers", &Params { registers: registers.pointer(), ..params })?;
        Ok(Packed24 { element, rows, columns, values, metadata })
    }

    pub fn element(&self) -> Element {
        self.element
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows of a step of the metadata: [`Registers24::rows`] rounded up to 32.
    pub fn padded_rows(&self) -> usize {
        self.rows.next_multiple_of(BLOCK_ROWS)
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// 16-bit `[rows, columns / 2]`, row-major.
    pub fn values(&self) -> Pointer<u16> {
        self.values.pointer()
    }

    /// u32 `[columns / 32, padded rows]`.
    pub fn metadata(&self) -> Pointer<u32> {
        self.metadata.pointer()
    }

    /// The metadata on the host.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn metadata_to_vec(&self) -> Result<Vec<u32>> {
        self.metadata.to_vec()
    }
}

impl Params {
    fn new(rows: usize, columns: usize, values: Pointer<u16>, metadata: Pointer<u16>) -> Result<Self> {
        Ok(Params {
            values,
            metadata,
            rows: i32::try_from(rows).map_err(|_| too_large(rows))?,
            columns: i32::try_from(columns).map_err(|_| too_large(columns))?,
            ..Params::zeroed()
        })
    }

    fn dense(self, dense: Matrix<'_>) -> Self {
        let dense_aligned = i32::from(dense.rows_aligned_to(16));
        Params { dense: dense.pointer(), dense_stride: dense.stride() as i64, dense_aligned, ..self }
    }

    fn refusing(self, refused: &Refused) -> Self {
        Params { first_bad: refused.0.pointer(), ..self }
    }
}

/// Where a kernel reports the first group that it refuses.
struct Refused(Buffer<u64>);

impl Refused {
    fn none(device: &Device) -> Result<Self> {
        Ok(Refused(Buffer::from_slice(device, &[u64::MAX], "first refused group")?))
    }

    /// Row and group of what the kernel found.
    fn first(&self, columns: usize) -> Result<Option<(usize, usize)>> {
        let groups = columns / 4;
        Ok(match self.0.to_vec()?[0] {
            u64::MAX => None,
            number => Some((number as usize / groups, number as usize % groups)),
        })
    }
}

/// Launches one of the two kernels that turn metadata from one order into the other.
fn repack(device: &Device, kernel: &str, params: &Params) -> Result<()> {
    let (rows, columns) = (params.rows as usize, params.columns as usize);
    let steps = (columns / STEP_COLUMNS).div_ceil(BLOCK_STEPS);
    let row_blocks = rows.div_ceil(BLOCK_ROWS);
    match row_blocks {
        0 => Ok(()),
        1..=65535 => {
            let grid = [steps as u32, row_blocks as u32, 1];
            device.launch(&image::PACK24, kernel, grid, [THREADS, 1, 1], 0, params)
        }
        _ => Err(too_large(rows)),
    }
}

fn refused(refusal: Refusal) -> Error {
    Error::argument("pack24", refusal.to_string())
}

fn too_large(size: usize) -> Error {
    Error::argument("pack24", format!("{size} rows or columns; cut the matrix into parts of at most 2^21 rows"))
}
