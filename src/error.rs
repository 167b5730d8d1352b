//! The one error type. Every variant is a sentence that says what is wrong, where, what was
//! expected, what was found, and what to do; [`Error::exit_code`] sorts them into the exit codes.

use std::path::{Path, PathBuf};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, one sentence each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag or a combination of flags that makes no sense (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// A recipe key with a value that is not allowed (exit code 2).
    #[error("recipe key `{key}`: expected {expected}, found {found}")]
    Recipe { key: String, expected: String, found: String },
    /// The output is there already (exit code 2).
    #[error("{} exists already; choose another output or pass --overwrite", .path.display())]
    OutputExists { path: PathBuf },
    /// A file or folder that is needed and absent (exit code 3).
    #[error("{} does not exist; it is needed {needed_for}", .path.display())]
    Missing { path: PathBuf, needed_for: String },
    /// A file whose content is not what its kind promises (exit code 3).
    #[error("{}: {problem}", .path.display())]
    Malformed { path: PathBuf, problem: String },
    /// A tensor that the architecture needs and the file lacks (exit code 3).
    #[error("{}: tensor `{tensor}` is missing; {hint}", .path.display())]
    TensorMissing { path: PathBuf, tensor: String, hint: String },
    /// A tensor with a shape that its configuration forbids (exit code 3).
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected {expected}", .path.display())]
    Shape { path: PathBuf, tensor: String, expected: String, found: Vec<usize> },
    /// Something well-formed that this program does not handle (exit code 3).
    #[error("{what}: found {found}, supported: {supported}")]
    Unsupported { what: String, found: String, supported: String },
    /// A file operation failed for a reason other than a full disk (exit code 3).
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// NaN or infinity in a tensor (exit code 4).
    #[error("tensor `{tensor}` holds {found} {context}; the result would be meaningless, so nothing was written")]
    NonFinite { tensor: String, found: String, context: String },
    /// A Hessian that stays indefinite after every damping attempt (exit code 4).
    #[error(
        "the Hessian of `{tensor}` is not positive definite at pivot {pivot} of {size} even with damping {dampening:e}; \
         pass a larger --dampening or more calibration samples"
    )]
    NotPositiveDefinite { tensor: String, pivot: usize, size: usize, dampening: f64 },
    /// A Hessian without a single live input column (exit code 4).
    #[error("`{tensor}` never saw a non-zero input: there is no calibration data for it; check the calibration file")]
    NoCalibrationData { tensor: String },
    /// The disk is full (exit code 5).
    #[error("no space left while writing {}; free some space or choose another output", .path.display())]
    DiskFull { path: PathBuf },
    /// The disk would not suffice (exit code 5).
    #[error(
        "{} has {available} bytes free and the output needs {needed}; free some space or choose another output",
        .path.display()
    )]
    NotEnoughSpace { path: PathBuf, needed: u64, available: u64 },
    /// Memory would not suffice (exit code 5).
    #[error("{what} needs {needed} bytes and {available} are available; {hint}")]
    OutOfMemory { what: String, needed: u64, available: u64, hint: String },
    /// A check that the user asked for did not hold (exit code 1).
    #[error("{0}")]
    CheckFailed(String),
    /// Tensors that do not fit each other; a defect of this program rather than of the input (exit code 1).
    #[error("a tensor operation was refused: {0}; please report this as a bug")]
    Runtime(String),
    /// There is no GPU that this build can compute on (exit code 3).
    #[error("no GPU to compute on: {0}")]
    NoGpu(String),
    /// The GPU refused a call, or a kernel failed on it (exit code 1).
    #[error("{0}; `obsdiff self-test` checks every kernel on this GPU")]
    Gpu(String),
    /// A model that could not be had from the hub or its cache (exit code 3, or 5 if there is no room for it).
    #[error("{sentence}")]
    Hub { sentence: String, no_room: bool },
    /// The user interrupted the run (exit code 130).
    #[error("interrupted; no output was written{}", if *.journaled { ", run the same command again to go on where it stopped" } else { " (with --journal an interrupted job can go on later)" })]
    Interrupted { journaled: bool },
    /// The user interrupted a run that cannot go on later (exit code 130).
    #[error("interrupted; no output was written")]
    Stopped,
}

impl Error {
    /// The process exit code that belongs to this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::CheckFailed(_) | Error::Runtime(_) | Error::Gpu(_) => 1,
            Error::Usage(_) | Error::Recipe { .. } | Error::OutputExists { .. } => 2,
            Error::Missing { .. }
            | Error::Malformed { .. }
            | Error::TensorMissing { .. }
            | Error::Shape { .. }
            | Error::Unsupported { .. }
            | Error::NoGpu(_)
            | Error::Io { .. } => 3,
            Error::NonFinite { .. } | Error::NotPositiveDefinite { .. } | Error::NoCalibrationData { .. } => 4,
            Error::DiskFull { .. } | Error::NotEnoughSpace { .. } | Error::OutOfMemory { .. } => 5,
            Error::Hub { no_room, .. } => [3, 5][usize::from(*no_room)],
            Error::Interrupted { .. } | Error::Stopped => 130,
        }
    }

    /// Wraps an I/O failure at `path`; a full disk, an exceeded quota and a file-size limit become
    /// [`Error::DiskFull`].
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Error::DiskFull { path },
            _ => Error::Io { path, source },
        }
    }

    /// Lack of memory with what had been planned; other errors as they are.
    pub fn with_plan(self, plan: &str) -> Self {
        match self {
            Error::OutOfMemory { what, needed, available, hint } => {
                Error::OutOfMemory { what, needed, available, hint: format!("{hint}; planned {plan}") }
            }
            other => other,
        }
    }

    /// Shorthand for [`Error::Malformed`].
    pub fn malformed(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Error::Malformed { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }
}

#[cfg(feature = "cuda")]
impl From<obsdiff_kernels::Error> for Error {
    fn from(error: obsdiff_kernels::Error) -> Self {
        use obsdiff_kernels::Error as Kernels;
        match error {
            Kernels::Unavailable(problem) => Error::NoGpu(problem),
            Kernels::OutOfMemory { what, needed, available } => {
                let hint =
                    "use a smaller --batch-size or --max-vram, or --dtype bf16; `obsdiff plan` shows what is needed";
                Error::OutOfMemory { what: format!("{what} on the GPU"), needed, available, hint: hint.into() }
            }
            refused @ (Kernels::Device { .. } | Kernels::Argument { .. }) => Error::Gpu(refused.to_string()),
        }
    }
}
