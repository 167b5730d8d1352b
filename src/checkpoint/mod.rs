//! Checkpoints of diffusers and of the original repositories: read (memory-mapped shards), checked against the
//! configuration, written atomically with deterministic bytes.
//!
//! ```text
//! header -> file -> shards -> original -> pipeline        reading, each one layer above the last
//! shapes                                                  what a configuration promises
//! writer -> save -> model_writer, inside an output folder writing
//! writer -> staged                                       writing several files into a folder with others
//! ```

pub mod config;
pub mod convert;
pub mod file;
pub mod header;
pub mod layout;
pub mod model_writer;
pub mod original;
pub mod output;
pub mod pipeline;
pub mod save;
pub mod scan;
pub mod shapes;
pub mod shards;
pub mod staged;
pub mod writer;

pub use file::SafetensorsFile;
pub use header::{Dtype, TensorInfo};
pub use layout::Layout;
pub use model_writer::ModelWriter;
pub use output::OutputFolder;
pub use pipeline::Pipeline;
pub use save::{copy_components, save_like, write_config};
pub use shards::Checkpoint;
pub use staged::StagedFiles;
pub use writer::{TensorOut, write_atomic, write_safetensors};
