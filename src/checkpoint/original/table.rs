//! Which tensors of diffusers each tensor of the original layout holds.

use std::collections::BTreeMap;

use crate::checkpoint::config::{Architecture, FluxConfig, Sd3Config};
use crate::checkpoint::shapes::expected_tensors;

/// One tensor of the original layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fused {
    /// Without a prefix.
    pub name: String,
    /// The tensors of diffusers that it holds, one below the other.
    pub parts: Vec<String>,
    /// Whether the upper and the lower half change places: the original writes shift above scale where diffusers'
    /// `AdaLayerNormContinuous` has scale above shift.
    pub halves_swapped: bool,
    pub shape: Vec<usize>,
    /// Rows of each part; together `shape[0]`.
    pub rows: Vec<usize>,
}

/// All tensors of the original layout of `arch`, in the order of the modules.
pub fn table(arch: &Architecture) -> Vec<Fused> {
    let shapes = expected_tensors(arch).into_iter().collect();
    let mut table = Table { shapes, entries: Vec::new() };
    match arch {
        Architecture::Sd3(config) => sd3(config, &mut table),
        Architecture::Flux(config) => flux(config, &mut table),
    }
    table.entries
}

struct Table {
    /// Of diffusers.
    shapes: BTreeMap<String, Vec<usize>>,
    entries: Vec<Fused>,
}

impl Table {
    fn tensor(&mut self, name: &str, part: &str) {
        self.fused(name.into(), vec![part.into()]);
    }

    /// Weight and bias of one Linear that stands for several.
    fn linear(&mut self, name: &str, parts: &[String]) {
        for tensor in ["weight", "bias"] {
            self.fused(format!("{name}.{tensor}"), parts.iter().map(|part| format!("{part}.{tensor}")).collect());
        }
    }

    fn modulation(&mut self, name: &str, part: &str, halves_swapped: bool) {
        let first = self.entries.len();
        self.linear(name, &[part.into()]);
        self.entries[first..].iter_mut().for_each(|entry| entry.halves_swapped = halves_swapped);
    }

    fn fused(&mut self, name: String, parts: Vec<String>) {
        let shapes: Vec<&Vec<usize>> = parts.iter().filter_map(|part| self.shapes.get(part)).collect();
        assert_eq!(shapes.len(), parts.len(), "{name} is made of tensors that {parts:?} names");
        let rows: Vec<usize> = shapes.iter().map(|shape| shape[0]).collect();
        let mut shape = shapes[0].clone();
        shape[0] = rows.iter().sum();
        self.entries.push(Fused { name, parts, halves_swapped: false, shape, rows });
    }
}

/// `[q, k, v]` of `attention`, and what else is below them in the same matrix.
fn fused_under(attention: &str, names: [&str; 3]) -> Vec<String> {
    names.map(|name| format!("{attention}.{name}")).to_vec()
}

const OWN: [&str; 3] = ["to_q", "to_k", "to_v"];
const CONTEXT: [&str; 3] = ["add_q_proj", "add_k_proj", "add_v_proj"];

fn sd3(config: &Sd3Config, table: &mut Table) {
    table.tensor("pos_embed", "pos_embed.pos_embed");
    table.linear("x_embedder.proj", &["pos_embed.proj".into()]);
    for (name, part) in [("t_embedder", "timestep_embedder"), ("y_embedder", "text_embedder")] {
        table.linear(&format!("{name}.mlp.0"), &[format!("time_text_embed.{part}.linear_1")]);
        table.linear(&format!("{name}.mlp.2"), &[format!("time_text_embed.{part}.linear_2")]);
    }
    table.linear("context_embedder", &["context_embedder".into()]);
    for block in 0..config.num_layers {
        let last = block + 1 == config.num_layers;
        let (own, context) = (format!("joint_blocks.{block}.x_block"), format!("joint_blocks.{block}.context_block"));
        let part = format!("transformer_blocks.{block}");
        table.modulation(&format!("{own}.adaLN_modulation.1"), &format!("{part}.norm1.linear"), false);
        table.modulation(&format!("{context}.adaLN_modulation.1"), &format!("{part}.norm1_context.linear"), last);

        let attention = format!("{part}.attn");
        table.linear(&format!("{own}.attn.qkv"), &fused_under(&attention, OWN));
        table.linear(&format!("{own}.attn.proj"), &[format!("{attention}.to_out.0")]);
        table.linear(&format!("{context}.attn.qkv"), &fused_under(&attention, CONTEXT));
        if !last {
            table.linear(&format!("{context}.attn.proj"), &[format!("{attention}.to_add_out")]);
        }
        let dual = config.dual_attention_layers.contains(&block);
        if dual {
            table.linear(&format!("{own}.attn2.qkv"), &fused_under(&format!("{part}.attn2"), OWN));
            table.linear(&format!("{own}.attn2.proj"), &[format!("{part}.attn2.to_out.0")]);
        }
        if config.qk_norm.is_some() {
            for letter in ["q", "k"] {
                let norm = format!("attn.ln_{letter}.weight");
                table.tensor(&format!("{own}.{norm}"), &format!("{attention}.norm_{letter}.weight"));
                table.tensor(&format!("{context}.{norm}"), &format!("{attention}.norm_added_{letter}.weight"));
                if dual {
                    let name = format!("{own}.attn2.ln_{letter}.weight");
                    table.tensor(&name, &format!("{part}.attn2.norm_{letter}.weight"));
                }
            }
        }
        let streams = [(&own, "ff"), (&context, "ff_context")];
        for (stream, ff) in &streams[..if last { 1 } else { 2 }] {
            table.linear(&format!("{stream}.mlp.fc1"), &[format!("{part}.{ff}.net.0.proj")]);
            table.linear(&format!("{stream}.mlp.fc2"), &[format!("{part}.{ff}.net.2")]);
        }
    }
    final_layer(table);
}

