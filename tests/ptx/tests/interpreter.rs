//! The interpreter as its users see it: PTX text in, results or faults out.

#[path = "interpreter/harness.rs"]
mod harness;

#[path = "interpreter/atomic.rs"]
mod atomic;
#[path = "interpreter/barrier.rs"]
mod barrier;
#[path = "interpreter/collective.rs"]
mod collective;
#[path = "interpreter/compare.rs"]
mod compare;
#[path = "interpreter/control.rs"]
mod control;
#[path = "interpreter/convert.rs"]
mod convert;
#[path = "interpreter/copy_async.rs"]
mod copy_async;
#[path = "interpreter/data.rs"]
mod data;
#[path = "interpreter/float.rs"]
mod float;
#[path = "interpreter/host.rs"]
mod host;
#[path = "interpreter/integer.rs"]
mod integer;
#[path = "interpreter/matrix.rs"]
mod matrix;
#[path = "interpreter/memory.rs"]
mod memory;
#[path = "interpreter/refused.rs"]
mod refused;
