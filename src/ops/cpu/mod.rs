//! The CPU engine. Work is cut into tiles of fixed size, each computed by one thread in a fixed order, so
//! results do not depend on the number of threads.

pub mod factor;
pub mod gram;
pub mod refine;
pub mod select;
pub mod sweep;
mod triangle;

use faer::{MatMut, MatRef};

/// Rows of a weight matrix that one task takes: enough to reach the matrix peak, few enough to share out.
pub(crate) const ROW_CHUNK: usize = 256;

/// Row-major `data` as a matrix with `columns` columns.
fn view(data: &[f32], columns: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(data, data.len() / columns, columns)
}

/// Row-major `data` as a matrix with `columns` columns, to write.
fn view_mut(data: &mut [f32], columns: usize) -> MatMut<'_, f32> {
    let rows = data.len() / columns;
    MatMut::from_row_major_slice_mut(data, rows, columns)
}
