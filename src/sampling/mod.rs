//! (room)
use crate::error::Result;
use crate::model::Observer;
pub trait Probe: Observer {
    fn begin_step(&mut self, step: usize, total: usize) -> Result<()>;
}