fn flux(config: &FluxConfig, table: &mut Table) {
    table.linear("img_in", &["x_embedder".into()]);
    table.linear("txt_in", &["context_embedder".into()]);
    let embedders =
        [("time_in", "timestep_embedder"), ("vector_in", "text_embedder"), ("guidance_in", "guidance_embedder")];
    for (name, part) in &embedders[..if config.guidance_embeds { 3 } else { 2 }] {
        table.linear(&format!("{name}.in_layer"), &[format!("time_text_embed.{part}.linear_1")]);
        table.linear(&format!("{name}.out_layer"), &[format!("time_text_embed.{part}.linear_2")]);
    }
    for block in 0..config.num_layers {
        let name = format!("double_blocks.{block}");
        let part = format!("transformer_blocks.{block}");
        let streams = [
            ("img", "norm1", OWN, "to_out.0", "norm_", "ff"),
            ("txt", "norm1_context", CONTEXT, "to_add_out", "norm_added_", "ff_context"),
        ];
        for (stream, modulation, qkv, out, norm, ff) in streams {
            table.modulation(&format!("{name}.{stream}_mod.lin"), &format!("{part}.{modulation}.linear"), false);
            table.linear(&format!("{name}.{stream}_attn.qkv"), &fused_under(&format!("{part}.attn"), qkv));
            table.linear(&format!("{name}.{stream}_attn.proj"), &[format!("{part}.attn.{out}")]);
            for (letter, word) in [("q", "query"), ("k", "key")] {
                let scale = format!("{name}.{stream}_attn.norm.{word}_norm.scale");
                table.tensor(&scale, &format!("{part}.attn.{norm}{letter}.weight"));
            }
            table.linear(&format!("{name}.{stream}_mlp.0"), &[format!("{part}.{ff}.net.0.proj")]);
            table.linear(&format!("{name}.{stream}_mlp.2"), &[format!("{part}.{ff}.net.2")]);
        }
    }
    for block in 0..config.num_single_layers {
        let name = format!("single_blocks.{block}");
        let part = format!("single_transformer_blocks.{block}");
        table.modulation(&format!("{name}.modulation.lin"), &format!("{part}.norm.linear"), false);
        let mut first = fused_under(&format!("{part}.attn"), OWN);
        first.push(format!("{part}.proj_mlp"));
        table.linear(&format!("{name}.linear1"), &first);
        table.linear(&format!("{name}.linear2"), &[format!("{part}.proj_out")]);
        for (letter, word) in [("q", "query"), ("k", "key")] {
            table.tensor(&format!("{name}.norm.{word}_norm.scale"), &format!("{part}.attn.norm_{letter}.weight"));
        }
    }
    final_layer(table);
}

fn final_layer(table: &mut Table) {
    table.modulation("final_layer.adaLN_modulation.1", "norm_out.linear", true);
    table.linear("final_layer.linear", &["proj_out".into()]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::{KNOWN_ARCHITECTURES, known_architecture};

    #[test]
    fn every_tensor_of_diffusers_lies_in_exactly_one_of_the_original() {
        for name in KNOWN_ARCHITECTURES {
            let arch = known_architecture(name).expect("known");
            let entries = table(&arch);
            let names: BTreeSet<_> = entries.iter().map(|entry| &entry.name).collect();
            assert_eq!(names.len(), entries.len(), "{name}: a name appears twice");
            let mut parts: Vec<_> = entries.iter().flat_map(|entry| entry.parts.clone()).collect();
            let mut expected: Vec<_> = expected_tensors(&arch).into_iter().map(|(name, _)| name).collect();
            parts.sort();
            expected.sort();
            assert!(parts == expected, "{name}: {} parts, {} tensors", parts.len(), expected.len());
        }
    }

    #[test]
    fn published_shapes_are_as_published() {
        let shape = |arch: &str, name: &str| {
            let entries = table(&known_architecture(arch).expect("known"));
            entries.into_iter().find(|entry| entry.name == name).map(|entry| entry.shape)
        };
        assert_eq!(shape("flux.1-dev", "single_blocks.37.linear1.weight"), Some(vec![21504, 3072]));
        assert_eq!(shape("flux.1-dev", "guidance_in.in_layer.weight"), Some(vec![3072, 256]));
        assert_eq!(shape("flux.1-schnell", "guidance_in.in_layer.weight"), None);
        assert_eq!(shape("sd3-medium", "pos_embed"), Some(vec![1, 36864, 1536]));
        assert_eq!(shape("sd3.5-medium", "joint_blocks.12.x_block.attn2.qkv.weight"), Some(vec![4608, 1536]));
        assert_eq!(shape("sd3.5-medium", "joint_blocks.13.x_block.attn2.qkv.weight"), None);
        assert_eq!(shape("sd3.5-medium", "joint_blocks.0.x_block.adaLN_modulation.1.bias"), Some(vec![13824]));
        assert_eq!(
            shape("sd3.5-large", "joint_blocks.37.context_block.adaLN_modulation.1.weight"),
            Some(vec![4864, 2432])
        );
        assert_eq!(shape("sd3.5-large", "joint_blocks.37.context_block.attn.proj.weight"), None);
    }
}
