//! Values in the memory of a GPU.

use std::sync::Arc;

use half::{bf16, f16};
use obsdiff_kernels::pack24::Registers24;
use obsdiff_kernels::{Buffer, Device, Element, Matrix, MatrixMut};

use crate::error::Result;
use crate::ops::DType;
use crate::ops::tensor::Values as HostValues;

/// The values of a tensor, row-major without gaps; clones share them until one is written to.
#[derive(Clone)]
pub(in crate::ops) enum Values {
    F32(Arc<Buffer<f32>>),
    F16(Arc<Buffer<f16>>),
    BF16(Arc<Buffer<bf16>>),
    /// A 2:4 sparse matrix of f16 or bf16, which only `spmm24` reads.
    Packed24(Arc<Registers24>),
}

impl Values {
    /// Room for `length` values whose contents are undefined.
    pub fn uninitialised(device: &Device, dtype: DType, length: usize) -> Result<Self> {
        Ok(match dtype {
            DType::F32 => Values::F32(Arc::new(Buffer::uninitialised(device, length, "a tensor")?)),
            DType::F16 => Values::F16(Arc::new(Buffer::uninitialised(device, length, "a tensor")?)),
            DType::BF16 => Values::BF16(Arc::new(Buffer::uninitialised(device, length, "a tensor")?)),
        })
    }

    pub fn upload(device: &Device, host: &HostValues) -> Result<Self> {
        Ok(match host {
            HostValues::F32(values) => Values::F32(Arc::new(Buffer::from_slice(device, values, "a tensor")?)),
            HostValues::F16(values) => Values::F16(Arc::new(Buffer::from_slice(device, values, "a tensor")?)),
            HostValues::BF16(values) => Values::BF16(Arc::new(Buffer::from_slice(device, values, "a tensor")?)),
        })
    }

    pub fn download(&self) -> Result<HostValues> {
        Ok(match self {
            Values::F32(buffer) => HostValues::F32(Arc::new(buffer.to_vec()?)),
            Values::F16(buffer) => HostValues::F16(Arc::new(buffer.to_vec()?)),
            Values::BF16(buffer) => HostValues::BF16(Arc::new(buffer.to_vec()?)),
            Values::Packed24(_) => return Err(packed()),
        })
    }

    pub fn dtype(&self) -> DType {
        match self {
            Values::F32(_) => DType::F32,
            Values::F16(_) => DType::F16,
            Values::BF16(_) => DType::BF16,
            Values::Packed24(matrix) => match matrix.element() {
                Element::F32 => DType::F32,
                Element::F16 => DType::F16,
                Element::Bf16 => DType::BF16,
            },
        }
    }

    /// Bytes of device memory.
    pub fn bytes(&self) -> usize {
        match self {
            Values::F32(buffer) => buffer.len() * size_of::<f32>(),
            Values::F16(buffer) => buffer.len() * size_of::<f16>(),
            Values::BF16(buffer) => buffer.len() * size_of::<bf16>(),
            Values::Packed24(matrix) => Registers24::bytes(matrix.rows(), matrix.columns()) as usize,
        }
    }

    /// The values as `rows` rows of `columns`, to read.
    pub fn matrix(&self, rows: usize, columns: usize) -> Result<Matrix<'_>> {
        Ok(match self {
            Values::F32(buffer) => Matrix::from_buffer(buffer, rows, columns)?,
            Values::F16(buffer) => Matrix::from_buffer(buffer, rows, columns)?,
            Values::BF16(buffer) => Matrix::from_buffer(buffer, rows, columns)?,
            Values::Packed24(_) => return Err(packed()),
        })
    }

    /// The values as `rows` rows of `columns`, to write; a copy is made first if a clone shares them.
    pub fn matrix_mut(&mut self, rows: usize, columns: usize) -> Result<MatrixMut<'_>> {
        Ok(match self {
            Values::F32(buffer) => MatrixMut::from_buffer(owned(buffer)?, rows, columns)?,
            Values::F16(buffer) => MatrixMut::from_buffer(owned(buffer)?, rows, columns)?,
            Values::BF16(buffer) => MatrixMut::from_buffer(owned(buffer)?, rows, columns)?,
            Values::Packed24(_) => return Err(packed()),
        })
    }
}

fn packed() -> crate::Error {
    crate::ops::tensor::refuse("a packed 2:4 matrix, which only `linear` takes".into())
}

/// The buffer as its only owner.
pub(super) fn owned<T: obsdiff_kernels::Value>(buffer: &mut Arc<Buffer<T>>) -> Result<&mut Buffer<T>> {
    if Arc::get_mut(buffer).is_none() {
        let mut copy = Buffer::uninitialised(buffer.device(), buffer.len(), "a tensor")?;
        copy.copy_from(0, buffer)?;
        *buffer = Arc::new(copy);
    }
    Arc::get_mut(buffer).ok_or_else(|| crate::ops::tensor::refuse("a tensor that was just copied is shared".into()))
}
