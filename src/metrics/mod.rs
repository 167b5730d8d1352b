//! How far pictures of a pruned model lie from those of the dense one: pair by pair, against their prompts, and as
//! distributions. Each measure is one file that begins with its formula and its source.
//!
//! ```text
//! two pictures          -> psnr, ssim, lpips
//! picture and prompt    -> clip
//! two sets of pictures  -> features -> frechet
//! two sets of latents   -> latents
//! ```

pub mod clip;
pub mod features;
pub mod frechet;
mod latents;
mod lpips;
mod psnr;
mod spread;
mod ssim;

pub use features::MlpFeatures;
pub use frechet::{Gaussian, frechet};
pub use latents::{LatentDistance, Squares};
pub use lpips::Lpips;
pub use psnr::psnr;
pub use spread::{Spread, infinite};
pub use ssim::ssim;

use crate::error::{Error, Result};
use crate::pictures::Picture;

/// Refuses two pictures of different sizes.
fn check_sizes(what: &str, a: &Picture, b: &Picture) -> Result<()> {
    let size = |picture: &Picture| format!("{} x {}", picture.width, picture.height);
    if (a.width, a.height) != (b.width, b.height) || a.rgb.len() != b.rgb.len() || a.rgb.is_empty() {
        return Err(Error::Runtime(format!("{what} of pictures of {} and {} pixels", size(a), size(b))));
    }
    Ok(())
}
