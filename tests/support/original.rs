//! Files in the original layout, made from diffusers folders by renaming and stacking.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

/// A tensor as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Every tensor of a safetensors file as it is stored.
pub fn stored(path: &Path) -> BTreeMap<String, Stored> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("valid safetensors");
    let tensor = |view: &safetensors::tensor::TensorView| Stored {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    file.iter().map(|(name, view)| (name.to_string(), tensor(&view))).collect()
}

/// The header of a safetensors file as JSON, in file order.
pub fn header(path: &Path) -> Map<String, Value> {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + length]).unwrap()
}

/// Writes tensors in the given order.
pub fn write(path: &Path, metadata: &Value, tensors: &[(String, Stored)]) {
    let mut header = Map::new();
    header.insert("__metadata__".into(), metadata.clone());
    let mut data: Vec<u8> = Vec::new();
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend(&tensor.bytes);
        let offsets = json!([start, data.len()]);
        let dtype = tensor.dtype.to_string();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": offsets }));
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

/// The tensors of a diffusers transformer under the original names, each behind `prefix`, in the reverse of the
/// alphabet.
pub fn to_original(diffusers: &BTreeMap<String, Stored>, prefix: &str) -> Vec<(String, Stored)> {
    let is_flux = diffusers.contains_key("x_embedder.weight");
    let numbers = diffusers.keys().filter_map(|name| name.strip_prefix("transformer_blocks.")?.split('.').next());
    let last_block = numbers.map(|number| number.parse::<usize>().unwrap()).max().unwrap();
    let mut parts: BTreeMap<String, Vec<(usize, Stored)>> = BTreeMap::new();
    for (name, tensor) in diffusers {
        let (original, row, swap) = if is_flux { flux(name) } else { sd3(name, last_block) };
        let mut tensor = tensor.clone();
        if swap {
            let half = tensor.bytes.len() / 2;
            tensor.bytes.rotate_left(half);
        }
        parts.entry(original).or_default().push((row, tensor));
    }
    let stack = |mut parts: Vec<(usize, Stored)>| {
        parts.sort_by_key(|(row, _)| *row);
        let mut parts = parts.into_iter().map(|(_, tensor)| tensor);
        let mut whole = parts.next().unwrap();
        for part in parts {
            assert_eq!((part.dtype, &part.shape[1..]), (whole.dtype, &whole.shape[1..]));
            whole.shape[0] += part.shape[0];
            whole.bytes.extend(part.bytes);
        }
        whole
    };
    parts.into_iter().rev().map(|(name, parts)| (format!("{prefix}{name}"), stack(parts))).collect()
}

/// Splits `a.b.3.c.weight` after `count` parts.
fn split(name: &str, count: usize) -> (Vec<&str>, String) {
    let parts: Vec<&str> = name.split('.').collect();
    (parts[..count].to_vec(), parts[count..].join("."))
}

/// (original name, place among the parts of a fused tensor, whether the halves change places)
type Place = (String, usize, bool);

fn sd3(name: &str, last_block: usize) -> Place {
    let (module, kind) = name.rsplit_once('.').unwrap();
    let fixed = |module: &str| Some((format!("{module}.{kind}"), 0, false));
    let place = match module {
        "pos_embed" => Some(("pos_embed".to_string(), 0, false)),
        "pos_embed.proj" => fixed("x_embedder.proj"),
        "time_text_embed.timestep_embedder.linear_1" => fixed("t_embedder.mlp.0"),
        "time_text_embed.timestep_embedder.linear_2" => fixed("t_embedder.mlp.2"),
        "time_text_embed.text_embedder.linear_1" => fixed("y_embedder.mlp.0"),
        "time_text_embed.text_embedder.linear_2" => fixed("y_embedder.mlp.2"),
        "context_embedder" => fixed("context_embedder"),
        "norm_out.linear" => Some((format!("final_layer.adaLN_modulation.1.{kind}"), 0, true)),
        "proj_out" => fixed("final_layer.linear"),
        _ => None,
    };
    place.unwrap_or_else(|| {
        let (front, rest) = split(module, 2);
        let block: usize = front[1].parse().unwrap();
        let (stream, module, row) = match rest.as_str() {
            "norm1.linear" => ("x", "adaLN_modulation.1", 0),
            "norm1_context.linear" => ("context", "adaLN_modulation.1", 0),
            "attn.to_q" => ("x", "attn.qkv", 0),
            "attn.to_k" => ("x", "attn.qkv", 1),
            "attn.to_v" => ("x", "attn.qkv", 2),
            "attn.add_q_proj" => ("context", "attn.qkv", 0),
            "attn.add_k_proj" => ("context", "attn.qkv", 1),
            "attn.add_v_proj" => ("context", "attn.qkv", 2),
            "attn.to_out.0" => ("x", "attn.proj", 0),
            "attn.to_add_out" => ("context", "attn.proj", 0),
            "attn.norm_q" => ("x", "attn.ln_q", 0),
            "attn.norm_k" => ("x", "attn.ln_k", 0),
            "attn.norm_added_q" => ("context", "attn.ln_q", 0),
            "attn.norm_added_k" => ("context", "attn.ln_k", 0),
            "attn2.to_q" => ("x", "attn2.qkv", 0),
            "attn2.to_k" => ("x", "attn2.qkv", 1),
            "attn2.to_v" => ("x", "attn2.qkv", 2),
            "attn2.to_out.0" => ("x", "attn2.proj", 0),
            "attn2.norm_q" => ("x", "attn2.ln_q", 0),
            "attn2.norm_k" => ("x", "attn2.ln_k", 0),
            "ff.net.0.proj" => ("x", "mlp.fc1", 0),
            "ff.net.2" => ("x", "mlp.fc2", 0),
            "ff_context.net.0.proj" => ("context", "mlp.fc1", 0),
            "ff_context.net.2" => ("context", "mlp.fc2", 0),
            other => panic!("{other}"),
        };
        let swap = rest == "norm1_context.linear" && block == last_block;
        (format!("joint_blocks.{block}.{stream}_block.{module}.{kind}"), row, swap)
    })
}

fn flux(name: &str) -> Place {
    let (module, kind) = name.rsplit_once('.').unwrap();
    let fixed = |module: &str| Some((format!("{module}.{kind}"), 0, false));
    let place = match module {
        "x_embedder" => fixed("img_in"),
        "context_embedder" => fixed("txt_in"),
        "time_text_embed.timestep_embedder.linear_1" => fixed("time_in.in_layer"),
        "time_text_embed.timestep_embedder.linear_2" => fixed("time_in.out_layer"),
        "time_text_embed.text_embedder.linear_1" => fixed("vector_in.in_layer"),
        "time_text_embed.text_embedder.linear_2" => fixed("vector_in.out_layer"),
        "time_text_embed.guidance_embedder.linear_1" => fixed("guidance_in.in_layer"),
        "time_text_embed.guidance_embedder.linear_2" => fixed("guidance_in.out_layer"),
        "norm_out.linear" => Some((format!("final_layer.adaLN_modulation.1.{kind}"), 0, true)),
        "proj_out" => fixed("final_layer.linear"),
        _ => None,
    };
    place.unwrap_or_else(|| {
        let (front, rest) = split(module, 2);
        let block = front[1];
        if front[0] == "single_transformer_blocks" {
            let (module, row) = match rest.as_str() {
                "norm.linear" => ("modulation.lin", 0),
                "attn.to_q" => ("linear1", 0),
                "attn.to_k" => ("linear1", 1),
                "attn.to_v" => ("linear1", 2),
                "proj_mlp" => ("linear1", 3),
                "proj_out" => ("linear2", 0),
                "attn.norm_q" => return (format!("single_blocks.{block}.norm.query_norm.scale"), 0, false),
                "attn.norm_k" => return (format!("single_blocks.{block}.norm.key_norm.scale"), 0, false),
                other => panic!("{other}"),
            };
            return (format!("single_blocks.{block}.{module}.{kind}"), row, false);
        }
        let norm = |norm: &str| (format!("double_blocks.{block}.{norm}_norm.scale"), 0, false);
        let (module, row) = match rest.as_str() {
            "norm1.linear" => ("img_mod.lin", 0),
            "norm1_context.linear" => ("txt_mod.lin", 0),
            "attn.to_q" => ("img_attn.qkv", 0),
            "attn.to_k" => ("img_attn.qkv", 1),
            "attn.to_v" => ("img_attn.qkv", 2),
            "attn.add_q_proj" => ("txt_attn.qkv", 0),
            "attn.add_k_proj" => ("txt_attn.qkv", 1),
            "attn.add_v_proj" => ("txt_attn.qkv", 2),
            "attn.to_out.0" => ("img_attn.proj", 0),
            "attn.to_add_out" => ("txt_attn.proj", 0),
            "attn.norm_q" => return norm("img_attn.norm.query"),
            "attn.norm_k" => return norm("img_attn.norm.key"),
            "attn.norm_added_q" => return norm("txt_attn.norm.query"),
            "attn.norm_added_k" => return norm("txt_attn.norm.key"),
            "ff.net.0.proj" => ("img_mlp.0", 0),
            "ff.net.2" => ("img_mlp.2", 0),
            "ff_context.net.0.proj" => ("txt_mlp.0", 0),
            "ff_context.net.2" => ("txt_mlp.2", 0),
            other => panic!("{other}"),
        };
        (format!("double_blocks.{block}.{module}.{kind}"), row, false)
    })
}
