//! What is shown of results: figures of merit and pictures. Never touches a device.

pub mod comparison;
pub mod grid;
