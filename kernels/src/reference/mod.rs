//! Plain float64 versions of the operations, written to be read.

pub mod factor;
