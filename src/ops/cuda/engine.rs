//! The operations on tensors.

use std::fmt;
use std::sync::Arc;

use obsdiff_kernels::attention::{Stream, attention};
use obsdiff_kernels::driver::Driver;
use obsdiff_kernels::pack24::{Packed24, Refusal, STEP_COLUMNS};
use obsdiff_kernels::rearrange::{self, copy_rows, strided_copy};
use obsdiff_kernels::spmm24::spmm24;
use obsdiff_kernels::{Device, MatrixMut, elementwise, gemm, normalize};

use super::Values;
use super::hessian::Accumulator;
use crate::error::Result;
use crate::ops::tensor::refuse;
use crate::ops::{DType, Engine, Hessian, Place, Qkv, Strided, Symmetric, Tensor};

/// One GPU, or whatever runs the kernels in its place.
#[derive(Clone)]
pub struct Cuda {
    device: Device,
    name: String,
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cuda({}, {})", self.name, self.device.properties().name)
    }
}

/// The engine of GPU `index`.
///
/// # Errors
/// [`crate::Error::NoGpu`] with what is missing.
pub fn cuda_engine(index: usize) -> Result<Arc<dyn Engine>> {
    Ok(Arc::new(Cuda::new(Driver::device(index)?, format!("cuda:{index}"))))
}

impl Cuda {
    /// An engine on `device`; engines of equal names must be on the same device.
    pub fn new(device: Device, name: String) -> Self {
        Cuda { device, name }
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// A tensor of `values`.
    pub(super) fn tensor(&self, values: Values, shape: &[usize]) -> Tensor {
        Tensor::on_gpu(values, self.clone(), shape)
    }

    fn uninitialised(&self, dtype: DType, shape: &[usize]) -> Result<Values> {
        Values::uninitialised(&self.device, dtype, shape.iter().product())
    }

    /// Applies `write` to the values of `x` as rows of its last axis.
    fn in_place(&self, x: Tensor, write: impl FnOnce(&mut MatrixMut) -> Result<()>) -> Result<Tensor> {
        let (rows, columns) = rows_of(&x);
        let (shape, mut values) = x.into_gpu_values()?;
        write(&mut values.matrix_mut(rows, columns)?)?;
        Ok(self.tensor(values, &shape))
    }
}

/// The last axis as columns, all others as rows.
fn rows_of(x: &Tensor) -> (usize, usize) {
    let columns = x.dims().last().copied().unwrap_or(1);
    (x.dims().iter().rev().skip(1).product(), columns)
}

/// A tensor on this engine as rows of its last axis.
pub(super) fn matrix(x: &Tensor) -> Result<obsdiff_kernels::Matrix<'_>> {
    let (rows, columns) = rows_of(x);
    x.gpu_values()?.matrix(rows, columns)
}

impl Engine for Cuda {
    fn name(&self) -> &str {
        &self.name
    }

    fn activations(&self, weights: DType) -> DType {
        weights
    }

    fn place(&self) -> Place {
        Place::Gpu
    }

    fn available_memory(&self) -> Option<u64> {
        self.device.backend().free_bytes().ok()
    }

    fn upload(&self, host: &Tensor) -> Result<Tensor> {
        Ok(self.tensor(Values::upload(&self.device, host.host_values()?)?, host.dims()))
    }

    fn download(&self, x: &Tensor) -> Result<Tensor> {
        Tensor::from_values(x.gpu_values()?.download()?, x.dims())
    }

    fn to_dtype(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        let (rows, columns) = rows_of(x);
        let mut values = self.uninitialised(dtype, x.dims())?;
        elementwise::convert(&self.device, &mut values.matrix_mut(rows, columns)?, matrix(x)?)?;
        Ok(self.tensor(values, x.dims()))
    }

    fn strided_copy(&self, x: &Tensor, at: &Strided) -> Result<Tensor> {
        let mut values = self.uninitialised(x.dtype(), &at.shape)?;
        let length = at.shape.iter().product();
        let places = rearrange::Strided { offset: at.offset, shape: &at.shape, strides: &at.strides };
        let from = x.gpu_values()?.matrix(1, x.elements())?;
        strided_copy(&self.device, &mut values.matrix_mut(1, length)?, from, &places)?;
        Ok(self.tensor(values, &at.shape))
    }

    fn cat(&self, tensors: &[&Tensor], axis: usize) -> Result<Tensor> {
        let mut shape = tensors[0].dims().to_vec();
        shape[axis] = tensors.iter().map(|tensor| tensor.dims()[axis]).sum();
        let rows: usize = shape[..axis].iter().product();
        let stride: usize = shape[axis..].iter().product();
        let mut values = self.uninitialised(tensors[0].dtype(), &shape)?;
        let (first, element) = {
            let whole = values.matrix_mut(rows, stride)?;
            (whole.view().pointer().address(), whole.view().element())
        };
        let mut column = 0;
        for tensor in tensors {
            let columns: usize = tensor.dims()[axis..].iter().product();
            let address = first + (column * element.bytes()) as u64;
            // SAFETY: these columns of the new tensor's rows, which nobody else has yet.
            let mut target = unsafe { MatrixMut::from_address(address, element, rows, columns, stride) };
            copy_rows(&self.device, &mut target, tensor.gpu_values()?.matrix(rows, columns)?)?;
            column += columns;
        }
        Ok(self.tensor(values, &shape))
    }

