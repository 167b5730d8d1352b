//! 2:4 sparse matrix products by cuSPARSELt, with its search over algorithms. Signatures and values are those of
//! cusparseLt.h 0.10.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use cudarc::driver::sys::CUstream;
use libloading::Library;

use super::failed;
use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::libraries;
use crate::matrix::Element;

/// The library's opaque structs: 512 bytes in 0.10, 11024 in early versions.
#[repr(C, align(16))]
struct Opaque([u8; 16384]);

impl Opaque {
    fn new() -> Box<Self> {
        Box::new(Opaque([0; 16384]))
    }
}

type Handle = *mut Opaque;
type Status = c_int;
type DenseInit = unsafe extern "C" fn(Handle, Handle, i64, i64, i64, u32, c_int, c_int) -> Status;
type StructuredInit = unsafe extern "C" fn(Handle, Handle, i64, i64, i64, u32, c_int, c_int, c_int) -> Status;
type MatmulInit = unsafe extern "C" fn(Handle, Handle, c_int, c_int, Handle, Handle, Handle, Handle, c_int) -> Status;
type SelectionInit = unsafe extern "C" fn(Handle, Handle, Handle, c_int) -> Status;
type PlanInit = unsafe extern "C" fn(Handle, Handle, Handle, Handle) -> Status;
type SizeOf = unsafe extern "C" fn(Handle, Handle, *mut usize) -> Status;
type SizesOf = unsafe extern "C" fn(Handle, Handle, *mut usize, *mut usize) -> Status;
type Compress = unsafe extern "C" fn(Handle, Handle, *const c_void, *mut c_void, *mut c_void, CUstream) -> Status;
type Matmul = unsafe extern "C" fn(
    Handle,
    Handle,
    *const c_void,
    *const c_void,
    *const c_void,
    *const c_void,
    *const c_void,
    *mut c_void,
    *mut c_void,
    *mut CUstream,
    i32,
) -> Status;
type One = unsafe extern "C" fn(Handle) -> Status;

/// CUSPARSE_ORDER_ROW.
const ROW_MAJOR: c_int = 2;
/// Bytes that rows are aligned to.
const ALIGNMENT: u32 = 16;
/// CUSPARSE_COMPUTE_32F.
const COMPUTE_32F: c_int = 2;

/// `Y^T [features, tokens] = W [features, columns] X [tokens, columns]^T` with W 2:4, planned once.
pub struct SparseGemm {
    library: Library,
    stream: CUstream,
    handle: Box<Opaque>,
    plan: Box<Opaque>,
    /// The descriptors that the plan points to.
    _descriptors: [Box<Opaque>; 5],
    compressed: Buffer<u8>,
    workspace: Buffer<u8>,
}

impl SparseGemm {
    /// Compresses `weight`, `[features, columns]` row-major and 2:4, and plans the product.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the library is not installed, [`Error::Device`] if it refuses.
    pub fn new<T>(
        driver: &Arc<Driver>,
        element: Element,
        [tokens, features, columns]: [usize; 3],
        weight: Pointer<T>,
    ) -> Result<Self> {
        let library = libraries::open(&libraries::CUSPARSELT).map_err(Error::Unavailable)?.library;
        let kind = match element {
            Element::F16 => 2,
            Element::Bf16 => 14,
            Element::F32 => return Err(Error::argument("cusparselt", "f32 is not a 2:4 type here; use f16 or bf16")),
        };
        let stream = driver.stream();
        let [mut handle, mut sparse, mut dense, mut output, mut product, mut selection, mut plan] =
            std::array::from_fn(|_| Opaque::new());
        let (rows, cols, batch) = (features as i64, columns as i64, tokens as i64);
        let (mut compressed_bytes, mut scratch_bytes, mut workspace_bytes) = (0usize, 0usize, 0usize);
        // SAFETY: every function has the signature of cusparseLt.h; all structs are large enough and live on.
        unsafe {
            let h: Handle = &mut *handle;
            let (a, b, c): (Handle, Handle, Handle) = (&mut *sparse, &mut *dense, &mut *output);
            let (matmul, choice, planned): (Handle, Handle, Handle) = (&mut *product, &mut *selection, &mut *plan);
            check("Init", get::<One>(&library, "cusparseLtInit")?(h))?;
            let init = get::<StructuredInit>(&library, "cusparseLtStructuredDescriptorInit")?;
            check("StructuredDescriptorInit", init(h, a, rows, cols, cols, ALIGNMENT, kind, ROW_MAJOR, 0))?;
            let init = get::<DenseInit>(&library, "cusparseLtDenseDescriptorInit")?;
            check("DenseDescriptorInit", init(h, b, batch, cols, cols, ALIGNMENT, kind, ROW_MAJOR))?;
            check("DenseDescriptorInit", init(h, c, rows, batch, batch, ALIGNMENT, kind, ROW_MAJOR))?;
            let init = get::<MatmulInit>(&library, "cusparseLtMatmulDescriptorInit")?;
            check("MatmulDescriptorInit", init(h, matmul, 0, 1, a, b, c, c, COMPUTE_32F))?;
            let init = get::<SelectionInit>(&library, "cusparseLtMatmulAlgSelectionInit")?;
            check("MatmulAlgSelectionInit", init(h, choice, matmul, 0))?;
            let init = get::<PlanInit>(&library, "cusparseLtMatmulPlanInit")?;
            check("MatmulPlanInit", init(h, planned, matmul, choice))?;
            let sizes = get::<SizesOf>(&library, "cusparseLtSpMMACompressedSize")?;
            check("SpMMACompressedSize", sizes(h, planned, &mut compressed_bytes, &mut scratch_bytes))?;
            let size = get::<SizeOf>(&library, "cusparseLtMatmulGetWorkspace")?;
            check("MatmulGetWorkspace", size(h, planned, &mut workspace_bytes))?;
        }
        let device = Device::new(driver.clone());
        let compressed: Buffer<u8> = Buffer::uninitialised(&device, compressed_bytes, "cuSPARSELt's weight")?;
        let scratch: Buffer<u8> = Buffer::uninitialised(&device, scratch_bytes.max(1), "cuSPARSELt's scratch")?;
        let from = weight.address() as *const c_void;
        let [to, through] = [&compressed, &scratch].map(|buffer| buffer.pointer().address() as *mut c_void);
        // SAFETY: as above; the buffers have the sizes that the library asked for.
        unsafe {
            let compress = get::<Compress>(&library, "cusparseLtSpMMACompress")?;
            check("SpMMACompress", compress(&mut *handle, &mut *plan, from, to, through, stream))?;
        }
        let workspace = Buffer::uninitialised(&device, workspace_bytes.max(1), "cuSPARSELt's workspace")?;
        let _descriptors = [sparse, dense, output, product, selection];
        Ok(SparseGemm { library, stream, handle, plan, _descriptors, compressed, workspace })
    }

