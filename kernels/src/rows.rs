//! Matrices as the parameters of kernels.

use bytemuck::{Pod, Zeroable};

use crate::buffer::Pointer;
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// `Rows` of the kernels: where a matrix begins and how far its rows are apart.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Rows {
    values: Pointer<u8>,
    /// In values.
    stride: i64,
}

impl From<Matrix<'_>> for Rows {
    fn from(matrix: Matrix) -> Self {
        Rows { values: matrix.pointer(), stride: matrix.stride() as i64 }
    }
}

impl Rows {
    pub const NONE: Self = Rows { values: Pointer::NULL, stride: 0 };
}

/// Fails unless `found` has the shape and format expected; `what` names it.
pub(crate) fn expect(
    operation: &'static str,
    what: &str,
    found: Matrix,
    (rows, columns): (usize, usize),
    element: crate::Element,
) -> Result<()> {
    if (found.rows(), found.columns(), found.element()) == (rows, columns, element) {
        return Ok(());
    }
    Err(Error::argument(
        operation,
        format!(
            "{what} is {} [{}, {}], expected {} [{rows}, {columns}]",
            found.element().name(),
            found.rows(),
            found.columns(),
            element.name()
        ),
    ))
}

/// Fails unless `parts` divides `whole`; gives the quotient.
pub(crate) fn divide(operation: &'static str, what: &str, whole: usize, parts: usize) -> Result<usize> {
    match parts {
        0 => Err(Error::argument(operation, format!("{what}: there are 0"))),
        _ if whole.is_multiple_of(parts) => Ok(whole / parts),
        _ => Err(Error::argument(operation, format!("{what}: {whole} is not a multiple of {parts}"))),
    }
}
