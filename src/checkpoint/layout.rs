//! The two ways in which a transformer's tensors are named and cut.

use serde::Serialize;

use super::config::Architecture;

/// The key of `config.json`, or of the metadata of a file in the original layout, under which the pruning is described.
pub const OBS_DIFF_KEY: &str = "_obs_diff";

/// How the tensors of a transformer are named and cut in its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A folder with `config.json`; one tensor per module.
    Diffusers,
    /// One file with the names of the model's own repository, as ComfyUI reads it; q, k and v are one tensor.
    Original,
}

impl Layout {
    /// For people: `diffusers`, `original (SD3)` or `original (FLUX)`.
    pub fn describe(self, arch: &Architecture) -> &'static str {
        match (self, arch) {
            (Layout::Diffusers, _) => "diffusers",
            (Layout::Original, Architecture::Sd3(_)) => "original (SD3)",
            (Layout::Original, Architecture::Flux(_)) => "original (FLUX)",
        }
    }
}

/// The bytes with their second half in front.
pub(super) fn swap_halves(bytes: &[u8]) -> Vec<u8> {
    let (upper, lower) = bytes.split_at(bytes.len() / 2);
    [lower, upper].concat()
}
