//! What can go wrong between a launcher and a device.

/// One sentence per failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No driver, no GPU, or none that the kernels fit.
    #[error("{0}")]
    Unavailable(String),
    /// The device's memory does not suffice.
    #[error("{what} needs {needed} bytes of GPU memory and {available} are free")]
    OutOfMemory { what: String, needed: u64, available: u64 },
    /// The device refused a call or a kernel failed on it.
    #[error("{call} failed on the GPU: {problem}")]
    Device { call: String, problem: String },
    /// Arguments that the operation does not take.
    #[error("{operation}: {problem}")]
    Argument { operation: &'static str, problem: String },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Shorthand for [`Error::Argument`].
    pub fn argument(operation: &'static str, problem: impl Into<String>) -> Self {
        Error::Argument { operation, problem: problem.into() }
    }
}
