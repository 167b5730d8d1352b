//! The list of all checks, and whether runs that differ are noticed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use obsdiff_kernels::check::suite::{self, Check};
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::{Backend, Device, Launch, Properties, Result, image};

/// A device whose first download has one bit changed.
struct Restless {
    inner: Device,
    changed: AtomicBool,
}

impl Backend for Restless {
    fn properties(&self) -> &Properties {
        self.inner.properties()
    }

    fn free_bytes(&self) -> Result<u64> {
        self.inner.backend().free_bytes()
    }

    fn allocate(&self, bytes: usize, what: &str) -> Result<u64> {
        self.inner.backend().allocate(bytes, what)
    }

    fn free(&self, address: u64) {
        self.inner.backend().free(address);
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.inner.backend().upload(to, bytes)
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.inner.backend().download(from, bytes)?;
        bytes[0] ^= u8::from(!self.changed.swap(true, Ordering::Relaxed));
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.inner.backend().copy(to, from, bytes)
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()> {
        self.inner.backend().fill(to, byte, bytes)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.inner.backend().launch(launch)
    }

    fn synchronize(&self) -> Result<()> {
        self.inner.backend().synchronize()
    }
}

fn of(operation: &str) -> &'static Check {
    suite::ALL.iter().find(|check| check.operation == operation).expect("the suite has it")
}

#[test]
fn every_image_belongs_to_a_check() {
    let operations: BTreeSet<&str> = suite::ALL.iter().map(|check| check.operation).collect();
    assert_eq!(operations.len(), suite::ALL.len(), "an operation is listed twice");
    // The sweep has one file for each of its steps.
    let images: BTreeSet<&str> =
        image::ALL.iter().map(|image| if image.name.starts_with("sweep_") { "sweep" } else { image.name }).collect();
    assert_eq!(operations, images);
}

#[test]
fn runs_of_one_device_repeat_themselves() {
    suite::repeats(&Interpreted::device(), of("pack24"), 3).expect("the same bytes three times");
}

#[test]
fn one_changed_bit_in_one_run_is_noticed() {
    let device = Device::new(Arc::new(Restless { inner: Interpreted::device(), changed: AtomicBool::new(false) }));
    let said = suite::repeats(&device, of("rearrange"), 2).expect_err("the runs differ").to_string();
    assert!(said.contains("rearrange") && said.contains("run 2 of 2"), "{said}");
}
