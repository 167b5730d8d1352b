//! Timesteps, prompts and positions as the transformers take them in.

use super::ForwardInput;
use super::pass::Pass;
use crate::error::{Error, Result};
use crate::ops::{self, Engine, Tensor};

/// Channels of the sinusoidal timestep embedding.
const TIMESTEP_CHANNELS: usize = 256;

/// The conditioning vector [batch, width] after its SiLU, as every AdaLN reads it. `guidance` is the
/// embedded guidance scale of guidance-distilled models, times 1000.
pub(super) fn conditioning(
    pass: &mut Pass,
    input: &ForwardInput,
    timestep: &[f32],
    guidance: Option<&[f32]>,
) -> Result<Tensor> {
    let sinusoid = |values| pass.engine.upload(&sinusoid(values)?);
    let (timestep, guidance) = (sinusoid(timestep)?, guidance.map(sinusoid).transpose()?);
    let mut time = pass.embedder("time_text_embed.timestep_embedder", &timestep)?;
    if let Some(guidance) = guidance {
        time = ops::add(time, &pass.embedder("time_text_embed.guidance_embedder", &guidance)?)?;
    }
    let pooled = pass.embedder("time_text_embed.text_embedder", input.pooled_projections)?;
    ops::silu(ops::add(time, &pooled)?)
}

/// [cos, sin] of t * 10000^(-i / 128), [batch, 256]; every step in f32, as diffusers does it.
fn sinusoid(timesteps: &[f32]) -> Result<Tensor> {
    let half = TIMESTEP_CHANNELS / 2;
    let log_period = -(10_000f64.ln()) as f32;
    let frequencies: Vec<f32> = (0..half).map(|i| (log_period * i as f32 / half as f32).exp()).collect();
    let mut values = Vec::with_capacity(timesteps.len() * TIMESTEP_CHANNELS);
    for &t in timesteps {
        values.extend(frequencies.iter().map(|f| (t * f).cos()));
        values.extend(frequencies.iter().map(|f| (t * f).sin()));
    }
    Tensor::from_vec(values, [timesteps.len(), TIMESTEP_CHANNELS])
}

/// Angles of the rotary embedding, [tokens, head_dim / 2], on one engine.
pub(super) struct Rope {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl Rope {
    /// For tokens at `positions` (three axes); axis i turns `axes[i] / 2` channel pairs, pair j by
    /// position * 10000^(-2j / axes[i]), in float64.
    pub fn new(positions: &[[usize; 3]], axes: &[usize], engine: &dyn Engine) -> Result<Self> {
        let pairs = axes.iter().sum::<usize>() / 2;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in positions {
            for (&position, &channels) in position.iter().zip(axes) {
                for pair in 0..channels / 2 {
                    let frequency = 1.0 / 10_000f64.powf((2 * pair) as f64 / channels as f64);
                    let (s, c) = (position as f64 * frequency).sin_cos();
                    cos.push(c as f32);
                    sin.push(s as f32);
                }
            }
        }
        let shape = [positions.len(), pairs];
        let place = |values| engine.upload(&Tensor::from_vec(values, shape)?);
        Ok(Rope { cos: place(cos)?, sin: place(sin)? })
    }
}

/// Latents [batch, channels, height, width] as patches [batch, height/p * width/p, channels * p * p].
pub(super) fn patchify(latents: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = latents.dims4()?;
    let (rows, columns) = (height / patch, width / patch);
    let patches = latents.reshape([batch, channels, rows, patch, columns, patch])?;
    patches.permute(&[0, 2, 4, 1, 3, 5])?.reshape([batch, rows * columns, channels * patch * patch])
}

/// Patches [batch, rows * columns, p * p * channels] as latents [batch, channels, rows * p, columns * p].
pub(super) fn unpatchify(patches: &Tensor, [rows, columns]: [usize; 2], patch: usize) -> Result<Tensor> {
    let (batch, _, width) = patches.dims3()?;
    let channels = width / (patch * patch);
    let patches = patches.reshape([batch, rows, columns, patch, patch, channels])?;
    patches.permute(&[0, 5, 1, 3, 2, 4])?.reshape([batch, channels, rows * patch, columns * patch])
}

/// The middle rows x columns of a square position table [1, size * size, width], as [rows * columns, width].
///
/// # Errors
/// [`Error::Usage`] if the grid is larger than the table.
pub(super) fn crop_positions(table: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
    let (_, entries, width) = table.dims3()?;
    let size = entries.isqrt();
    if rows > size || columns > size {
        return Err(Error::Usage(format!(
            "the picture has {rows} x {columns} patches, but this model's position table ends at {size} x {size}; \
             choose a smaller --height or --width"
        )));
    }
    let square = table.narrow(1, 0, size * size)?.reshape([size, size, width])?;
    let middle = square.window(&[(size - rows) / 2, (size - columns) / 2, 0], &[rows, columns, width])?;
    middle.reshape([rows * columns, width])
}