    fn is_finite(&self, x: &Tensor) -> Result<bool> {
        Ok(elementwise::is_finite(&self.device, matrix(x)?)?)
    }

    fn add(&self, x: Tensor, y: &Tensor) -> Result<Tensor> {
        self.in_place(x, |x| Ok(elementwise::add(&self.device, x, matrix(y)?)?))
    }

    fn add_scaled(&self, x: Tensor, scale: f32, y: &Tensor) -> Result<Tensor> {
        self.in_place(x, |x| Ok(elementwise::combine(&self.device, x, 1.0, &[(scale, matrix(y)?)])?))
    }

    fn guidance(&self, branches: &Tensor, scale: f32) -> Result<Tensor> {
        let half = branches.dim(0)? / 2;
        let [unconditional, conditional] = [0, half].map(|start| branches.narrow(0, start, half));
        let conditional = conditional?;
        self.in_place(unconditional?, |out| {
            Ok(elementwise::combine(&self.device, out, 1.0 - scale, &[(scale, matrix(&conditional)?)])?)
        })
    }

    fn silu(&self, x: Tensor) -> Result<Tensor> {
        self.in_place(x, |x| Ok(elementwise::silu(&self.device, x)?))
    }

    fn gelu(&self, x: Tensor) -> Result<Tensor> {
        self.in_place(x, |x| Ok(elementwise::gelu(&self.device, x)?))
    }

    fn packs24(&self) -> bool {
        true
    }

    fn pack24(&self, weight: &Tensor) -> Result<Option<Tensor>> {
        let (_, columns) = weight.dims2()?;
        if !columns.is_multiple_of(STEP_COLUMNS) {
            return Ok(None);
        }
        match Packed24::try_compress(&self.device, matrix(weight)?)? {
            Ok(packed) => {
                let packed = Values::Packed24(Arc::new(packed.into_registers()?));
                Ok(Some(self.tensor(packed, weight.dims())))
            }
            Err(Refusal::Nonzeros { .. }) => Ok(None),
            Err(other) => Err(refuse(format!("pack24 of {weight:?}: {other}"))),
        }
    }

    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let ((rows, _), (features, _)) = (rows_of(x), weight.dims2()?);
        let mut shape = x.dims().to_vec();
        shape.pop();
        shape.push(features);
        let mut values = self.uninitialised(x.dtype(), &shape)?;
        let bias = bias.map(matrix).transpose()?;
        let mut y = values.matrix_mut(rows, features)?;
        match weight.gpu_values()? {
            Values::Packed24(packed) => spmm24(&self.device, matrix(x)?, packed, bias, &mut y)?,
            _ => gemm::gemm(&self.device, matrix(x)?, matrix(weight)?, bias, &mut y)?,
        }
        Ok(self.tensor(values, &shape))
    }

    fn attention(&self, streams: &[Qkv], head_dim: usize) -> Result<Vec<Tensor>> {
        let batch = streams[0].query.dim(0)?;
        let shape = |stream: &Qkv| stream.query.dims().to_vec();
        let empty = |stream: &Qkv| self.uninitialised(stream.query.dtype(), stream.query.dims());
        let mut outputs = streams.iter().map(empty).collect::<Result<Vec<Values>>>()?;
        let mut together = Vec::with_capacity(streams.len());
        for (stream, output) in streams.iter().zip(&mut outputs) {
            let (rows, columns) = rows_of(&stream.query);
            together.push(Stream {
                query: matrix(&stream.query)?,
                key: matrix(&stream.key)?,
                value: matrix(&stream.value)?,
                out: Some(output.matrix_mut(rows, columns)?),
            });
        }
        attention(&self.device, &mut together, batch, head_dim)?;
        drop(together);
        Ok(outputs.into_iter().zip(streams).map(|(output, stream)| self.tensor(output, &shape(stream))).collect())
    }

    fn layer_norm_modulate(&self, x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f32) -> Result<Tensor> {
        let (rows, columns) = rows_of(x);
        let mut values = self.uninitialised(x.dtype(), x.dims())?;
        let mut out = values.matrix_mut(rows, columns)?;
        normalize::layer_norm_modulate(&self.device, &mut out, matrix(x)?, matrix(scale)?, matrix(shift)?, eps)?;
        Ok(self.tensor(values, x.dims()))
    }

    fn gated_residual(&self, residual: &Tensor, gate: &Tensor, x: &Tensor) -> Result<Tensor> {
        let (rows, columns) = rows_of(residual);
        let mut values = self.uninitialised(residual.dtype(), residual.dims())?;
        let mut out = values.matrix_mut(rows, columns)?;
        elementwise::gated_residual(&self.device, &mut out, matrix(residual)?, matrix(gate)?, matrix(x)?)?;
        Ok(self.tensor(values, residual.dims()))
    }

    fn rms_norm(&self, x: Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        self.in_place(x, |x| Ok(normalize::rms_norm(&self.device, x, matrix(weight)?, eps)?))
    }

    fn rope(&self, x: Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        self.in_place(x, |x| Ok(elementwise::rope(&self.device, x, matrix(cos)?, matrix(sin)?)?))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(self.device.backend().synchronize()?)
    }

    fn hessian(&self, columns: usize) -> Result<Box<dyn Hessian>> {
        Ok(Box::new(Accumulator::new(self, columns)?))
    }

    fn hessian_from(&self, matrix: Symmetric) -> Result<Box<dyn Hessian>> {
        Ok(Box::new(Accumulator::from_host(self, &matrix)?))
    }
}
