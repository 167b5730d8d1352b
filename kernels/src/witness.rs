//! A device that remembers what was read from it, to tell whether two runs gave the same bytes.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::{Arc, Mutex, PoisonError};

use crate::device::{Backend, Device, Launch, Properties};
use crate::error::Result;

/// Passes everything on to a device and keeps a digest of every byte downloaded.
pub struct Witness {
    inner: Device,
    digest: Mutex<DefaultHasher>,
}

impl Witness {
    pub fn new(inner: Device) -> Arc<Self> {
        Arc::new(Witness { inner, digest: Mutex::new(DefaultHasher::new()) })
    }

    /// Digest of everything downloaded so far, in order.
    pub fn digest(&self) -> u64 {
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).finish()
    }
}

impl Backend for Witness {
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
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
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
