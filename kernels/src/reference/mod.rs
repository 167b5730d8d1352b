//! Each operation in float64, as plainly as it can be written.

pub mod sweep;
