//! What is told about a result: JSON with versioned schemas, figures of merit, a model card, a page. Never
//! touches a device.

pub mod data;
pub mod facts;
pub mod html;
mod layout;
pub mod prune;
pub mod units;
