//! Arrays as the model sees them: a shape, and values that lie row-major and without gaps on one engine.
//!
//! A tensor is never a view of another one: what cuts or turns (`narrow`, `window`, `permute`) copies. Clones
//! share their values until one of them is written to, so a clone never changes behind its owner's back.

mod storage;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use storage::Storage;
pub(super) use storage::{Element, Values};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{DType, Engine};
use crate::error::{Error, Result};

/// A row-major array of f32, f16 or bf16 on one engine.
#[derive(Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    storage: Storage,
}

/// Where the value at every index of a new tensor lies in an old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strided {
    /// Shape of the new tensor.
    pub shape: Vec<usize>,
    /// Distance in the old tensor between neighbours along each axis of the new one.
    pub strides: Vec<usize>,
    /// Place in the old tensor of the new one's first value.
    pub offset: usize,
}

impl Tensor {
    /// f32 values in host memory, row-major.
    ///
    /// # Errors
    /// [`Error::Runtime`] if there are not as many values as the shape holds.
    pub fn from_vec(values: Vec<f32>, shape: impl Into<Vec<usize>>) -> Result<Self> {
        Tensor::from_values(Element::into_values(values), shape)
    }

    pub(super) fn from_values(values: Values, shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = shape.into();
        if shape.iter().product::<usize>() != values.len() {
            return Err(refuse(format!("{} values do not fill the shape {shape:?}", values.len())));
        }
        Ok(Tensor { shape, storage: Storage::Host(values) })
    }

    /// The shape.
    pub fn dims(&self) -> &[usize] {
        &self.shape
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// How the values are held.
    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// Bytes of the values.
    pub fn bytes(&self) -> usize {
        match &self.storage {
            Storage::Host(values) => self.elements() * values.dtype().size_in_bytes(),
            #[cfg(feature = "cuda")]
            Storage::Gpu(values, _) => values.bytes(),
        }
    }

    /// The engine that holds the values.
    pub fn engine(&self) -> Arc<dyn Engine> {
        self.storage.engine()
    }

    /// Size of one axis.
    ///
    /// # Errors
    /// [`Error::Runtime`] if there is no such axis.
    pub fn dim(&self, axis: usize) -> Result<usize> {
        self.shape.get(axis).copied().ok_or_else(|| refuse(format!("shape {:?} has no axis {axis}", self.shape)))
    }

    /// The shape of a vector.
    ///
    /// # Errors
    /// [`Error::Runtime`] for another number of axes, as all of these.
    pub fn dims1(&self) -> Result<usize> {
        let [size] = self.dims_exactly()?;
        Ok(size)
    }

    /// The shape of a matrix.
    ///
    /// # Errors
    /// Those of [`Tensor::dims1`].
    pub fn dims2(&self) -> Result<(usize, usize)> {
        let [rows, columns] = self.dims_exactly()?;
        Ok((rows, columns))
    }

    /// The shape of a tensor with three axes.
    ///
    /// # Errors
    /// Those of [`Tensor::dims1`].
    pub fn dims3(&self) -> Result<(usize, usize, usize)> {
        let [first, second, third] = self.dims_exactly()?;
        Ok((first, second, third))
    }

    /// The shape of a tensor with four axes.
    ///
    /// # Errors
    /// Those of [`Tensor::dims1`].
    pub fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        let [first, second, third, fourth] = self.dims_exactly()?;
        Ok((first, second, third, fourth))
    }

    fn dims_exactly<const N: usize>(&self) -> Result<[usize; N]> {
        let wrong = |_| refuse(format!("expected {N} axes, found shape {:?}", self.shape));
        self.shape.as_slice().try_into().map_err(wrong)
    }

    /// The same values under another shape.
    ///
    /// # Errors
    /// [`Error::Runtime`] if it holds another number of values.
    pub fn reshape(&self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = shape.into();
        if shape.iter().product::<usize>() != self.elements() {
            return Err(refuse(format!("shape {:?} cannot become {shape:?}", self.shape)));
        }
        Ok(Tensor { shape, storage: self.storage.clone() })
    }

