//! Each operation in float64, as plainly as it can be written, and host versions of the kernels' layouts.

pub mod attention;
pub mod elementwise;
pub mod energy;
pub mod factor;
pub mod gemm;
pub mod gram;
pub mod normalize;
pub mod pack24;
pub mod rearrange;
pub mod refine;
pub mod spmm24;
pub mod sweep;
pub mod symm;
