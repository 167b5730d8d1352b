//! Which original layout a file has, if any, and what it is otherwise.

use std::io::Read;
use std::path::Path;

use super::{BUNDLED, OTHER_NETWORKS};
use crate::checkpoint::convert::rounding;
use crate::checkpoint::file::SafetensorsFile;
use crate::error::{Error, Result};

/// The two original layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// SD3 and SD3.5.
    Sd3,
    /// FLUX.1.
    Flux,
}

/// What is supported, for messages.
const SUPPORTED: &str = "a diffusers folder, or one safetensors file in the original layout of SD3, SD3.5 \
                         (joint_blocks.0.x_block.attn.qkv.weight) or FLUX.1 (double_blocks.0.img_attn.qkv.weight)";

/// Whether the names in a file are those of an original SD3 or FLUX.1 transformer.
pub fn is_original(file: &SafetensorsFile) -> bool {
    find(file).is_some()
}

/// The layout and what is in front of its names.
///
/// # Errors
/// [`Error::Unsupported`], saying what the file is instead.
pub fn detect(file: &SafetensorsFile) -> Result<(Family, &'static str)> {
    find(file).ok_or_else(|| Error::Unsupported {
        what: format!("model in {}", file.path().display()),
        found: describe(file),
        supported: SUPPORTED.into(),
    })
}

fn find(file: &SafetensorsFile) -> Option<(Family, &'static str)> {
    if file.names().any(is_adapter) {
        return None;
    }
    [BUNDLED, ""].into_iter().find_map(|prefix| {
        let mut own = file.names().filter_map(|name| name.strip_prefix(prefix));
        own.find_map(|name| match name.split('.').next() {
            Some("joint_blocks") => Some((Family::Sd3, prefix)),
            Some("double_blocks" | "single_blocks") => Some((Family::Flux, prefix)),
            _ => None,
        })
    })
}

/// Names of low-rank adapters, whose other parts may look like a transformer's.
fn is_adapter(name: &str) -> bool {
    ["lora_unet_", "lora_transformer_", ".lora_", "_lora.", "qkv_lora", "proj_lora"]
        .iter()
        .any(|part| name.contains(part))
}

fn describe(file: &SafetensorsFile) -> String {
    let any = |test: &dyn Fn(&str) -> bool| file.names().any(test);
    if any(&is_adapter) {
        return "a LoRA, which is no model of its own: merge it into one first".into();
    }
    if any(&|name| name.contains("transformer_blocks.0.")) {
        return "a transformer with the names of diffusers: give the folder with its config.json".into();
    }
    if any(&|name| name.starts_with("model.diffusion_model.input_blocks.")) {
        return "the U-Net of a Stable Diffusion before SD3".into();
    }
    let count = file.names().count();
    file.names().next().map_or("no tensors".into(), |first| format!("{count} tensors of another kind, first `{first}`"))
}

/// Refuses kinds of files that are told by their first bytes.
///
/// # Errors
/// [`Error::Unsupported`], [`Error::Io`].
pub fn refuse_other_formats(path: &Path) -> Result<()> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(9).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    let found = match start.as_slice() {
        // A safetensors file: eight bytes of length, which may look like anything, and a JSON object.
        [_, _, _, _, _, _, _, _, b'{'] => return Ok(()),
        [b'G', b'G', b'U', b'F', ..] => "a GGUF file, usually with quantised weights",
        [b'P', b'K', 3, 4, ..] | [0x80, 2, ..] => "a PyTorch pickle (.ckpt, .pt, .bin)",
        _ => return Ok(()),
    };
    Err(Error::Unsupported {
        what: format!("model in {}", path.display()),
        found: found.into(),
        supported: "safetensors with F32, F16 or BF16 weights; take that file of the same model".into(),
    })
}

/// Refuses a transformer whose weights are quantised, saying how.
///
/// # Errors
/// [`Error::Unsupported`].
pub fn refuse_quantised(file: &SafetensorsFile, prefix: &str) -> Result<()> {
    let mut own = file.names().filter(|name| name.starts_with(prefix) && !is_carried(name, prefix));
    let Some((name, kind)) = own.find_map(|name| Some((name, quantisation(file, name)?))) else { return Ok(()) };
    Err(Error::Unsupported {
        what: format!("weights in {}", file.path().display()),
        found: format!("{kind} (tensor `{name}`)"),
        supported: "F32, F16 and BF16; take the file of the same model that is not quantised".into(),
    })
}

fn quantisation(file: &SafetensorsFile, name: &str) -> Option<String> {
    let last = name.rsplit('.').next().unwrap_or(name);
    if let Some(kind) = last.strip_prefix("bitsandbytes__") {
        return Some(format!("bitsandbytes {kind}"));
    }
    match last {
        "absmax" | "quant_map" | "nested_absmax" | "nested_quant_map" => return Some("bitsandbytes 4-bit".into()),
        "scaled_fp8" | "scale_weight" | "weight_scale" | "scale_input" | "input_scale" => {
            return Some("scaled fp8".into());
        }
        "qweight" | "wscales" | "qzeros" => return Some("4-bit integers".into()),
        _ => {}
    }
    let dtype = file.info(name)?.dtype;
    if rounding(dtype).is_some() {
        return None;
    }
    let text = dtype.to_string();
    Some(match text.as_str() {
        _ if text.starts_with("F8") => format!("fp8 ({text})"),
        _ if text.starts_with(['F', 'C']) => text,
        _ => format!("integers ({text})"),
    })
}

/// Whether a tensor belongs to another network of the file.
pub(super) fn is_carried(name: &str, prefix: &str) -> bool {
    if prefix.is_empty() {
        OTHER_NETWORKS.iter().any(|other| name.starts_with(other))
    } else {
        !name.starts_with(prefix)
    }
}
