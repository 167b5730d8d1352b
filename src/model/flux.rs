//! `FluxTransformer2DModel`: FLUX.1-dev, FLUX.1-schnell.

use super::ForwardInput;
use super::embeddings::{Rope, conditioning};
use super::joint_block::{self, Kind, Streams};
use super::pass::{OWN, Pass, norm};
use super::taps::Stream;
use crate::checkpoint::config::FluxConfig;
use crate::error::{Error, Result};
use crate::ops::{Tensor, gated_residual, gelu};

pub(super) fn forward(config: &FluxConfig, pass: &mut Pass, input: &ForwardInput) -> Result<Tensor> {
    let guidance = match (config.guidance_embeds, input.guidance) {
        (true, Some(guidance)) => Some(guidance.iter().map(|g| g * 1000.0).collect::<Vec<f32>>()),
        (true, None) => {
            return Err(Error::Usage("this FLUX model takes the guidance scale as an input; give one".into()));
        }
        (false, _) => None,
    };
    let timestep: Vec<f32> = input.timestep.iter().map(|t| t * 1000.0).collect();
    let conditioning = conditioning(pass, input, &timestep, guidance.as_deref())?;
    let mut streams = Streams {
        image: pass.linear("x_embedder", input.hidden_states)?,
        text: pass.linear("context_embedder", input.encoder_hidden_states)?,
    };

    let (image_tokens, text_tokens) = (streams.image.dim(1)?, streams.text.dim(1)?);
    let text_positions = vec![[0; 3]; text_tokens];
    let image_positions = grid_positions(input.image_grid);
    let engine = pass.engine;
    let rope = |positions: &[[usize; 3]]| Rope::new(positions, &config.axes_dims_rope, engine);
    let text_rope = rope(&text_positions)?;
    let image_rope = rope(&image_positions)?;
    for index in 0..config.num_layers {
        let kind = Kind { context_pre_only: false, dual_attention: false, rope: Some([&image_rope, &text_rope]) };
        streams = joint_block::forward(pass, &format!("transformer_blocks.{index}"), &kind, streams, &conditioning)?;
    }

    let joint_rope = rope(&[text_positions, image_positions].concat())?;
    let mut joint = Tensor::cat(&[&streams.text, &streams.image], 1)?;
    for index in 0..config.num_single_layers {
        let block = format!("single_transformer_blocks.{index}");
        joint = single_block(pass, &block, joint, &conditioning, &joint_rope)?;
    }
    let image = joint.narrow(1, text_tokens, image_tokens)?;
    let image = pass.norm_continuous("norm_out.linear", &conditioning, &image)?;
    pass.linear("proj_out", &image)
}

/// `FluxSingleTransformerBlock`: attention and MLP side by side on all tokens, one output Linear for both.
fn single_block(pass: &mut Pass, block: &str, x: Tensor, conditioning: &Tensor, rope: &Rope) -> Result<Tensor> {
    // shift, scale, gate
    let parts = pass.modulation(&format!("{block}.norm.linear"), conditioning, 3)?;
    let normed = norm(&x, &parts[1], &parts[0])?;
    let qkv = pass.project(&format!("{block}.attn"), &OWN, &normed, Some(rope))?;
    let middle = gelu(pass.linear(&format!("{block}.proj_mlp"), &normed)?)?;
    let attended = pass.attention(&[qkv])?;
    let both = Tensor::cat(&[&attended[0], &middle], 2)?;
    let output = pass.linear(&format!("{block}.proj_out"), &both)?;
    let x = gated_residual(&x, &parts[2], &output)?;
    pass.block_output(block, Stream::Joint, &x)?;
    Ok(x)
}

/// Positions (0, row, column) of the image tokens, row by row.
fn grid_positions([rows, columns]: [usize; 2]) -> Vec<[usize; 3]> {
    (0..rows * columns).map(|token| [0, token / columns, token % columns]).collect()
}
