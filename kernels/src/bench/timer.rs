//! Medians of times on the GPU, from a cold cache.

use std::sync::Arc;

use half::bf16;

use super::Work;
use crate::buffer::Buffer;
use crate::device::{Backend, Device};
use crate::driver::Driver;
use crate::error::Result;

/// Runs before anything is measured.
const WARM_UP: usize = 3;

/// Median and spread of the seconds that one run takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    pub median: f64,
    /// Median absolute deviation from the median.
    pub spread: f64,
    pub runs: usize,
}

impl Time {
    /// Of a list of seconds; `None` if it is empty.
    pub fn of(mut seconds: Vec<f64>) -> Option<Self> {
        let runs = seconds.len();
        let middle = median(&mut seconds)?;
        let mut distances: Vec<f64> = seconds.iter().map(|second| (second - middle).abs()).collect();
        Some(Time { median: middle, spread: median(&mut distances)?, runs })
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (lower, upper) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((lower + upper) / 2.0)
}

/// Times work on one GPU.
pub struct Timer {
    driver: Arc<Driver>,
    device: Device,
    /// Overwritten before each run, so that nothing the run reads is in the cache.
    flush: Buffer<u8>,
    runs: usize,
}

impl Timer {
    /// Takes the median of `runs` runs.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(driver: Arc<Driver>, runs: usize) -> Result<Self> {
        let device = Device::new(driver.clone());
        let bytes = 2 * driver.properties().cache_bytes.max(1 << 20) as usize;
        let flush = Buffer::uninitialised(&device, bytes, "the benchmark's cache flush")?;
        Ok(Timer { driver, device, flush, runs: runs.max(1) })
    }

    pub fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Seconds that `work` takes on the GPU.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn time(&self, work: &mut Work) -> Result<Time> {
        for _ in 0..WARM_UP {
            work()?;
        }
        let seconds: Result<Vec<f64>> = (0..self.runs)
            .map(|_| {
                self.device.backend().fill(self.flush.pointer().address(), 0, self.flush.len())?;
                self.driver.time(work)
            })
            .collect();
        let nothing = Time { median: 0.0, spread: 0.0, runs: 0 };
        Ok(Time::of(seconds?).unwrap_or(nothing))
    }

    /// Values between -1 and 1 on the device; never zeros, on which products run faster than on real data.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn random_bf16(&self, count: usize) -> Result<Buffer<bf16>> {
        let values: Vec<bf16> = self.random(count).map(bf16::from_f32).collect();
        Buffer::from_slice(&self.device, &values, "random values")
    }

    /// The same in f32.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn random_f32(&self, count: usize) -> Result<Buffer<f32>> {
        let values: Vec<f32> = self.random(count).collect();
        Buffer::from_slice(&self.device, &values, "random values")
    }

    fn random(&self, count: usize) -> impl Iterator<Item = f32> {
        // Weyl sequence of the golden ratio: even, without repeats, and cheap.
        (0..count).map(|index| ((index as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread_of_odd_and_even_lists() {
        assert_eq!(Time::of(vec![3.0, 1.0, 2.0]), Some(Time { median: 2.0, spread: 1.0, runs: 3 }));
        assert_eq!(Time::of(vec![4.0, 1.0]), Some(Time { median: 2.5, spread: 1.5, runs: 2 }));
        assert_eq!(Time::of(Vec::new()), None);
    }
}
