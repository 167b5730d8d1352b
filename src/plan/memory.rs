//! Bytes of a job in the memory of the engine that computes it.

use super::{Workload, parameters};
use crate::checkpoint::config::Architecture;
use crate::model::taps::Tap;
use crate::ops::{Place, Symmetric};
use crate::recipe::Recipe;
#[cfg(feature = "cuda")]
use crate::recipe::Refine;

/// Memory of the process itself: code and tables.
const PROCESS_BYTES: u64 = 20 << 20;

/// Memory of each thread: its stack and the packing buffers of the matrix products.
const THREAD_BYTES: u64 = 2 << 20;

impl Place {
    /// Bytes of a Hessian while it is gathered.
    pub fn hessian_bytes(self, columns: usize) -> u64 {
        match self {
            Place::Host => Symmetric::bytes(columns),
            #[cfg(feature = "cuda")]
            Place::Gpu => crate::ops::cuda::hessian_bytes(columns),
        }
    }

    /// Bytes that solving a tap holds at most beside its Hessian and the model.
    pub fn solve_bytes(self, tap: &Tap, recipe: &Recipe, threads: usize) -> u64 {
        match self {
            Place::Host => crate::prune::solve_bytes(tap, recipe, threads),
            #[cfg(feature = "cuda")]
            Place::Gpu => {
                let rows: Vec<usize> = tap.linears.iter().map(|linear| linear.rows).collect();
                let refined = recipe.refine != Refine::None;
                crate::ops::cuda::solve_bytes(&rows, tap.columns, recipe.block_size, refined)
            }
        }
    }
}

/// What every package of a job takes, whichever its taps are.
pub(super) struct Base {
    place: Place,
    model: u64,
    pub activations: u64,
}

/// What the taps of one pass take, gathered and solved in order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub hessians: u64,
    /// Largest sum of the Hessians that are not used up and the workspace of the tap that is being solved.
    solving: u64,
}

impl Base {
    pub fn new(arch: &Architecture, work: &Workload) -> Self {
        let process = match work.place {
            Place::Host => PROCESS_BYTES + work.threads as u64 * THREAD_BYTES,
            #[cfg(feature = "cuda")]
            Place::Gpu => 0,
        };
        let model = parameters(arch) * work.bytes_per_weight + process;
        Base { place: work.place, model, activations: activation_bytes(arch, work) }
    }

    /// Peak bytes of one pass: the model, and the larger of calibration (all Hessians and the activations) and
    /// solution.
    pub fn peak(&self, load: Load) -> u64 {
        self.model + load.solving.max(load.hessians + self.activations)
    }

    /// `load` with one more tap, solved last.
    pub fn with(&self, load: Load, tap: &Tap, recipe: &Recipe, threads: usize) -> Load {
        if !gathers(self.place, recipe) {
            return load;
        }
        let hessian = self.place.hessian_bytes(tap.columns);
        let workspace = self.place.solve_bytes(tap, recipe, threads);
        Load { hessians: load.hessians + hessian, solving: (load.solving + hessian).max(hessian + workspace) }
    }

    /// The load of `taps`.
    pub fn load<'a>(&self, taps: impl IntoIterator<Item = &'a Tap>, recipe: &Recipe, threads: usize) -> Load {
        taps.into_iter().fold(Load::default(), |load, tap| self.with(load, tap, recipe, threads))
    }
}

/// Whether taps take memory of `place` at all: what needs no calibration is the host's work alone.
fn gathers(place: Place, recipe: &Recipe) -> bool {
    place == Place::Host || recipe.needs_calibration()
}

/// Bytes of activations that are alive at once in a forward pass.
fn activation_bytes(arch: &Architecture, work: &Workload) -> u64 {
    match work.place {
        Place::Host => host_activations(arch, work),
        #[cfg(feature = "cuda")]
        Place::Gpu => gpu_activations(arch, work),
    }
}

/// The residual streams, the modulated inputs, q, k, v and the attention output, and the FFN middle before and after
/// its activation.
fn host_activations(arch: &Architecture, work: &Workload) -> u64 {
    let tokens = (work.image_tokens + work.text_tokens) * work.batch_size * work.branches;
    let widths = match arch {
        Architecture::Sd3(_) => 3 + 8,
        Architecture::Flux(_) => 3 + 10,
    };
    (tokens * arch.inner_dim() * widths * size_of::<f32>()) as u64
}

/// In the dtype of the weights the tokens of the widest moment and the modulations; in f32 the embeddings, the
/// latents and the rotary angles.
///
/// Of a joint block the widest moment is in an FFN. Its stream holds ten widths: itself, its first norm, the attention
/// output before and after its Linear, the second norm, the middle of four, and the result. Of the other one three are
/// left before its own FFN and five after it. A FLUX single block holds 13 widths of the joined tokens at its last
/// Linear, and the streams that were joined.
#[cfg(feature = "cuda")]
fn gpu_activations(arch: &Architecture, work: &Workload) -> u64 {
    let float = size_of::<f32>();
    let width = arch.inner_dim() * work.bytes_per_weight as usize;
    let (image, text) = (work.image_tokens, work.text_tokens);
    let double = (10 * image + 3 * text).max(5 * image + 10 * text);
    let (widest, channels, angles) = match arch {
        Architecture::Sd3(c) => (double, c.in_channels * c.patch_size * c.patch_size, 0),
        Architecture::Flux(c) => {
            let single = if c.num_single_layers > 0 { 14 * (image + text) } else { 0 };
            // Two sets, of the separate and of the joined tokens; cosine and sine of half a head each.
            (double.max(single), c.in_channels, 2 * (image + text) * c.attention_head_dim)
        }
    };
    // The conditioning, its projections of both streams (nine parts at most and six) and the larger in one piece.
    let modulations = 1 + 9 + 6 + 9;
    let embeddings = text * arch.joint_attention_dim() + arch.pooled_projection_dim();
    // The latents, those of both branches in one tensor, and their patches.
    let latents = 3 * image * channels;
    let rows = work.batch_size * work.branches;
    (rows * ((widest + modulations) * width + (embeddings + latents) * float) + angles * float) as u64
}
