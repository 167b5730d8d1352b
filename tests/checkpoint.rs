//! Checkpoints: what is read is what was stored, what is broken is named, what is written is whole.

#[path = "checkpoint/common.rs"]
mod common;
#[path = "checkpoint/faults.rs"]
mod faults;
#[path = "checkpoint/reading.rs"]
mod reading;
#[path = "checkpoint/validating.rs"]
mod validating;
#[path = "checkpoint/writing.rs"]
mod writing;

mod support;
