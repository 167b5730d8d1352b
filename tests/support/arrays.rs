//! Tensors as plain numbers: reading them, and comparing with a message that names the worst place.

use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

/// A float tensor widened to f64.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Array {
    pub fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }
}

/// Every tensor of a safetensors file, widened to f64.
pub fn read(path: impl AsRef<Path>) -> HashMap<String, Array> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("valid safetensors");
    file.iter()
        .map(|(name, view)| {
            let raw = view.data();
            let values = match view.dtype() {
                Dtype::F64 => raw.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
                Dtype::F32 => raw.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
                Dtype::F16 => raw.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f64()).collect(),
                Dtype::BF16 => raw.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f64()).collect(),
                Dtype::I64 => raw.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
                Dtype::U8 | Dtype::BOOL => raw.iter().map(|&b| f64::from(b)).collect(),
                other => panic!("{}: {name} has dtype {other:?}", path.display()),
            };
            (name.to_string(), Array { shape: view.shape().to_vec(), values })
        })
        .collect()
}

/// Panics unless `max |found - expected| <= tolerance * max |expected|`, naming the worst place.
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let scale = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let (at, worst) = found
        .iter()
        .zip(expected)
        .map(|(&f, e)| (f64::from(f) - e).abs())
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0, 0.0));
    assert!(
        worst <= tolerance * scale,
        "{what}: |{} - {}| = {worst:e} at {at} of {}, allowed {:e}",
        found[at],
        expected[at],
        found.len(),
        tolerance * scale
    );
    assert!(found.iter().all(|f| f.is_finite()), "{what}: not finite");
}

/// A reproducible pseudo-random number in [-0.5, 0.5) for position `i` of stream `seed`.
pub fn noise(seed: u64, i: usize) -> f32 {
    let mut z = (i as u64).wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
}

/// `n` values of [`noise`].
pub fn noises(seed: u64, n: usize) -> Vec<f32> {
    (0..n).map(|i| noise(seed, i)).collect()
}
