//! What a launcher needs of a device.

use std::fmt;
use std::sync::Arc;

use bytemuck::NoUninit;

use crate::error::Result;
use crate::image::Image;

/// Facts about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    pub name: String,
    /// Major and minor compute capability, such as (9, 0).
    pub compute_capability: (u32, u32),
    pub multiprocessors: u32,
    /// Shared memory that one block can ask for, in bytes.
    pub shared_bytes_per_block: u32,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Second-level cache in bytes.
    pub cache_bytes: u64,
}

/// One kernel launch.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    pub image: &'static Image,
    pub kernel: &'a str,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads per block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory per block in bytes.
    pub shared_bytes: u32,
    /// The kernel's only parameter, a `#[repr(C)]` struct, as bytes.
    pub parameters: &'a [u8],
}

/// A device: memory by address and launches in order, each seeing the results of those before it.
pub trait Backend: Send + Sync {
    fn properties(&self) -> &Properties;

    /// Bytes of memory free now.
    ///
    /// # Errors
    /// [`crate::Error::Device`], as for every call below.
    fn free_bytes(&self) -> Result<u64>;

    /// Memory whose contents are undefined, 256-byte aligned; `what` names it in errors. Never called with 0.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    fn allocate(&self, bytes: usize, what: &str) -> Result<u64>;

    /// Gives back what [`Backend::allocate`] gave.
    fn free(&self, address: u64);

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()>;

    /// Waits for everything before it.
    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()>;

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()>;

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()>;

    fn launch(&self, launch: &Launch) -> Result<()>;

    /// Waits for everything before it.
    fn synchronize(&self) -> Result<()>;
}

/// A shared handle of a device.
#[derive(Clone)]
pub struct Device(Arc<dyn Backend>);

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(&self.properties().name).finish()
    }
}

impl Device {
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Device(backend)
    }

    pub fn backend(&self) -> &dyn Backend {
        &*self.0
    }

    pub fn properties(&self) -> &Properties {
        self.0.properties()
    }

    /// Whether two handles name the same device.
    pub fn same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Launches `kernel` of `image`; `parameters` is the kernel's parameter struct.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device refuses it.
    pub fn launch<P: NoUninit>(
        &self,
        image: &'static Image,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: u32,
        parameters: &P,
    ) -> Result<()> {
        let parameters = bytemuck::bytes_of(parameters);
        self.0.launch(&Launch { image, kernel, grid, block, shared_bytes, parameters })
    }
}
