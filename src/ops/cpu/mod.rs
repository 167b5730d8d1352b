//! The operations on the CPU, in float32, on plain row-major slices.

pub mod attention;
pub mod gated_residual;
pub mod gelu;
pub mod layer_norm;
pub mod linear;
pub mod rms_norm;
pub mod rope;
pub mod simd;
