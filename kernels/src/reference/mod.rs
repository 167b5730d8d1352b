//! Each operation in float64, written for reading and not for speed: what the kernels are held against.

pub mod attention;
pub mod elementwise;
pub mod normalize;
pub mod rearrange;
