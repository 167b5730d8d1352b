//! Every tensor that diffusers' `SD3Transformer2DModel` and `FluxTransformer2DModel` (0.33) have for a
//! configuration.

use super::config::{Architecture, FluxConfig, Sd3Config};

/// Width of the sinusoidal timestep (and guidance) embedding, fixed in diffusers.
const TIME_CHANNELS: usize = 256;

/// Names and shapes of all tensors, in the order of the modules.
pub fn expected_tensors(arch: &Architecture) -> Vec<(String, Vec<usize>)> {
    let mut list = List::default();
    match arch {
        Architecture::Sd3(config) => sd3(config, &mut list),
        Architecture::Flux(config) => flux(config, &mut list),
    }
    list.0
}

/// True if `name` lies in a transformer block, where every tensor takes part in the computation.
pub fn is_block_tensor(name: &str) -> bool {
    name.starts_with("transformer_blocks.") || name.starts_with("single_transformer_blocks.")
}

#[derive(Default)]
struct List(Vec<(String, Vec<usize>)>);

impl List {
    fn tensor(&mut self, name: &str, shape: &[usize]) {
        self.0.push((name.to_string(), shape.to_vec()));
    }

    fn linear(&mut self, name: &str, rows: usize, columns: usize) {
        self.tensor(&format!("{name}.weight"), &[rows, columns]);
        self.tensor(&format!("{name}.bias"), &[rows]);
    }

    /// `linear_1` and `linear_2` of a diffusers `TimestepEmbedding` or `PixArtAlphaTextProjection`.
    fn embedder(&mut self, name: &str, columns: usize, d: usize) {
        self.linear(&format!("{name}.linear_1"), d, columns);
        self.linear(&format!("{name}.linear_2"), d, d);
    }
}

fn sd3(c: &Sd3Config, list: &mut List) {
    let d = c.inner_dim();
    let p = c.patch_size;
    list.tensor("pos_embed.pos_embed", &[1, c.pos_embed_max_size * c.pos_embed_max_size, d]);
    list.tensor("pos_embed.proj.weight", &[d, c.in_channels, p, p]);
    list.tensor("pos_embed.proj.bias", &[d]);
    list.embedder("time_text_embed.timestep_embedder", TIME_CHANNELS, d);
    list.embedder("time_text_embed.text_embedder", c.pooled_projection_dim, d);
    list.linear("context_embedder", c.caption_projection_dim, c.joint_attention_dim);
    for block in 0..c.num_layers {
        let parts = JointBlock {
            width: d,
            head_dim: c.qk_norm.as_ref().map(|_| c.attention_head_dim),
            context_pre_only: block + 1 == c.num_layers,
            dual_attention: c.dual_attention_layers.contains(&block),
        };
        parts.list(&format!("transformer_blocks.{block}"), list);
    }
    list.linear("norm_out.linear", 2 * d, d);
    list.linear("proj_out", p * p * c.out_channels, d);
}

fn flux(c: &FluxConfig, list: &mut List) {
    let d = c.inner_dim();
    list.embedder("time_text_embed.timestep_embedder", TIME_CHANNELS, d);
    if c.guidance_embeds {
        list.embedder("time_text_embed.guidance_embedder", TIME_CHANNELS, d);
    }
    list.embedder("time_text_embed.text_embedder", c.pooled_projection_dim, d);
    list.linear("context_embedder", d, c.joint_attention_dim);
    list.linear("x_embedder", d, c.in_channels);
    for block in 0..c.num_layers {
        let parts = JointBlock {
            width: d,
            head_dim: Some(c.attention_head_dim),
            context_pre_only: false,
            dual_attention: false,
        };
        parts.list(&format!("transformer_blocks.{block}"), list);
    }
    for block in 0..c.num_single_layers {
        let b = format!("single_transformer_blocks.{block}");
        list.linear(&format!("{b}.norm.linear"), 3 * d, d);
        list.linear(&format!("{b}.proj_mlp"), 4 * d, d);
        list.linear(&format!("{b}.proj_out"), d, 5 * d);
        attention(&format!("{b}.attn"), d, Some(c.attention_head_dim), list);
    }
    list.linear("norm_out.linear", 2 * d, d);
    list.linear("proj_out", c.patch_size * c.patch_size * c.out_channels(), d);
}

/// A `JointTransformerBlock` (SD3) or `FluxTransformerBlock`.
struct JointBlock {
    width: usize,
    /// Length of the q and k norms, if there are any.
    head_dim: Option<usize>,
    /// The last SD3 block has no context output.
    context_pre_only: bool,
    dual_attention: bool,
}

impl JointBlock {
    fn list(&self, b: &str, list: &mut List) {
        let d = self.width;
        // Shift, scale and gate for attention and for FFN; dual attention has three more.
        list.linear(&format!("{b}.norm1.linear"), if self.dual_attention { 9 } else { 6 } * d, d);
        // Without a context output only scale and shift of its norm remain.
        list.linear(&format!("{b}.norm1_context.linear"), if self.context_pre_only { 2 } else { 6 } * d, d);

        attention(&format!("{b}.attn"), d, self.head_dim, list);
        for name in ["add_q_proj", "add_k_proj", "add_v_proj"] {
            list.linear(&format!("{b}.attn.{name}"), d, d);
        }
        list.linear(&format!("{b}.attn.to_out.0"), d, d);
        if !self.context_pre_only {
            list.linear(&format!("{b}.attn.to_add_out"), d, d);
        }
        if let Some(head_dim) = self.head_dim {
            list.tensor(&format!("{b}.attn.norm_added_q.weight"), &[head_dim]);
            list.tensor(&format!("{b}.attn.norm_added_k.weight"), &[head_dim]);
        }
        if self.dual_attention {
            attention(&format!("{b}.attn2"), d, self.head_dim, list);
            list.linear(&format!("{b}.attn2.to_out.0"), d, d);
        }

        let feed_forwards: &[&str] = if self.context_pre_only { &["ff"] } else { &["ff", "ff_context"] };
        for ff in feed_forwards {
            list.linear(&format!("{b}.{ff}.net.0.proj"), 4 * d, d);
            list.linear(&format!("{b}.{ff}.net.2"), d, 4 * d);
        }
    }
}

/// Projections and norms of one attention's own stream.
fn attention(name: &str, d: usize, head_dim: Option<usize>, list: &mut List) {
    for projection in ["to_q", "to_k", "to_v"] {
        list.linear(&format!("{name}.{projection}"), d, d);
    }
    if let Some(head_dim) = head_dim {
        list.tensor(&format!("{name}.norm_q.weight"), &[head_dim]);
        list.tensor(&format!("{name}.norm_k.weight"), &[head_dim]);
    }
}
