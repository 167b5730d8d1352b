//! The usual recipe for SparseGPT's factor by cuSOLVER: Cholesky, inverse, Cholesky of the inverse.

use std::ffi::c_int;
use std::sync::Arc;

use cudarc::cusolver::{result, sys};

use super::failed;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::libraries;

/// potrf, potri and potrf again on one f32 matrix `[size, size]`.
pub struct Chain {
    handle: sys::cusolverDnHandle_t,
    size: c_int,
    workspace: Buffer<f32>,
    status: Buffer<i32>,
}

const LOWER: sys::cublasFillMode_t = sys::cublasFillMode_t::CUBLAS_FILL_MODE_LOWER;

impl Chain {
    /// For matrices of `size` rows.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the library is not installed, [`Error::Device`] if it refuses.
    pub fn new(driver: &Arc<Driver>, size: usize) -> Result<Self> {
        libraries::open(&libraries::CUSOLVER).map_err(Error::Unavailable)?;
        let plan = || -> Result<_, result::CusolverError> {
            let handle = result::dn_create()?;
            let (mut factor, mut invert) = (0, 0);
            let (size, nowhere) = (size as c_int, std::ptr::null_mut());
            // SAFETY: the handle was created above; a size query does not follow the matrix pointer.
            unsafe {
                result::dn_set_stream(handle, driver.stream().cast())?;
                sys::cusolverDnSpotrf_bufferSize(handle, LOWER, size, nowhere, size, &mut factor).result()?;
                sys::cusolverDnSpotri_bufferSize(handle, LOWER, size, nowhere, size, &mut invert).result()?;
            }
            Ok((handle, size, factor.max(invert) as usize))
        };
        let (handle, size, length) = plan().map_err(|error| failed("planning with cuSOLVER", error))?;
        let device = Device::new(driver.clone());
        let workspace = Buffer::uninitialised(&device, length, "cuSOLVER's workspace")?;
        Ok(Chain { handle, size, workspace, status: Buffer::zeros(&device, 1, "cuSOLVER's status")? })
    }

    /// Overwrites `matrix`, positive definite, by the factor of its inverse.
    ///
    /// # Errors
    /// [`Error::Device`]; whether a pivot failed is in [`Chain::status`].
    pub fn run(&mut self, matrix: &mut Buffer<f32>) -> Result<()> {
        let pointer = |address: u64| address as *mut f32;
        let (a, work) = (pointer(matrix.pointer().address()), pointer(self.workspace.pointer().address()));
        let status = self.status.pointer().address() as *mut c_int;
        let (size, length) = (self.size, self.workspace.len() as c_int);
        // SAFETY: the matrix has size * size values and the workspace the length asked for.
        let done = unsafe {
            sys::cusolverDnSpotrf(self.handle, LOWER, size, a, size, work, length, status)
                .result()
                .and_then(|()| sys::cusolverDnSpotri(self.handle, LOWER, size, a, size, work, length, status).result())
                .and_then(|()| sys::cusolverDnSpotrf(self.handle, LOWER, size, a, size, work, length, status).result())
        };
        done.map_err(|error| failed("cuSOLVER's potrf, potri, potrf", error))
    }

    /// 0 if the last call found every pivot positive.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn status(&self) -> Result<i32> {
        Ok(self.status.to_vec()?[0])
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: created in `new` and used no more; an error at the end has no one to go to.
        let _ = unsafe { result::dn_destroy(self.handle) };
    }
}
