//! The operations: plain functions on tensors here, one implementation per device below. Knows no
//! tensor names.

pub mod cpu;
mod forward;

pub use forward::{Qkv, attention, gated_residual, gelu, layer_norm_modulate, linear, rms_norm, rope};
