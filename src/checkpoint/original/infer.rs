//! The sizes of a transformer from the names and shapes of its tensors, as diffusers and ComfyUI infer them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::detect::Family;
use crate::checkpoint::config::{Architecture, FluxConfig, Sd3Config};
use crate::error::{Error, Result};

/// Head dimension of every published SD3; models without q and k norms show it nowhere.
const SD3_HEAD_DIM: usize = 64;

/// Names, without a prefix, and shapes of a transformer in the original layout.
pub struct Shapes<'a> {
    pub shapes: BTreeMap<&'a str, &'a [usize]>,
    /// In front of the names, for messages.
    pub prefix: &'a str,
    /// For messages.
    pub path: &'a Path,
}

/// The architecture. Its `sample_size` is that of every published model, 128: no tensor depends on it.
///
/// # Errors
/// [`Error::TensorMissing`], [`Error::Shape`], [`Error::Malformed`] for sizes that contradict each other,
/// [`Error::Unsupported`] for a model that makes no pictures from text alone.
pub fn infer(family: Family, file: &Shapes) -> Result<Architecture> {
    let arch = match family {
        Family::Sd3 => Architecture::Sd3(sd3(file)?),
        Family::Flux => Architecture::Flux(flux(file)?),
    };
    arch.check(file.path)?;
    Ok(arch)
}

fn sd3(file: &Shapes) -> Result<Sd3Config> {
    let [width, in_channels, patch_size, _] = file.sizes("x_embedder.proj.weight")?;
    let [_, positions, _] = file.sizes("pos_embed")?;
    let pos_embed_max_size = positions.isqrt();
    if pos_embed_max_size * pos_embed_max_size != positions {
        return Err(file.shape("pos_embed", "[1, n * n, width]"));
    }
    let [_, joint_attention_dim] = file.sizes("context_embedder.weight")?;
    let [_, pooled_projection_dim] = file.sizes("y_embedder.mlp.0.weight")?;
    let norm = "joint_blocks.0.x_block.attn.ln_q.weight";
    let has_norm = file.shapes.contains_key(norm);
    let attention_head_dim = if has_norm { file.sizes::<1>(norm)?[0] } else { SD3_HEAD_DIM };
    let num_layers = file.blocks("joint_blocks")?;
    let is_dual =
        |block: &usize| file.shapes.contains_key(format!("joint_blocks.{block}.x_block.attn2.qkv.weight").as_str());
    Ok(Sd3Config {
        patch_size,
        in_channels,
        num_layers,
        attention_head_dim,
        num_attention_heads: file.heads(width, attention_head_dim)?,
        joint_attention_dim,
        caption_projection_dim: width,
        pooled_projection_dim,
        out_channels: file.out_channels(patch_size * patch_size)?,
        pos_embed_max_size,
        dual_attention_layers: (0..num_layers).filter(is_dual).collect(),
        qk_norm: has_norm.then(|| "rms_norm".into()),
        ..Sd3Config::default()
    })
}

fn flux(file: &Shapes) -> Result<FluxConfig> {
    let [width, in_channels] = file.sizes("img_in.weight")?;
    let [_, joint_attention_dim] = file.sizes("txt_in.weight")?;
    let [_, pooled_projection_dim] = file.sizes("vector_in.in_layer.weight")?;
    let (num_layers, num_single_layers) = (file.blocks("double_blocks")?, file.blocks("single_blocks")?);
    let norm = if num_layers > 0 {
        "double_blocks.0.img_attn.norm.query_norm.scale"
    } else {
        "single_blocks.0.norm.query_norm.scale"
    };
    let [attention_head_dim] = file.sizes(norm)?;
    let out_channels = file.out_channels(1)?;
    if out_channels != in_channels {
        return Err(Error::Unsupported {
            what: format!("model in {}", file.path.display()),
            found: format!("a FLUX with {in_channels} input and {out_channels} output channels (Fill, Depth or Canny)"),
            supported: "FLUX.1 models that make pictures from text alone".into(),
        });
    }
    Ok(FluxConfig {
        patch_size: 1,
        in_channels,
        out_channels: None,
        num_layers,
        num_single_layers,
        attention_head_dim,
        num_attention_heads: file.heads(width, attention_head_dim)?,
        joint_attention_dim,
        pooled_projection_dim,
        guidance_embeds: file.shapes.contains_key("guidance_in.in_layer.weight"),
        axes_dims_rope: rope_axes(attention_head_dim),
    })
}

/// How a head is shared among the axes: 7/16 each, rounded down to even, for rows and columns, the rest for time;
/// the published 128 gives [16, 56, 56].
fn rope_axes(head_dim: usize) -> Vec<usize> {
    let axis = head_dim * 7 / 16 / 2 * 2;
    vec![head_dim - 2 * axis, axis, axis]
}

impl Shapes<'_> {
    /// The shape of a tensor of `N` dimensions, all positive.
    fn sizes<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let shape = self.shapes.get(name).ok_or_else(|| Error::TensorMissing {
            path: self.path.to_path_buf(),
            tensor: format!("{}{name}", self.prefix),
            hint: "every transformer of this layout has one; download the file again".into(),
        })?;
        let sizes = <[usize; N]>::try_from(*shape).ok().filter(|sizes| !sizes.contains(&0));
        sizes.ok_or_else(|| self.shape(name, &format!("{N} positive sizes")))
    }

    fn shape(&self, name: &str, expected: &str) -> Error {
        Error::Shape {
            path: self.path.to_path_buf(),
            tensor: format!("{}{name}", self.prefix),
            expected: expected.into(),
            found: self.shapes.get(name).map_or(Vec::new(), |shape| shape.to_vec()),
        }
    }

    /// How many blocks there are of a kind, which must be numbered without a gap.
    fn blocks(&self, kind: &str) -> Result<usize> {
        let number = |name: &&str| name.strip_prefix(kind)?.strip_prefix('.')?.split('.').next()?.parse().ok();
        let numbers: BTreeSet<usize> = self.shapes.keys().filter_map(number).collect();
        match (0..).zip(&numbers).find(|(expected, found)| expected != *found) {
            Some((missing, _)) => Err(Error::malformed(
                self.path,
                format!("has {} blocks named `{}{kind}`, but no number {missing}", numbers.len(), self.prefix),
            )),
            None => Ok(numbers.len()),
        }
    }

    fn heads(&self, width: usize, head_dim: usize) -> Result<usize> {
        if width.is_multiple_of(head_dim) {
            return Ok(width / head_dim);
        }
        Err(Error::malformed(self.path, format!("width {width} does not divide into heads of {head_dim}")))
    }

    fn out_channels(&self, pixels: usize) -> Result<usize> {
        let name = "final_layer.linear.weight";
        let [rows, _] = self.sizes(name)?;
        if rows.is_multiple_of(pixels) {
            Ok(rows / pixels)
        } else {
            Err(self.shape(name, &format!("a multiple of {pixels} rows")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::table;
    use super::*;
    use crate::plan::{KNOWN_ARCHITECTURES, known_architecture};

    #[test]
    fn published_architectures_are_found_again() {
        for name in KNOWN_ARCHITECTURES {
            let arch = known_architecture(name).expect("known");
            let entries = table(&arch);
            let shapes = entries.iter().map(|entry| (entry.name.as_str(), entry.shape.as_slice())).collect();
            let family = if matches!(arch, Architecture::Sd3(_)) { Family::Sd3 } else { Family::Flux };
            let found = infer(family, &Shapes { shapes, prefix: "", path: Path::new("model") });
            assert_eq!(found.expect("a whole model"), arch, "{name}");
        }
    }
}
