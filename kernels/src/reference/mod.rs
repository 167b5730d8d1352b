//! Each operation in float64, written for reading and not for speed: what the kernels are held against.

pub mod attention;
pub mod elementwise;
pub mod gemm;
pub mod gram;
pub mod normalize;
pub mod pack24;
pub mod rearrange;
pub mod spmm24;
pub mod sweep;

//! Plain float64 references of the kernels, and host versions of their layouts.
//! Each operation in float64, as plainly as it can be written.
