//! Which Linears may be pruned, which of them read the same input, and in which order they are taken.
//!
//! A *tap* is a distinct Linear input. All Linears of a tap share one Hessian. A tap is named after the
//! first Linear that reads it, so that `Observer::observe(module, input)` is called with that name once
//! per forward call. AdaLN, embedders, `norm_out` and the model's own `proj_out` are never pruned.

use crate::checkpoint::config::Architecture;

/// One Linear: `rows` outputs, weight `[rows, columns]` at `{name}.weight`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Module path in diffusers, for example `transformer_blocks.0.attn.to_q`.
    pub name: String,
    pub rows: usize,
}

impl Linear {
    /// Name of the weight tensor in the checkpoint.
    pub fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }
}

/// The tokens that a tap sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Image,
    Text,
    /// Text and image tokens concatenated (FLUX single blocks).
    Joint,
}

/// One distinct Linear input and the Linears that read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tap {
    /// Input features d; the Hessian is `[d, d]`.
    pub columns: usize,
    pub stream: Stream,
    /// At least one; the first gives the tap its name.
    pub linears: Vec<Linear>,
}

impl Tap {
    /// The module name under which the model shows this input.
    pub fn name(&self) -> &str {
        &self.linears[0].name
    }
}

/// The basic units of calibration packages (OBS-Diff section 3.4), in block order: inputs of attention,
/// attention outputs, first FFN Linear, second FFN Linear. Each unit lists its taps.
pub fn units(arch: &Architecture) -> Vec<Vec<Tap>> {
    let d = arch.inner_dim();
    let mut units = Vec::new();
    match arch {
        Architecture::Sd3(c) => {
            for block in 0..c.num_layers {
                let last = block + 1 == c.num_layers;
                let dual = c.dual_attention_layers.contains(&block);
                units.extend(joint_block(&format!("transformer_blocks.{block}"), d, last, dual));
            }
        }
        Architecture::Flux(c) => {
            for block in 0..c.num_layers {
                units.extend(joint_block(&format!("transformer_blocks.{block}"), d, false, false));
            }
            for block in 0..c.num_single_layers {
                let b = format!("single_transformer_blocks.{block}");
                let inputs = &[("attn.to_q", d), ("attn.to_k", d), ("attn.to_v", d), ("proj_mlp", 4 * d)];
                units.push(vec![tap(&b, Stream::Joint, d, inputs)]);
                units.push(vec![tap(&b, Stream::Joint, 5 * d, &[("proj_out", d)])]);
            }
        }
    }
    units
}

/// Every tap of the model in unit order. FLUX.1 has 228, SD3.5-large 301.
pub fn taps(arch: &Architecture) -> Vec<Tap> {
    units(arch).into_iter().flatten().collect()
}

/// The four units of an SD3 block or a FLUX double block.
fn joint_block(b: &str, d: usize, context_pre_only: bool, dual_attention: bool) -> Vec<Vec<Tap>> {
    use Stream::{Image, Text};
    let mut inputs = vec![tap(b, Image, d, &[("attn.to_q", d), ("attn.to_k", d), ("attn.to_v", d)])];
    if dual_attention {
        inputs.push(tap(b, Image, d, &[("attn2.to_q", d), ("attn2.to_k", d), ("attn2.to_v", d)]));
    }
    inputs.push(tap(b, Text, d, &[("attn.add_q_proj", d), ("attn.add_k_proj", d), ("attn.add_v_proj", d)]));
    let mut outputs = vec![tap(b, Image, d, &[("attn.to_out.0", d)])];
    if dual_attention {
        outputs.push(tap(b, Image, d, &[("attn2.to_out.0", d)]));
    }
    let mut up = vec![tap(b, Image, d, &[("ff.net.0.proj", 4 * d)])];
    let mut down = vec![tap(b, Image, 4 * d, &[("ff.net.2", d)])];
    if !context_pre_only {
        outputs.push(tap(b, Text, d, &[("attn.to_add_out", d)]));
        up.push(tap(b, Text, d, &[("ff_context.net.0.proj", 4 * d)]));
        down.push(tap(b, Text, 4 * d, &[("ff_context.net.2", d)]));
    }
    vec![inputs, outputs, up, down]
}

fn tap(block: &str, stream: Stream, columns: usize, linears: &[(&str, usize)]) -> Tap {
    let linears = linears.iter().map(|&(name, rows)| Linear { name: format!("{block}.{name}"), rows }).collect();
    Tap { columns, stream, linears }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::config::{FluxConfig, Sd3Config};

    #[test]
    fn tap_counts_match_the_published_models() {
        let flux = Architecture::Flux(FluxConfig::default());
        assert_eq!(taps(&flux).len(), 228);
        let large =
            Sd3Config { num_layers: 38, num_attention_heads: 38, caption_projection_dim: 2432, ..Sd3Config::default() };
        assert_eq!(taps(&Architecture::Sd3(large)).len(), 301);
    }
}