    /// `length` places of one axis from `start` on.
    ///
    /// # Errors
    /// [`Error::Runtime`] if there are not that many.
    pub fn narrow(&self, axis: usize, start: usize, length: usize) -> Result<Self> {
        self.dim(axis)?;
        let (mut starts, mut lengths) = (vec![0; self.rank()], self.shape.clone());
        (starts[axis], lengths[axis]) = (start, length);
        self.window(&starts, &lengths)
    }

    /// `lengths` places of every axis from `starts` on.
    ///
    /// # Errors
    /// [`Error::Runtime`] if there are not that many.
    pub fn window(&self, starts: &[usize], lengths: &[usize]) -> Result<Self> {
        let rank = self.rank();
        let fits = |axis: usize| starts[axis].checked_add(lengths[axis]).is_some_and(|end| end <= self.shape[axis]);
        if starts.len() != rank || lengths.len() != rank || !(0..rank).all(fits) {
            return Err(refuse(format!("shape {:?} has no {lengths:?} places from {starts:?} on", self.shape)));
        }
        if lengths == self.shape {
            return Ok(self.clone());
        }
        let strides = self.strides();
        let offset = starts.iter().zip(&strides).map(|(start, stride)| start * stride).sum();
        self.engine().strided_copy(self, &Strided { shape: lengths.to_vec(), strides, offset })
    }

    /// The axes in another order: axis `i` of the result is axis `order[i]` of this tensor.
    ///
    /// # Errors
    /// [`Error::Runtime`] if `order` does not name every axis once.
    pub fn permute(&self, order: &[usize]) -> Result<Self> {
        let mut axes = order.to_vec();
        axes.sort_unstable();
        if !axes.into_iter().eq(0..self.rank()) {
            return Err(refuse(format!("{order:?} is no order of the axes of shape {:?}", self.shape)));
        }
        let strides = self.strides();
        let pick = |values: &[usize]| order.iter().map(|&axis| values[axis]).collect();
        let turned = Strided { shape: pick(&self.shape), strides: pick(&strides), offset: 0 };
        self.engine().strided_copy(self, &turned)
    }

