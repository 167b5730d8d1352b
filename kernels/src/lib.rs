//! The CUDA kernels of obsdiff and their launchers.
//!
//! One operation has one name everywhere: `gram.cu` holds the kernel, `src/gram.rs` its launcher,
//! `src/reference/gram.rs` the float64 reference, `src/check/gram.rs` the cases that hold the two against each
//! other, `tests/gram.rs` runs them. Launchers talk to a [`Device`]: an NVIDIA GPU through its driver
//! ([`driver::Driver`]), or an interpreter that runs the same PTX on the CPU (feature `interpreter`).

pub mod attention;
pub mod bench;
pub mod buffer;
pub mod check;
pub mod device;
pub mod driver;
pub mod elementwise;
pub mod energy;
pub mod error;
pub mod factor;
pub mod gemm;
pub mod gram;
pub mod image;
#[cfg(feature = "interpreter")]
pub mod interpreted;
pub mod libraries;
pub mod matrix;
pub mod normalize;
pub mod pack24;
pub mod peers;
mod pipeline;
pub mod rearrange;
pub mod reference;
pub mod refine;
mod rows;
pub mod spmm24;
pub mod sweep;
pub mod symm;
pub mod triangle;
pub mod witness;

pub use buffer::{Buffer, Pointer};
pub use device::{Backend, Device, Launch, Properties};
pub use error::{Error, Result};
pub use matrix::{Element, Matrix, MatrixMut, Value};
pub use pipeline::Tile;