    /// Lets the library time its algorithms on these matrices and keep the fastest.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn search<T>(&mut self, input: Pointer<T>, output: Pointer<T>) -> Result<()> {
        self.call("cusparseLtMatmulSearch", input, output)?;
        // The search may have chosen an algorithm that needs more room.
        let mut bytes = 0usize;
        // SAFETY: as in `new`.
        unsafe {
            let size = get::<SizeOf>(&self.library, "cusparseLtMatmulGetWorkspace")?;
            check("MatmulGetWorkspace", size(&mut *self.handle, &mut *self.plan, &mut bytes))?;
        }
        if bytes > self.workspace.len() {
            self.workspace = Buffer::uninitialised(self.workspace.device(), bytes, "cuSPARSELt's workspace")?;
        }
        Ok(())
    }

    /// Runs the product: `input` X, `output` Y^T.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn run<T>(&mut self, input: Pointer<T>, output: Pointer<T>) -> Result<()> {
        self.call("cusparseLtMatmul", input, output)
    }

    fn call<T>(&mut self, name: &str, input: Pointer<T>, output: Pointer<T>) -> Result<()> {
        let scalars = [1.0f32, 0.0];
        let [one, zero] = [0, 1].map(|at| {
            let place: *const f32 = &scalars[at];
            place.cast::<c_void>()
        });
        let input = input.address() as *const c_void;
        let out = output.address() as *mut c_void;
        let weight = self.compressed.pointer().address() as *const c_void;
        let workspace = self.workspace.pointer().address() as *mut c_void;
        let (handle, plan) = (&mut *self.handle, &mut *self.plan);
        // SAFETY: the caller's pointers are matrices of the planned shapes; the rest lives in `self`.
        unsafe {
            let run = get::<Matmul>(&self.library, name)?;
            let streams: *mut CUstream = &mut self.stream;
            check(name, run(handle, plan, one, weight, input, zero, out, out, workspace, streams, 1))
        }
    }
}

impl Drop for SparseGemm {
    fn drop(&mut self) {
        let objects = [("cusparseLtMatmulPlanDestroy", &mut self.plan), ("cusparseLtDestroy", &mut self.handle)];
        for (name, object) in objects {
            // SAFETY: created in `new` and used no more; errors at the end have no one to go to.
            if let Ok(destroy) = unsafe { get::<One>(&self.library, name) } {
                // SAFETY: as above.
                let _ = unsafe { destroy(&mut **object) };
            }
        }
    }
}

/// Finds a function. The caller states its type.
unsafe fn get<T: Copy>(library: &Library, name: &str) -> Result<T> {
    // SAFETY: the caller's duty.
    let symbol = unsafe { library.get::<T>(name) };
    Ok(*symbol.map_err(|error| failed(&format!("finding {name}"), error))?)
}

fn check(call: &str, status: Status) -> Result<()> {
    match status {
        0 => Ok(()),
        status => Err(failed(&format!("cuSPARSELt's {call}"), format!("status {status}"))),
    }
}
