//! Dense matrix products by cuBLASLt, with the algorithm that its heuristic puts first.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublaslt::{result, sys};

use super::failed;
use crate::buffer::{Buffer, Pointer};
use crate::device::Device;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::libraries;
use crate::matrix::Element;

/// Room for split products.
const WORKSPACE_BYTES: usize = 64 << 20;

/// CUBLAS_OP_T of cublasOperation_t.
const TRANSPOSE: i32 = 1;

/// Which product of row-major matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// `Y [tokens, features] = X [tokens, columns] W [features, columns]^T`, all of one element type.
    Linear { tokens: usize, features: usize, columns: usize },
    /// `H [columns, columns] = X [tokens, columns]^T X`, H in f32.
    Gram { tokens: usize, columns: usize },
}

/// A product that was planned once and can be run many times.
pub struct Gemm {
    driver: Arc<Driver>,
    handle: sys::cublasLtHandle_t,
    description: sys::cublasLtMatmulDesc_t,
    /// Of A, B and C as cuBLAS sees them, column by column.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    workspace: Buffer<u8>,
    product: Product,
}

impl Gemm {
    /// Plans `product` with inputs of type `element` and f32 sums; f32 inputs are multiplied in f32, not TF32.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the library is not installed, [`Error::Device`] if it refuses.
    pub fn new(driver: &Arc<Driver>, product: Product, element: Element) -> Result<Self> {
        libraries::open(&libraries::CUBLASLT).map_err(Error::Unavailable)?;
        let workspace = Buffer::uninitialised(&Device::new(driver.clone()), WORKSPACE_BYTES, "cuBLASLt's workspace")?;
        let input = match element {
            Element::F32 => sys::cudaDataType_t::CUDA_R_32F,
            Element::F16 => sys::cudaDataType_t::CUDA_R_16F,
            Element::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        };
        let plan = || -> Result<Self, result::CublasError> {
            let single = sys::cudaDataType_t::CUDA_R_32F;
            let handle = result::create_handle()?;
            let description = result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, single)?;
            let layout = |kind, rows: usize, columns: usize| {
                result::create_matrix_layout(kind, rows as u64, columns as u64, rows as i64)
            };
            // A row-major matrix is its transpose, column by column. Linear: Y^T = W X^T; Gram: H = X^T X.
            let (layouts, transposed) = match product {
                Product::Linear { tokens, features, columns } => (
                    [
                        layout(input, columns, features)?,
                        layout(input, columns, tokens)?,
                        layout(input, features, tokens)?,
                    ],
                    sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                ),
                Product::Gram { tokens, columns } => (
                    [
                        layout(input, columns, tokens)?,
                        layout(input, columns, tokens)?,
                        layout(single, columns, columns)?,
                    ],
                    sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB,
                ),
            };
            let transpose = TRANSPOSE;
            let transpose_bytes = size_of_val(&transpose);
            let place: *const i32 = &transpose;
            // SAFETY: the attribute is a cublasOperation_t, an int, which `place` points to.
            unsafe {
                result::set_matmul_desc_attribute(description, transposed, place.cast::<c_void>(), transpose_bytes)?;
            }
            let preference = result::create_matmul_pref()?;
            let place: *const usize = &WORKSPACE_BYTES;
            let attribute = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            let [a, b, c] = layouts;
            // SAFETY: the attribute is a size_t; every handle was created above.
            let chosen = unsafe {
                result::set_matmul_pref_attribute(preference, attribute, place.cast::<c_void>(), size_of::<usize>())?;
                let chosen = result::get_matmul_algo_heuristic(handle, description, a, b, c, c, preference);
                result::destroy_matmul_pref(preference)?;
                chosen?
            };
            let driver = driver.clone();
            Ok(Gemm { driver, handle, description, layouts, algorithm: chosen.algo, workspace, product })
        };
        plan().map_err(|error| failed("planning a product with cuBLASLt", error))
    }

    /// Runs the product. For [`Product::Linear`] `left` is W and `right` is X; for [`Product::Gram`] both are X.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn run<T, U>(&self, left: Pointer<T>, right: Pointer<T>, output: Pointer<U>) -> Result<()> {
        let (one, zero) = (1.0f32, 0.0f32);
        let scalar = |value: &f32| -> *const c_void {
            let place: *const f32 = value;
            place.cast()
        };
        let [a, b, c] = self.layouts;
        let output = output.address() as *mut c_void;
        // SAFETY: the caller's pointers are matrices of the planned shapes; the rest lives in `self`.
        let status = unsafe {
            result::matmul(
                self.handle,
                self.description,
                scalar(&one),
                scalar(&zero),
                left.address() as *const c_void,
                a,
                right.address() as *const c_void,
                b,
                output,
                c,
                output,
                c,
                &self.algorithm,
                self.workspace.pointer().address() as *mut c_void,
                WORKSPACE_BYTES,
                self.driver.stream().cast(),
            )
        };
        status.map_err(|error| failed(&format!("cuBLASLt's {:?}", self.product), error))
    }
}

impl Drop for Gemm {
    fn drop(&mut self) {
        // SAFETY: created in `new` and used no more; errors at the end have no one to go to.
        unsafe {
            for layout in self.layouts {
                let _ = result::destroy_matrix_layout(layout);
            }
            let _ = result::destroy_matmul_desc(self.description);
            let _ = result::destroy_handle(self.handle);
        }
    }
}
