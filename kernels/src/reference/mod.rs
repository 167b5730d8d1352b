//! Each operation in float64, written for reading and not for speed: what the kernels are held against.

pub mod energy;
pub mod gram;
pub mod refine;
pub mod symm;
