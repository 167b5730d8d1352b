//! Row-major matrices in device memory that somebody else owns.

use std::marker::PhantomData;

use bytemuck::{AnyBitPattern, NoUninit};

use crate::buffer::{Buffer, Pointer};
use crate::error::{Error, Result};

/// The number formats that kernels read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    F32,
    F16,
    Bf16,
}

impl Element {
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
        }
    }

    /// The format's name, as in kernels' names.
    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::Bf16 => "bf16",
        }
    }
}

/// A host type of an [`Element`].
pub trait Value: NoUninit + AnyBitPattern {
    const ELEMENT: Element;
}

impl Value for f32 {
    const ELEMENT: Element = Element::F32;
}

impl Value for half::f16 {
    const ELEMENT: Element = Element::F16;
}

impl Value for half::bf16 {
    const ELEMENT: Element = Element::Bf16;
}

/// `[rows, columns]` values that kernels read; row r begins `r * stride` values after the first.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    first: Pointer<u8>,
    element: Element,
    rows: usize,
    columns: usize,
    stride: usize,
    owner: PhantomData<&'a [u8]>,
}

impl<'a> Matrix<'a> {
    /// The first `rows * columns` values of `buffer`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the buffer holds fewer.
    pub fn from_buffer<T: Value>(buffer: &'a Buffer<T>, rows: usize, columns: usize) -> Result<Self> {
        match rows.checked_mul(columns) {
            Some(values) if values <= buffer.len() => Ok(Matrix {
                first: buffer.pointer().cast(),
                element: T::ELEMENT,
                rows,
                columns,
                stride: columns,
                owner: PhantomData,
            }),
            _ => Err(Error::argument("matrix", format!("{rows} x {columns} of a buffer of {} values", buffer.len()))),
        }
    }

    /// Memory that no [`Buffer`] holds, such as a tensor of the forward pass.
    ///
    /// # Safety
    /// `[rows, columns]` values of `element` with rows `stride` values apart lie at `address` on the device that
    /// the matrix is used on, aligned to the element, for as long as `'a`; nothing writes them meanwhile.
    pub unsafe fn from_address(address: u64, element: Element, rows: usize, columns: usize, stride: usize) -> Self {
        Matrix { first: Pointer::from_address(address), element, rows, columns, stride, owner: PhantomData }
    }

    /// `count` rows from row `start` on.
    ///
    /// # Errors
    /// [`Error::Argument`] past the end.
    pub fn row_range(self, start: usize, count: usize) -> Result<Self> {
        match start.checked_add(count) {
            Some(end) if end <= self.rows => {
                let first = self.first.offset(start * self.stride * self.element.bytes());
                Ok(Matrix { first, rows: count, ..self })
            }
            _ => Err(Error::argument("matrix", format!("{count} rows at {start} of {}", self.rows))),
        }
    }

    /// `count` columns from column `start` on.
    ///
    /// # Errors
    /// [`Error::Argument`] past the end.
    pub fn column_range(self, start: usize, count: usize) -> Result<Self> {
        match start.checked_add(count) {
            Some(end) if end <= self.columns => {
                let first = self.first.offset(start * self.element.bytes());
                Ok(Matrix { first, columns: count, ..self })
            }
            _ => Err(Error::argument("matrix", format!("{count} columns at {start} of {}", self.columns))),
        }
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

    /// Values from the start of a row to that of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The first value.
    pub fn pointer(&self) -> Pointer<u8> {
        self.first
    }

    /// Whether every row begins on a multiple of `bytes`.
    pub fn rows_aligned_to(&self, bytes: usize) -> bool {
        let step = self.stride * self.element.bytes();
        self.first.address().is_multiple_of(bytes as u64) && (self.rows <= 1 || step.is_multiple_of(bytes))
    }
}

/// A [`Matrix`] that kernels write.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    matrix: Matrix<'a>,
    owner: PhantomData<&'a mut [u8]>,
}

impl<'a> MatrixMut<'a> {
    /// The first `rows * columns` values of `buffer`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the buffer holds fewer.
    pub fn from_buffer<T: Value>(buffer: &'a mut Buffer<T>, rows: usize, columns: usize) -> Result<Self> {
        Ok(MatrixMut { matrix: Matrix::from_buffer(buffer, rows, columns)?, owner: PhantomData })
    }

    /// Memory that no [`Buffer`] holds.
    ///
    /// # Safety
    /// As for [`Matrix::from_address`], and nothing else reads the values meanwhile.
    pub unsafe fn from_address(address: u64, element: Element, rows: usize, columns: usize, stride: usize) -> Self {
        // SAFETY: passed on to the caller.
        let matrix = unsafe { Matrix::from_address(address, element, rows, columns, stride) };
        MatrixMut { matrix, owner: PhantomData }
    }

    /// `count` rows from row `start` on.
    ///
    /// # Errors
    /// [`Error::Argument`] past the end.
    pub fn row_range(&mut self, start: usize, count: usize) -> Result<MatrixMut<'_>> {
        Ok(MatrixMut { matrix: self.matrix.row_range(start, count)?, owner: PhantomData })
    }

    /// `count` columns from column `start` on.
    ///
    /// # Errors
    /// [`Error::Argument`] past the end.
    pub fn column_range(&mut self, start: usize, count: usize) -> Result<MatrixMut<'_>> {
        Ok(MatrixMut { matrix: self.matrix.column_range(start, count)?, owner: PhantomData })
    }

    /// The same place, for its shape and address.
    pub fn view(&self) -> Matrix<'_> {
        self.matrix
    }
}
