//! Reference models and their tensors.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use obsdiff::checkpoint::{TensorOut, write_safetensors};
use obsdiff::model::Transformer;
use obsdiff::ops::{DType, Tensor, cpu_engine};

use super::arrays::read;

/// A path below tests/data.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

/// A path below models.
pub fn models(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(path)
}

/// Every tensor of a safetensors file as f32.
pub fn tensors(path: &Path) -> HashMap<String, Tensor> {
    let tensor = |(name, array): (String, super::Array)| (name, Tensor::from_vec(array.f32(), array.shape).unwrap());
    read(path).into_iter().map(tensor).collect()
}

/// Writes f32 tensors as a safetensors file.
pub fn save(path: &Path, tensors: &HashMap<String, Tensor>) {
    let out = tensors.iter().map(|(name, tensor)| TensorOut::f32(name, tensor.dims(), tensor.as_slice().unwrap()));
    write_safetensors(path, &out.collect::<Vec<_>>(), &[]).unwrap();
}

/// A tensor with one value everywhere.
pub fn full(value: f32, shape: &[usize]) -> Tensor {
    Tensor::from_vec(vec![value; shape.iter().product()], shape).unwrap()
}

/// Entry `index` of the first axis.
pub fn entry(tensor: &Tensor, index: usize) -> Tensor {
    tensor.narrow(0, index, 1).unwrap().reshape(&tensor.dims()[1..]).unwrap()
}

pub fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Changes the tensors of a safetensors file of f32 in place.
pub fn rewrite(path: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let mut all = tensors(path);
    change(&mut all);
    save(path, &all);
}

/// The transformer of a pipeline folder.
pub fn load_transformer(folder: &Path, dtype: DType) -> Transformer {
    Transformer::open(&obsdiff::checkpoint::Pipeline::open(folder).unwrap(), dtype, cpu_engine()).unwrap()
}

/// One of the reference pipelines.
pub struct Pipeline {
    pub folder: PathBuf,
}

impl Pipeline {
    pub fn reference(name: &str) -> Self {
        Pipeline { folder: data("pipelines").join(name) }
    }

    pub fn transformer(&self, dtype: DType) -> Transformer {
        load_transformer(&self.folder.join("pipeline"), dtype)
    }
}

/// max |a - b| / max |b|; the shapes must agree. NaN counts as infinitely far.
pub fn relative_maximum(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (found.to_vec().unwrap(), expected.to_vec().unwrap());
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let far = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    found.iter().zip(&expected).map(far).fold(0.0, f32::max) / largest
}

/// |a - b| / |b| in the Frobenius norm; the shapes must agree.
pub fn relative_frobenius(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (found.to_vec().unwrap(), expected.to_vec().unwrap());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = found.iter().zip(&expected).map(|(a, b)| square(a - b)).sum();
    (error / expected.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}
