//! An NVIDIA GPU through its driver, which is opened at run time.

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::device::{Backend, Device, Launch, Properties};
use crate::error::{Error, Result};
use crate::image::{Fit, Image, fit};

/// Shared memory that a block gets without asking the driver for more.
const DEFAULT_SHARED_BYTES: u32 = 48 * 1024;

/// One GPU: its primary context, one stream on which everything happens in order, and the kernels loaded so far.
pub struct Driver {
    context: sys::CUcontext,
    device: sys::CUdevice,
    stream: sys::CUstream,
    pool: sys::CUmemoryPool,
    properties: Properties,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    modules: HashMap<&'static str, sys::CUmodule>,
    kernels: HashMap<(&'static str, String), sys::CUfunction>,
}

// SAFETY: the driver's handles may be used from any thread whose current context they belong to; every method
// makes the context current first.
unsafe impl Send for Driver {}
// SAFETY: as above; the tables are behind a mutex.
unsafe impl Sync for Driver {}

/// The driver's version as (major, minor), such as (13, 0).
///
/// # Errors
/// [`Error::Unavailable`] without a driver.
pub fn version() -> Result<(i32, i32)> {
    start()?;
    let mut version = 0;
    // SAFETY: the driver is loaded and initialised; the pointer is to a live c_int.
    let status = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    status.map_err(|error| failed("asking for the driver's version", error))?;
    Ok((version / 1000, version % 1000 / 10))
}

/// Facts about every GPU that the driver shows, in its order.
///
/// # Errors
/// [`Error::Unavailable`] without a driver.
pub fn list() -> Result<Vec<Properties>> {
    start()?;
    let count = result::device::get_count().map_err(|error| failed("counting GPUs", error))?;
    (0..count)
        .map(|ordinal| {
            let device = result::device::get(ordinal).map_err(|error| failed("opening a GPU", error))?;
            properties(device)
        })
        .collect()
}

impl Driver {
    /// GPU number `ordinal`, counted as the driver does after CUDA_VISIBLE_DEVICES.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a driver, with no such GPU, or with one older than Ampere.
    pub fn open(ordinal: usize) -> Result<Arc<Self>> {
        let gpus = list()?;
        let Some(properties) = gpus.get(ordinal) else {
            let found = match gpus.len() {
                0 => "none".to_string(),
                count => format!("{count}, numbered from 0"),
            };
            return Err(Error::Unavailable(format!("there is no GPU {ordinal}: the driver shows {found}")));
        };
        let (major, minor) = properties.compute_capability;
        if fit(properties.compute_capability) == Fit::None {
            return Err(Error::Unavailable(format!(
                "GPU {ordinal}, {}, has compute capability {major}.{minor}; the kernels need 8.0 (Ampere) or newer",
                properties.name
            )));
        }
        let open = || -> Result<Self, DriverError> {
            let device = result::device::get(ordinal as c_int)?;
            // SAFETY: `device` is a valid device; the context is released when the driver is dropped.
            let context = unsafe { result::primary_ctx::retain(device) }?;
            // SAFETY: `context` was just retained.
            unsafe { result::ctx::set_current(context) }?;
            let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
            // SAFETY: `device` is valid.
            let pool = unsafe { result::device::get_default_mem_pool(device) }?;
            let mut keep = u64::MAX;
            let keep: *mut u64 = &mut keep;
            // SAFETY: the attribute's value is a u64, which `keep` points to; the driver reads it at once.
            unsafe {
                sys::cuMemPoolSetAttribute(
                    pool,
                    sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                    keep.cast::<c_void>(),
                )
            }
            .result()?;
            let loaded = Mutex::new(Loaded::default());
            Ok(Driver { context, device, stream, pool, properties: properties.clone(), loaded })
        };
        open().map(Arc::new).map_err(|error| failed("opening the GPU", error))
    }

    /// [`Driver::open`] as a [`Device`].
    ///
    /// # Errors
    /// Those of [`Driver::open`].
    pub fn device(ordinal: usize) -> Result<Device> {
        Ok(Device::new(Self::open(ordinal)?))
    }

    /// Seconds on the GPU between the start and the end of what `work` launches.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Device`].
    pub fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        self.enter()?;
        let event = || result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let started = event().map_err(|error| failed("creating an event", error))?;
        let ended = event().map_err(|error| failed("creating an event", error))?;
        // SAFETY: events and stream are live until the end of this function.
        let outcome = unsafe { result::event::record(started, self.stream) }
            .map_err(|error| failed("recording an event", error))
            .and_then(|()| work())
            .and_then(|()| {
                // SAFETY: as above.
                unsafe {
                    result::event::record(ended, self.stream)
                        .and_then(|()| result::event::synchronize(ended))
                        .and_then(|()| result::event::elapsed(started, ended))
                }
                .map_err(|error| failed("timing", error))
            });
        for event in [started, ended] {
            // SAFETY: created above and used no more.
            unsafe { result::event::destroy(event) }.map_err(|error| failed("freeing an event", error))?;
        }
        Ok(f64::from(outcome?) / 1e3)
    }

    /// The stream, for libraries that launch their own kernels in order with these.
    pub fn stream(&self) -> sys::CUstream {
        self.stream
    }

