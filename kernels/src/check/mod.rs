//! Cases that hold each kernel against its float64 reference; run by tests on the interpreter and by
//! `obsdiff self-test` on a GPU.

pub mod attention;
pub mod elementwise;
pub mod energy;
pub mod factor;
pub mod gemm;
pub mod gram;
mod hessian;
pub mod normalize;
pub mod pack24;
mod placed;
pub mod random;
pub mod rearrange;
pub mod refine;
pub mod spmm24;
pub mod suite;
pub mod sweep;
pub mod symm;
pub mod triangle;
mod worst;

use crate::device::Device;
use crate::error::Result;

/// How large the cases are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Seconds on the interpreter.
    Small,
    /// Sizes of real models, for a GPU.
    Full,
}

/// One case and how far the kernel was from the reference.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub kernel: &'static str,
    /// Shape, dtype and options of the case.
    pub case: String,
    /// Largest error, in the measure that the check states; NaN fails.
    pub error: f64,
    pub bound: f64,
    /// The first bad coordinate with both values, if it failed.
    pub detail: String,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.error <= self.bound
    }
}

/// Reports every case of one operation.
pub type Run = fn(&Device, Scale, &mut dyn FnMut(Outcome)) -> Result<()>;
