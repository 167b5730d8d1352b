//! Every check in one list, and whether a kernel repeats itself.

use crate::check::{
    Run, Scale, attention, elementwise, energy, factor, gemm, gram, normalize, pack24, rearrange, refine, spmm24,
    sweep, symm, triangle,
};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::witness::Witness;

/// The cases of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    pub operation: &'static str,
    pub run: Run,
}

/// All operations, in the order of the main job.
pub const ALL: &[Check] = &[
    Check { operation: "gram", run: gram::run },
    Check { operation: "factor", run: factor::run },
    Check { operation: "sweep", run: sweep::run },
    Check { operation: "symm", run: symm::run },
    Check { operation: "refine", run: refine::run },
    Check { operation: "energy", run: energy::run },
    Check { operation: "pack24", run: pack24::run },
    Check { operation: "gemm", run: gemm::run },
    Check { operation: "spmm24", run: spmm24::run },
    Check { operation: "attention", run: attention::run },
    Check { operation: "normalize", run: normalize::run },
    Check { operation: "elementwise", run: elementwise::run },
    Check { operation: "rearrange", run: rearrange::run },
    Check { operation: "triangle", run: triangle::run },
];

/// Runs the small cases of a check `runs` times and compares every byte that came back.
///
/// # Errors
/// [`Error::Device`] naming the operation if two runs differ; those of the check.
pub fn repeats(device: &Device, check: &Check, runs: usize) -> Result<()> {
    let mut first = None;
    for run in 1..=runs {
        let witness = Witness::new(device.clone());
        (check.run)(&Device::new(witness.clone()), Scale::Small, &mut |_| {})?;
        let digest = witness.digest();
        if *first.get_or_insert(digest) != digest {
            return Err(Error::Device {
                call: check.operation.into(),
                problem: format!("run {run} of {runs} gave other bytes than the first"),
            });
        }
    }
    Ok(())
}
