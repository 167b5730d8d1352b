//! Each operation in float64, written for reading and not for speed: what the kernels are held against.

pub mod gemm;
pub mod gram;
pub mod pack24;
pub mod spmm24;

//! Plain float64 references of the kernels, and host versions of their layouts.
