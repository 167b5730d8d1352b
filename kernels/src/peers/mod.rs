//! The libraries that benchmarks compare the kernels with. They are opened at run time and used for nothing else.

pub mod cublaslt;
pub mod cusolver;
pub mod cusparselt;

use crate::error::Error;

/// A library's failure as an error of this crate.
fn failed(call: &str, problem: impl std::fmt::Debug) -> Error {
    Error::Device { call: call.to_string(), problem: format!("{problem:?}") }
}
