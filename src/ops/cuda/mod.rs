//! The CUDA engine: tensors and Hessians in the memory of one GPU, operations by the kernels of `obsdiff-kernels`.

mod engine;
mod hessian;
mod values;

pub use engine::{Cuda, cuda_engine};
pub use hessian::{hessian_bytes, solve_bytes};
pub(in crate::ops) use values::Values;
