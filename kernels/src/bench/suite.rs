//! Every benchmark in one list.

use super::{Measurement, Timer, attention, factor, gram, spmm24, sweep};
use crate::error::Result;

/// The measurements of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Bench {
    pub operation: &'static str,
    pub run: fn(&Timer, &mut dyn FnMut(Measurement)) -> Result<()>,
}

/// All operations, in the order of the main job.
pub const ALL: &[Bench] = &[
    Bench { operation: "gram", run: gram::run },
    Bench { operation: "factor", run: factor::run },
    Bench { operation: "sweep", run: sweep::run },
    Bench { operation: "spmm24", run: spmm24::run },
    Bench { operation: "attention", run: attention::run },
];
