//! Every benchmark in one list.

use super::{Measurement, Timer};
use crate::error::Result;

/// The measurements of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Bench {
    pub operation: &'static str,
    pub run: fn(&Timer, &mut dyn FnMut(Measurement)) -> Result<()>,
}

/// All operations, in the order of the main job.
pub const ALL: &[Bench] = &[];
