//! What is told about a result: JSON with versioned schemas, a model card, pictures.

pub mod prune;
