//! The CUDA engine on interpreted kernels, against the CPU engine and the official OBS-Diff cases. What passes here
//! has run every launcher and every kernel of the main job; only the GPU itself was missing.

#[path = "cuda/bench.rs"]
mod bench;
#[path = "cuda/forward.rs"]
mod forward;
#[path = "cuda/job.rs"]
mod job;
#[path = "cuda/layer.rs"]
mod layer;
#[path = "cuda/memory.rs"]
mod memory;
#[path = "cuda/sparse.rs"]
mod sparse;
mod support;

use std::sync::Arc;

use obsdiff::ops::Engine;
use obsdiff::ops::cuda::Cuda;
use obsdiff_kernels::interpreted::Interpreted;

/// The CUDA engine with the interpreter in the place of a GPU.
fn interpreted() -> Arc<dyn Engine> {
    Arc::new(Cuda::new(Interpreted::device(), "interpreted".into()))
}
