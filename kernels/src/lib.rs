//! The CUDA kernels of obsdiff and their launchers.
//!
//! One operation has one name everywhere: `gram.cu` holds the kernel, `src/gram.rs` its launcher,
//! `src/reference/gram.rs` the float64 reference, `src/check/gram.rs` the cases that hold the two against each
//! other, `tests/gram.rs` runs them. Launchers talk to a [`Device`]: an NVIDIA GPU through its driver
//! ([`driver::Driver`]), or an interpreter that runs the same PTX on the CPU (feature `interpreter`).

pub mod buffer;
pub mod check;
pub mod device;
pub mod driver;
pub mod error;
pub mod factor;
pub mod image;
#[cfg(feature = "interpreter")]
pub mod interpreted;
pub mod reference;
pub mod triangle;

pub use buffer::{Buffer, Pointer};
pub use device::{Backend, Device, Launch, Properties};
pub use error::{Error, Result};
