//! Runs PTX on the CPU, warp by warp, and checks what a GPU leaves unchecked.
//!
//! A [`Module`] is PTX text of which every instruction was understood; a [`Machine`] is a device's memory on which its
//! kernels run. A launch ends with its statistics or with the first [`Fault`]: an access outside its allocation or to
//! bytes that nobody wrote, two accesses that nothing orders, a barrier or warp collective that not all lanes reach,
//! a `cp.async` that nobody waited for.
//!
//! # What a fault means
//!
//! Lanes of a warp run in lockstep and meet again where the flow graph says that they must. Hardware does not promise
//! either, so what holds by lockstep alone is a fault here: lanes that exchange data through memory need
//! `bar.warp.sync`, and a collective needs the very lanes that its mask names. Races are found by happens-before, not
//! by luck: one schedule is enough for most of them, and random schedules reach the others.
//!
//! # What is refused
//!
//! Parsing fails, with the line, on every opcode, modifier, type and operand form that is not run exactly. Modifiers
//! without effect on values (cache operators, eviction priorities, prefetch sizes) are accepted one by one, with the
//! reason beside them. Not interpreted are:
//!
//! - units that work beside the warp, whose order only a GPU can show: `wgmma`, `tcgen05`, `mbarrier`, `cp.async.bulk`
//!   and other bulk or tensor copies, `cp.async.mbarrier`, clusters, proxy fences;
//! - `mma` on integers, f8 and smaller floats, f64, block scaling, or shapes other than m16n8k{4,8,16} and, sparse,
//!   m16n8k{16,32}; `wmma`;
//! - f64 with a rounding other than to nearest; conversions to and from f8 and smaller floats, stochastic rounding;
//! - video instructions, 24-bit products, `fns`, `cnot`, `slct` on other than s32 and f32 signs;
//! - 128-bit registers, textures and surfaces, cache policies, `ldu`, `nanosleep`, `vprintf`;
//! - indirect and recursive calls, `alloca`, variables that hold addresses of others.
//!
//! # What runs more strictly than hardware
//!
//! A lane may not exit before its `cp.async` copies are waited for. Two lanes may not write one byte without order, even
//! the same value. A barrier takes whole warps only, also in the form without `.aligned`. Plain `mma.sp` takes ordered
//! metadata only. Results of `.approx` functions are the exact ones rounded once.

mod barrier;
mod decode;
mod execute;
mod fault;
mod instruction;
mod kernel;
mod launch;
mod machine;
mod memory;
mod memory_map;
mod module;
pub mod numeric;
mod operation;
pub mod race;
mod schedule;
pub mod shadow;
mod syntax;
pub mod tensor;
mod warp;

pub use fault::{Fault, FaultKind, Place};
pub use launch::LaunchStats;
pub use machine::{Machine, Options};
pub use module::{Module, ParseError};
pub use schedule::Schedule;