    /// Distance between neighbours along each axis.
    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        strides
    }

    /// `parts` equal pieces along one axis.
    ///
    /// # Errors
    /// [`Error::Runtime`] if its size is no multiple of `parts`.
    pub fn chunk(&self, parts: usize, axis: usize) -> Result<Vec<Self>> {
        let size = self.dim(axis)?;
        if parts == 0 || !size.is_multiple_of(parts) {
            return Err(refuse(format!("axis {axis} of shape {:?} cannot be cut into {parts} parts", self.shape)));
        }
        let length = size / parts;
        (0..parts).map(|part| self.narrow(axis, part * length, length)).collect()
    }

    /// Tensors one behind the other along one axis; all other sizes and the dtypes must be equal.
    ///
    /// # Errors
    /// [`Error::Runtime`] if they are not, or if there is no tensor.
    pub fn cat(tensors: &[&Tensor], axis: usize) -> Result<Self> {
        let Some(&first) = tensors.first() else { return Err(refuse("cat: no tensors".into())) };
        first.dim(axis)?;
        for tensor in tensors {
            let mut shape = first.shape.clone();
            shape[axis] = tensor.dims().get(axis).copied().unwrap_or(0);
            if tensor.shape != shape || tensor.dtype() != first.dtype() {
                let [found, expected] = [tensor, first].map(|tensor| format!("{tensor:?}"));
                return Err(refuse(format!("cat along axis {axis}: {found} does not fit {expected}")));
            }
        }
        let engine = one_engine("cat", tensors)?;
        if tensors.len() == 1 { Ok(first.clone()) } else { engine.cat(tensors, axis) }
    }

    /// The values in another dtype, rounded to nearest, ties to even.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        if dtype == self.dtype() { Ok(self.clone()) } else { self.engine().to_dtype(self, dtype) }
    }

    /// The tensor in host memory.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn to_host(&self) -> Result<Self> {
        self.engine().download(self)
    }

    /// The values as f32 in host memory, row-major.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        self.clone().into_vec()
    }

    /// Like [`Tensor::to_vec`]; without a copy where the values are f32 in host memory and nobody else's.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn into_vec(self) -> Result<Vec<f32>> {
        let host = self.to_host()?.to_dtype(DType::F32)?;
        drop(self);
        match host.storage {
            Storage::Host(Values::F32(values)) => Ok(Arc::unwrap_or_clone(values)),
            _ => Err(not_host_f32(&host.shape, &host.storage)),
        }
    }

    /// The values of an f32 tensor in host memory.
    ///
    /// # Errors
    /// [`Error::Runtime`] for another dtype or engine.
    pub fn as_slice(&self) -> Result<&[f32]> {
        match &self.storage {
            Storage::Host(Values::F32(values)) => Ok(values),
            other => Err(not_host_f32(&self.shape, other)),
        }
    }

    /// The values of an f32 tensor in host memory, to write; copied first if a clone shares them.
    ///
    /// # Errors
    /// [`Error::Runtime`] for another dtype or engine.
    pub fn as_mut_slice(&mut self) -> Result<&mut [f32]> {
        match &mut self.storage {
            Storage::Host(Values::F32(values)) => Ok(Arc::<Vec<f32>>::make_mut(values)),
            other => Err(not_host_f32(&self.shape, other)),
        }
    }

    /// The values of a tensor in host memory, whatever their dtype.
    ///
    /// # Errors
    /// [`Error::Runtime`] for another engine.
    pub(super) fn host_values(&self) -> Result<&Values> {
        match &self.storage {
            Storage::Host(values) => Ok(values),
            #[cfg(feature = "cuda")]
            Storage::Gpu(..) => Err(refuse(format!("expected values in host memory, found {self:?}"))),
        }
    }

    /// A tensor of values in the memory of a GPU, which are as many as the shape holds.
    #[cfg(feature = "cuda")]
    pub(super) fn on_gpu(values: cuda::Values, engine: cuda::Cuda, shape: &[usize]) -> Self {
        Tensor { shape: shape.to_vec(), storage: Storage::Gpu(values, engine) }
    }

    /// The values of a tensor in the memory of a GPU.
    ///
    /// # Errors
    /// [`Error::Runtime`] for another engine.
    #[cfg(feature = "cuda")]
    pub(super) fn gpu_values(&self) -> Result<&cuda::Values> {
        match &self.storage {
            Storage::Gpu(values, _) => Ok(values),
            Storage::Host(_) => Err(refuse(format!("expected values on a GPU, found {self:?}"))),
        }
    }

    /// The shape and the values of a tensor in the memory of a GPU.
    ///
    /// # Errors
    /// Those of [`Tensor::gpu_values`].
    #[cfg(feature = "cuda")]
    pub(super) fn into_gpu_values(self) -> Result<(Vec<usize>, cuda::Values)> {
        match self.storage {
            Storage::Gpu(values, _) => Ok((self.shape, values)),
            Storage::Host(_) => Err(refuse(format!("expected values on a GPU, found {:?} in host memory", self.shape))),
        }
    }

    /// The values of a tensor in host memory.
    ///
    /// # Errors
    /// [`Error::Runtime`] for another dtype or engine.
    pub(super) fn slice_of<T: Element>(&self) -> Result<&[T]> {
        let values = self.host_values()?;
        T::slice(values).ok_or_else(|| refuse(format!("unexpected dtype of {self:?}")))
    }
}

fn not_host_f32(shape: &[usize], storage: &Storage) -> Error {
    let (dtype, engine) = (storage.dtype(), storage.engine());
    refuse(format!("expected f32 in host memory, found {dtype} {shape:?} on {}", engine.name()))
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} on {}", self.dtype(), self.shape, self.engine().name())
    }
}

/// The engine that holds all of `tensors`, of which there is at least one.
pub(super) fn one_engine(what: &str, tensors: &[&Tensor]) -> Result<Arc<dyn Engine>> {
    let engine = tensors[0].engine();
    match tensors.iter().find(|tensor| tensor.engine().name() != engine.name()) {
        None => Ok(engine),
        Some(other) => Err(refuse(format!("{what}: tensors on different engines: {:?} and {other:?}", tensors[0]))),
    }
}

pub(super) fn refuse(message: String) -> Error {
    Error::Runtime(message)
}
