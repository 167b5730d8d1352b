//! Runs PTX on the CPU, warp by warp, and checks what a GPU leaves unchecked.

mod fault;

pub use fault::{Fault, FaultKind, Place};
