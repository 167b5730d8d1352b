//! Runs PTX on the CPU, warp by warp, and checks what a GPU leaves unchecked.

mod fault;
pub mod numeric;
pub mod race;
pub mod shadow;
pub mod tensor;

pub use fault::{Fault, FaultKind, Place};
