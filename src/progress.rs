//! How far a long job is, told to whoever watches.

use crate::error::Result;

/// Hears how far the job is.
pub trait Progress: Sync {
    /// A stage of `steps` equal steps begins; an earlier one is over.
    fn begin(&self, stage: &str, steps: u64);
    /// One step is done. An error stops the job, for example because the user interrupted it.
    fn advance(&self) -> Result<()>;
}

/// Nobody watches.
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _: &str, _: u64) {}

    fn advance(&self) -> Result<()> {
        Ok(())
    }
}
