//! Files in the original layout of SD3 and FLUX: read, pruned, written, inspected, refused.

mod support;

#[path = "original/common.rs"]
mod common;
#[path = "original/pruning.rs"]
mod pruning;
#[path = "original/reading.rs"]
mod reading;
#[path = "original/refusals.rs"]
mod refusals;
