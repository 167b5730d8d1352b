//! Each operation in float64, written for reading and not for speed: what the kernels are held against.

pub mod gram;

