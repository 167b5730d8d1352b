//! diffusers checkpoints: read (memory-mapped shards), checked against the configuration, written
//! atomically with deterministic bytes.

pub mod config;
