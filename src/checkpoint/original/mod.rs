//! Transformers in one file with the names of the original SD3, SD3.5 and FLUX.1 repositories, as ComfyUI keeps them.
//!
//! ```text
//! detect -> infer -> table -> open      a file becomes a Checkpoint with the names of diffusers
//!                    table -> write     and a Checkpoint of either layout such a file
//! ```

mod detect;
mod infer;
mod open;
mod table;
mod write;

pub use detect::{is_original, refuse_other_formats};
pub use open::{Source, only_file_in};
pub(super) use write::{entries, metadata};

/// In front of the names in a file that bundles other networks.
const BUNDLED: &str = "model.diffusion_model.";
/// Names that belong to other networks where the transformer's own have nothing in front.
const OTHER_NETWORKS: [&str; 6] =
    ["first_stage_model.", "vae.", "text_encoders.", "cond_stage_model.", "conditioner.", "model_ema."];
