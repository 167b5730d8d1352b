//! `SD3Transformer2DModel`: SD3-medium, SD3.5-medium, SD3.5-large.

use super::ForwardInput;
use super::embeddings::{conditioning, crop_positions, patchify, unpatchify};
use super::joint_block::{self, Kind, Streams};
use super::pass::Pass;
use crate::checkpoint::config::Sd3Config;
use crate::error::{Error, Result};
use crate::ops::{self, Tensor};

pub(super) fn forward(config: &Sd3Config, pass: &mut Pass, input: &ForwardInput) -> Result<Tensor> {
    let (_, _, height, width) = input.hidden_states.dims4()?;
    let patch = config.patch_size;
    if height % patch != 0 || width % patch != 0 {
        return Err(Error::Usage(format!(
            "latents of {height} x {width} cannot be cut into patches of {patch} x {patch}; choose another --height or --width"
        )));
    }
    let grid = [height / patch, width / patch];
    let mut streams = Streams {
        image: embed_patches(pass, input.hidden_states, grid, patch)?,
        text: pass.linear("context_embedder", input.encoder_hidden_states)?,
    };
    let conditioning = conditioning(pass, input, input.timestep, None)?;
    for index in 0..config.num_layers {
        let kind = Kind {
            context_pre_only: index + 1 == config.num_layers,
            dual_attention: config.dual_attention_layers.contains(&index),
            rope: None,
        };
        streams = joint_block::forward(pass, &format!("transformer_blocks.{index}"), &kind, streams, &conditioning)?;
    }
    let image = pass.norm_continuous("norm_out.linear", &conditioning, &streams.image)?;
    unpatchify(&pass.linear("proj_out", &image)?, grid, patch)
}

/// The patch convolution (its stride is its size, so it is a Linear on patches) and the positions.
fn embed_patches(pass: &Pass, latents: &Tensor, grid: [usize; 2], patch: usize) -> Result<Tensor> {
    let kernel = pass.weights.get("pos_embed.proj.weight")?;
    let features = kernel.dim(0)?;
    let weight = kernel.reshape([features, kernel.elements() / features.max(1)])?;
    let patches = patchify(latents, patch)?.to_dtype(pass.activations)?;
    let patches = ops::linear(&patches, &weight, pass.weights.find("pos_embed.proj.bias"))?;
    let positions = crop_positions(pass.weights.get("pos_embed.pos_embed")?, grid)?;
    ops::add(patches, &positions.to_dtype(pass.activations)?)
}
