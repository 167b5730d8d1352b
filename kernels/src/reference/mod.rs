//! Plain float64 references of the kernels, and host versions of their layouts.

pub mod gemm;
pub mod pack24;
pub mod spmm24;
