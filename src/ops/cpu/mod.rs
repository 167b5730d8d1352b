//! The CPU engine. Work is cut into tiles of fixed size, each computed by one thread in a fixed order, so
//! results do not depend on the number of threads.

mod add;
mod attention;
mod cast;
mod cat;
mod energy;
mod engine;
mod factor;
mod gated_residual;
mod gelu;
mod gram;
mod guidance;
mod hessian;
mod is_finite;
mod layer_norm;
mod linear;
mod refine;
mod rms_norm;
mod rope;
mod select;
mod silu;
pub mod simd;
mod strided_copy;
mod sweep;
mod triangle;

use faer::{MatMut, MatRef};

pub use engine::cpu_engine;
use simd::vectorized;

/// Rows of a weight matrix that one task takes: enough to reach the matrix peak, few enough to share out.
pub const ROW_CHUNK: usize = 256;

/// Row-major `data` as a matrix with `columns` columns.
fn view(data: &[f32], columns: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(data, data.len() / columns, columns)
}

/// Row-major `data` as a matrix with `columns` columns, to write.
fn view_mut(data: &mut [f32], columns: usize) -> MatMut<'_, f32> {
    let rows = data.len() / columns;
    MatMut::from_row_major_slice_mut(data, rows, columns)
}

/// `<left, right>`.
fn dot(left: &[f32], right: &[f32]) -> f64 {
    sum(left, right, |left, right| left * right)
}

/// Sum of `term` over two slices: sixteen interleaved f32 lanes per run of 4096 values, lanes and runs added
/// in float64, always in the same order.
fn sum(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32 + Copy) -> f64 {
    const RUN: usize = 4096;
    const LANES: usize = 16;
    vectorized(
        #[inline(always)]
        || {
            let mut total = 0.0;
            for (left, right) in left.chunks(RUN).zip(right.chunks(RUN)) {
                let mut lanes = [0.0f32; LANES];
                let (left, left_tail) = left.as_chunks::<LANES>();
                let (right, right_tail) = right.as_chunks::<LANES>();
                for (left, right) in left.iter().zip(right) {
                    for lane in 0..LANES {
                        lanes[lane] += term(left[lane], right[lane]);
                    }
                }
                total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
                total +=
                    left_tail.iter().zip(right_tail).map(|(&left, &right)| f64::from(term(left, right))).sum::<f64>();
            }
            total
        },
    )
}
