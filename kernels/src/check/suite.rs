//! Every check in one list, and whether a kernel repeats itself.

use crate::check::{Outcome, Scale};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::witness::Witness;

/// The cases of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    pub operation: &'static str,
    pub run: fn(&Device, Scale, &mut dyn FnMut(Outcome)) -> Result<()>,
}

/// All operations, in the order of the main job.
pub const ALL: &[Check] = &[];

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
