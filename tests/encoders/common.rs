//! Reference outputs, and folders that may be changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use obsdiff::ops::Tensor;
use obsdiff::{Error, Result};

pub use crate::support::{Array, assert_close, copy_folder, data, edit, read};

/// Largest difference from float64 that is allowed, as a share of the largest value. float32 runs of transformers differ
/// by up to 1.2e-6.
pub const TOLERANCE: f64 = 2e-6;

pub fn expected(file: &str) -> HashMap<String, Array> {
    read(data("encoders").join(file))
}

/// Token ids [rows, tokens].
pub fn ids(array: &Array) -> Vec<Vec<u32>> {
    array.values.chunks(array.shape[1]).map(|row| row.iter().map(|&id| id as u32).collect()).collect()
}

/// Compares a tensor with the reference of that name and prints the relative difference.
pub fn compare(expected: &HashMap<String, Array>, name: &str, found: &Tensor) {
    let reference = &expected[name];
    assert_eq!(found.dims(), reference.shape, "{name}");
    let values = found.as_slice().unwrap();
    let largest = reference.values.iter().fold(0f64, |m, x| m.max(x.abs()));
    let worst = values.iter().zip(&reference.values).fold(0f64, |m, (&x, y)| m.max((f64::from(x) - y).abs()));
    println!("{name}: {:.1e} of the largest value", worst / largest);
    assert_close(name, values, &reference.values, TOLERANCE);
}

/// A copy of an encoder's folder that may be changed.
pub fn changed(folder: &Path, change: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let copy = root.path().join("encoder");
    copy_folder(folder, &copy);
    change(&copy);
    (root, copy)
}

/// Checks that a result is a refusal in one line with this exit code and these parts.
pub fn refused<T>(result: Result<T>, exit_code: u8, parts: &[&str]) {
    let error: Error = result.err().expect("it must be refused");
    let sentence = error.to_string();
    assert_eq!(error.exit_code(), exit_code, "{sentence}");
    assert!(!sentence.contains('\n'), "{sentence}");
    for part in parts {
        assert!(sentence.contains(part), "expected {part:?} in: {sentence}");
    }
}