    /// Makes the GPU's context current on this thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.context) }.map_err(|error| failed("selecting the GPU", error))
    }

    /// The loaded kernel, allowed to take `shared_bytes`.
    fn kernel(&self, image: &'static Image, name: &str, shared_bytes: u32) -> Result<sys::CUfunction> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (image.name, name.to_string());
        let function = match loaded.kernels.get(&key) {
            Some(&function) => function,
            None => {
                let module = match loaded.modules.get(image.name) {
                    Some(&module) => module,
                    None => {
                        // SAFETY: a fatbin as nvcc wrote it, alive for the whole program.
                        let module = unsafe { result::module::load_data(image.fatbin.as_ptr().cast()) };
                        let module =
                            module.map_err(|error| failed(&format!("loading {}.fatbin", image.name), error))?;
                        loaded.modules.insert(image.name, module);
                        module
                    }
                };
                let unnamed = |_| Error::argument("launch", format!("kernel name `{name}` holds a zero byte"));
                let symbol = CString::new(name).map_err(unnamed)?;
                // SAFETY: `module` is loaded and never unloaded.
                let function = unsafe { result::module::get_function(module, symbol) };
                let function = function.map_err(|error| failed(&format!("finding kernel {name}"), error))?;
                loaded.kernels.insert(key, function);
                function
            }
        };
        if shared_bytes > DEFAULT_SHARED_BYTES {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: `function` is valid.
            unsafe { result::function::set_function_attribute(function, attribute, shared_bytes as i32) }
                .map_err(|error| failed(&format!("giving {name} {shared_bytes} bytes of shared memory"), error))?;
        }
        Ok(function)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        // SAFETY: nothing uses the stream or the context after this; errors at the end have no one to go to.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

impl Backend for Driver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn free_bytes(&self) -> Result<u64> {
        self.enter()?;
        let (free, _) = result::mem_get_info().map_err(|error| failed("asking for free memory", error))?;
        // What the pool holds and nobody uses is free for us too.
        let attribute = |name| -> Result<u64> {
            let mut value = 0u64;
            let place: *mut u64 = &mut value;
            // SAFETY: both attributes are u64.
            let status = unsafe { sys::cuMemPoolGetAttribute(self.pool, name, place.cast::<c_void>()) };
            status.result().map_err(|error| failed("asking for free memory", error))?;
            Ok(value)
        };
        let reserved = attribute(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let used = attribute(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        Ok(free as u64 + reserved.saturating_sub(used))
    }

    fn allocate(&self, bytes: usize, what: &str) -> Result<u64> {
        self.enter()?;
        // SAFETY: contents are undefined, as the trait says.
        match unsafe { result::malloc_async(self.stream, bytes) } {
            Ok(address) => Ok(address),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Err(Error::OutOfMemory {
                what: what.to_string(),
                needed: bytes as u64,
                available: self.free_bytes().unwrap_or(0),
            }),
            Err(error) => Err(failed(&format!("allocating {bytes} bytes for {what}"), error)),
        }
    }

    fn free(&self, address: u64) {
        if self.enter().is_ok() {
            // SAFETY: the address came from `allocate`; whatever still uses it is before this on the stream.
            let _ = unsafe { result::free_async(address, self.stream) };
        }
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        // SAFETY: callers own `bytes.len()` bytes at `to`; pageable host memory is read before this returns.
        unsafe { result::memcpy_htod_async(to, bytes, self.stream) }
            .map_err(|error| failed("copying to the GPU", error))
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        // SAFETY: callers own `bytes.len()` bytes at `from`; the stream is waited for before `bytes` is used.
        unsafe {
            result::memcpy_dtoh_async(bytes, from, self.stream).and_then(|()| result::stream::synchronize(self.stream))
        }
        .map_err(|error| failed("copying from the GPU", error))
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: callers own both ranges.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(|error| failed("copying on the GPU", error))
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: callers own the range.
        unsafe { result::memset_d8_async(to, byte, bytes, self.stream) }
            .map_err(|error| failed("filling GPU memory", error))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.enter()?;
        let function = self.kernel(launch.image, launch.kernel, launch.shared_bytes)?;
        let parameters: *const u8 = launch.parameters.as_ptr();
        let mut arguments = [parameters.cast_mut().cast::<c_void>()];
        let [grid, block] = [launch.grid, launch.block].map(|[x, y, z]| (x, y, z));
        // SAFETY: the driver copies the parameters during this call and never writes them; the launchers keep the
        // buffers behind them alive until the stream has passed this point, since freeing is on the stream too.
        unsafe { result::launch_kernel(function, grid, block, launch.shared_bytes, self.stream, &mut arguments) }
            .map_err(|error| failed(&format!("launching {}", launch.kernel), error))
    }

    fn synchronize(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|error| failed("waiting for the GPU", error))
    }
}

/// Loads and initialises the driver.
fn start() -> Result<()> {
    // SAFETY: opens the library by name and closes it again.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::Unavailable(
            "the NVIDIA driver library (libcuda.so.1) is not there; install the driver, or use --device cpu".into(),
        ));
    }
    result::init().map_err(|error| {
        Error::Unavailable(format!("the NVIDIA driver does not start: {}; use --device cpu", sentence(error)))
    })
}

fn properties(device: sys::CUdevice) -> Result<Properties> {
    use sys::CUdevice_attribute as Attribute;
    let read = || -> Result<Properties, DriverError> {
        let attribute = |name| -> Result<u32, DriverError> {
            // SAFETY: `device` is valid.
            Ok(unsafe { result::device::get_attribute(device, name) }?.max(0) as u32)
        };
        Ok(Properties {
            name: result::device::get_name(device)?,
            compute_capability: (
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes_per_block: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            // SAFETY: `device` is valid.
            memory_bytes: unsafe { result::device::total_mem(device) }? as u64,
            cache_bytes: u64::from(attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
        })
    };
    read().map_err(|error| failed("reading a GPU's properties", error))
}

fn failed(call: &str, error: DriverError) -> Error {
    Error::Device { call: call.to_string(), problem: sentence(error) }
}

/// The driver's own words for an error.
fn sentence(error: DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{text} ({name})")
}
