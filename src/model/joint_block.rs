//! The block that SD3 and FLUX (double blocks) share: two streams with their own weights and one joint
//! attention. diffusers: `JointTransformerBlock`, `FluxTransformerBlock`.

use super::embeddings::Rope;
use super::pass::{ADDED, OWN, Pass, norm};
use super::taps::Stream;
use crate::error::Result;
use crate::ops::{Tensor, gated_residual};

/// What differs between the models and the blocks.
pub(super) struct Kind<'a> {
    /// The last SD3 block: text is read, not written.
    pub context_pre_only: bool,
    /// A second self-attention over the image tokens (SD3.5-medium).
    pub dual_attention: bool,
    /// FLUX: rotary embeddings of the image and of the text tokens.
    pub rope: Option<[&'a Rope; 2]>,
}

/// The two streams, each [batch, tokens, width].
pub(super) struct Streams {
    pub image: Tensor,
    pub text: Tensor,
}

/// One block. In a block with `context_pre_only` the text stream comes back as it was.
pub(super) fn forward(
    pass: &mut Pass,
    block: &str,
    kind: &Kind,
    streams: Streams,
    conditioning: &Tensor,
) -> Result<Streams> {
    let Streams { mut image, mut text } = streams;
    // shift, scale, gate of the attention; shift, scale, gate of the MLP; the same of attn2.
    let parts = if kind.dual_attention { 9 } else { 6 };
    let own = pass.modulation(&format!("{block}.norm1.linear"), conditioning, parts)?;
    let norm_image = norm(&image, &own[1], &own[0])?;
    let context_norm = format!("{block}.norm1_context.linear");
    let (norm_text, added) = if kind.context_pre_only {
        (pass.norm_continuous(&context_norm, conditioning, &text)?, None)
    } else {
        let added = pass.modulation(&context_norm, conditioning, 6)?;
        (norm(&text, &added[1], &added[0])?, Some(added))
    };

    let attn = format!("{block}.attn");
    let second = match kind.dual_attention {
        true => Some(second_attention(pass, block, &norm(&image, &own[7], &own[6])?)?),
        false => None,
    };
    let [image_rope, text_rope] = kind.rope.map_or([None, None], |ropes| ropes.map(Some));
    let image_qkv = pass.project(&attn, &OWN, &norm_image, image_rope)?;
    let text_qkv = pass.project(&attn, &ADDED, &norm_text, text_rope)?;
    let attended = pass.attention(&[image_qkv, text_qkv])?;

    let output = pass.linear(&format!("{attn}.to_out.0"), &attended[0])?;
    image = gated_residual(&image, &own[2], &output)?;
    if let Some(second) = second {
        image = gated_residual(&image, &own[8], &second)?;
    }
    let output = pass.feed_forward(&format!("{block}.ff"), &norm(&image, &own[4], &own[3])?)?;
    image = gated_residual(&image, &own[5], &output)?;
    pass.block_output(block, Stream::Image, &image)?;

    if let Some(added) = added {
        let output = pass.linear(&format!("{attn}.to_add_out"), &attended[1])?;
        text = gated_residual(&text, &added[2], &output)?;
        let output = pass.feed_forward(&format!("{block}.ff_context"), &norm(&text, &added[4], &added[3])?)?;
        text = gated_residual(&text, &added[5], &output)?;
        pass.block_output(block, Stream::Text, &text)?;
    }
    Ok(Streams { image, text })
}

/// Self-attention of the image tokens, through its output Linear.
fn second_attention(pass: &mut Pass, block: &str, x: &Tensor) -> Result<Tensor> {
    let attn = format!("{block}.attn2");
    let qkv = pass.project(&attn, &OWN, x, None)?;
    let attended = pass.attention(&[qkv])?;
    pass.linear(&format!("{attn}.to_out.0"), &attended[0])
}
