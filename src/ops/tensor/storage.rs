//! The values of a tensor on one of the engines.

use std::sync::Arc;

use half::{bf16, f16};

#[cfg(feature = "cuda")]
use crate::ops::cuda;
use crate::ops::{DType, Engine, cpu_engine};

/// Where the values of a tensor lie.
#[derive(Clone)]
pub(super) enum Storage {
    Host(Values),
    #[cfg(feature = "cuda")]
    Gpu(cuda::Values, cuda::Cuda),
}

impl Storage {
    pub fn dtype(&self) -> DType {
        match self {
            Storage::Host(values) => values.dtype(),
            #[cfg(feature = "cuda")]
            Storage::Gpu(values, _) => values.dtype(),
        }
    }

    pub fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Storage::Host(_) => cpu_engine(),
            #[cfg(feature = "cuda")]
            Storage::Gpu(_, engine) => Arc::new(engine.clone()),
        }
    }
}

/// Values in host memory.
#[derive(Clone)]
pub(in crate::ops) enum Values {
    F32(Arc<Vec<f32>>),
    F16(Arc<Vec<f16>>),
    BF16(Arc<Vec<bf16>>),
}

impl Values {
    pub fn dtype(&self) -> DType {
        match self {
            Values::F32(_) => DType::F32,
            Values::F16(_) => DType::F16,
            Values::BF16(_) => DType::BF16,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F16(values) => values.len(),
            Values::BF16(values) => values.len(),
        }
    }
}

/// A type of values.
pub(in crate::ops) trait Element: Copy + Default + Send + Sync {
    fn into_values(values: Vec<Self>) -> Values;
    /// The slice, if `values` are of this type.
    fn slice(values: &Values) -> Option<&[Self]>;
}

impl Element for f32 {
    fn into_values(values: Vec<Self>) -> Values {
        Values::F32(Arc::new(values))
    }

    fn slice(values: &Values) -> Option<&[Self]> {
        if let Values::F32(values) = values { Some(values) } else { None }
    }
}

impl Element for f16 {
    fn into_values(values: Vec<Self>) -> Values {
        Values::F16(Arc::new(values))
    }

    fn slice(values: &Values) -> Option<&[Self]> {
        if let Values::F16(values) = values { Some(values) } else { None }
    }
}

impl Element for bf16 {
    fn into_values(values: Vec<Self>) -> Values {
        Values::BF16(Arc::new(values))
    }

    fn slice(values: &Values) -> Option<&[Self]> {
        if let Values::BF16(values) = values { Some(values) } else { None }
    }
}
