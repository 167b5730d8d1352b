//! What is told about a result: JSON with versioned schemas, figures of merit, a model card. Never
//! touches a device.

pub mod prune;
