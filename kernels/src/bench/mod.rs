//! How fast the kernels are on a GPU, beside NVIDIA's libraries in the same run.

pub mod attention;
pub mod factor;
pub mod gram;
mod shapes;
pub mod spmm24;
pub mod suite;
pub mod sweep;
pub mod timer;

use std::sync::Arc;

use crate::driver::Driver;
use crate::error::Result;
pub use timer::{Time, Timer};

/// One operation at one shape.
#[derive(Debug, Clone)]
pub struct Measurement {
    pub kernel: &'static str,
    /// Shape and dtype.
    pub case: String,
    pub time: Time,
    /// Multiplications and additions that the result needs, sparse ones counted as dense.
    pub flops: f64,
    /// Bytes that must pass between device memory and the chip at least.
    pub bytes: f64,
    /// The named peer at the same shape in the same run; `Err` says why there is none.
    pub peer: Option<(&'static str, Result<Time, String>)>,
}

impl Measurement {
    /// 10^12 operations per second.
    pub fn tflops(&self) -> f64 {
        self.flops / self.time.median / 1e12
    }

    /// The peer's time over the kernel's: above 1 the kernel is faster.
    pub fn ratio(&self) -> Option<f64> {
        match &self.peer {
            Some((_, Ok(peer))) => Some(peer.median / self.time.median),
            _ => None,
        }
    }
}

/// What the device reaches at best, measured: the ceilings that shares are given of.
#[derive(Debug, Clone, Copy)]
pub struct Ceilings {
    /// bf16 products with f32 sums by cuBLASLt at 8192^3, in 10^12 operations per second; `None` without it.
    pub dense_tflops: Option<f64>,
    /// A large copy on the device, bytes read plus bytes written per second.
    pub bytes_per_second: f64,
}

/// Something that a benchmark calls again and again.
pub type Work<'a> = dyn FnMut() -> Result<()> + 'a;

/// Measures one peer; an installed library that refuses is reported like one that is not there.
pub fn peer(
    timer: &Timer,
    name: &'static str,
    measure: impl FnOnce(&Timer) -> Result<Time>,
) -> Option<(&'static str, Result<Time, String>)> {
    Some((name, measure(timer).map_err(|error| error.to_string())))
}

/// Measures the ceilings.
///
/// # Errors
/// [`crate::Error::Device`], [`crate::Error::OutOfMemory`].
pub fn ceilings(timer: &Timer) -> Result<Ceilings> {
    const SIZE: usize = 8192;
    const COPIED: usize = 1 << 30;
    let driver: &Arc<Driver> = timer.driver();
    let device = timer.device();
    let dense = || -> Result<Time> {
        use crate::matrix::Element;
        use crate::peers::cublaslt::{Gemm, Product};
        let gemm = Gemm::new(driver, Product::Linear { tokens: SIZE, features: SIZE, columns: SIZE }, Element::Bf16)?;
        let left = timer.random_bf16(SIZE * SIZE)?;
        let right = timer.random_bf16(SIZE * SIZE)?;
        let output = crate::Buffer::<half::bf16>::uninitialised(device, SIZE * SIZE, "a product")?;
        timer.time(&mut || gemm.run(left.pointer(), right.pointer(), output.pointer()))
    };
    let dense_tflops = dense().ok().map(|time| 2.0 * (SIZE as f64).powi(3) / time.median / 1e12);
    let from = crate::Buffer::<u8>::zeros(device, COPIED, "a copy's source")?;
    let mut to = crate::Buffer::<u8>::uninitialised(device, COPIED, "a copy's target")?;
    let copy = timer.time(&mut || to.copy_from(0, &from))?;
    Ok(Ceilings { dense_tflops, bytes_per_second: 2.0 * COPIED as f64 / copy.median })
}
