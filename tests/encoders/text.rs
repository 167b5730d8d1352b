//! CLIP's text encoders and T5.

use std::fs;
use std::path::{Path, PathBuf};

use obsdiff::checkpoint::{Dtype, TensorOut, write_safetensors};
use obsdiff::networks::{ClipText, ClipTextOutput, T5};

use crate::common::{changed, compare, data, edit, expected, ids, read};

pub fn encoder(name: &str) -> PathBuf {
    data("encoders").join(name)
}

fn pipeline(name: &str) -> PathBuf {
    data("pipelines").join(name)
}

#[test]
fn encoders_of_the_pipelines_match_transformers() {
    let references = expected("pipelines.safetensors");
    for (name, parts) in [("sd3_medium", &["", "_2", "_3"][..]), ("flux_dev", &["", "_2"][..])] {
        let tokens = read(pipeline(name).join("expected.safetensors"));
        for part in parts {
            let folder = pipeline(name).join(format!("pipeline/text_encoder{part}"));
            let ids = ids(&tokens[&format!("input_ids.tokenizer{part}")]);
            let key = |what: &str| format!("{name}.text_encoder{part}.{what}");
            if references.contains_key(&key("pooled")) {
                let out = ClipText::open(&folder).unwrap().encode(&ids, 0).unwrap();
                compare(&references, &key("hidden0"), &out.hidden);
                compare(&references, &key("last"), &out.last);
                compare(&references, &key("pooled"), &out.pooled);
            } else {
                let out = T5::open(&folder).unwrap().encode(&ids, &mut |_, _| Ok(())).unwrap();
                compare(&references, &key("hidden"), &out);
            }
        }
    }
}

/// The own encoder with another activation and end of text, on rows whose texts end at different places.
fn clip_variant(activation: &str, eos: &str, skip: usize) -> ClipTextOutput {
    let (_root, folder) = changed(&encoder("clip_text"), |folder| {
        edit(&folder.join("config.json"), "\"quick_gelu\"", &format!("\"{activation}\""));
        edit(&folder.join("config.json"), "\"eos_token_id\": 41", &format!("\"eos_token_id\": {eos}"));
    });
    let ids = ids(&expected("expected.safetensors")["clip.ids"]);
    ClipText::open(&folder).unwrap().encode(&ids, skip).unwrap()
}

#[test]
fn activations_and_ends_of_text_match_transformers() {
    let references = expected("expected.safetensors");
    for (activation, eos) in [("quick_gelu", "41"), ("gelu", "2"), ("gelu_new", "41")] {
        let out = clip_variant(activation, eos, 0);
        compare(&references, &format!("clip.{activation}.last"), &out.last);
        compare(&references, &format!("clip.{activation}.pooled"), &out.pooled);
    }
}

#[test]
fn clip_skip_leaves_out_that_many_layers_more() {
    let references = expected("expected.safetensors");
    for skip in 0..3 {
        let out = clip_variant("quick_gelu", "41", skip);
        compare(&references, &format!("clip.quick_gelu.hidden{skip}"), &out.hidden);
        compare(&references, "clip.quick_gelu.last", &out.last);
    }
}

#[test]
fn without_an_end_of_text_the_first_token_stands_for_it() {
    let out = clip_variant("quick_gelu", "59", 0);
    let (rows, tokens, width) = out.last.dims3().unwrap();
    let ids = ids(&expected("expected.safetensors")["clip.ids"]);
    let (last, pooler) = (out.last.as_slice().unwrap(), out.pooler.as_slice().unwrap());
    for row in 0..rows {
        let place = ids[row].iter().position(|&id| id == 59).unwrap_or(0);
        assert_eq!(pooler[row * width..][..width], last[(row * tokens + place) * width..][..width], "row {row}");
    }
    assert!(ids.iter().any(|row| !row.contains(&59)), "a row without an end is what this is about");
}

#[test]
fn t5_matches_transformers_up_to_the_farthest_distances() {
    let references = expected("expected.safetensors");
    for (name, lengths) in [("t5_gated", &[16, 77, 256][..]), ("t5_relu", &[16][..])] {
        let t5 = T5::open(&encoder(name)).unwrap();
        for length in lengths {
            let ids = ids(&references[&format!("{name}.{length}.ids")]);
            let out = t5.encode(&ids, &mut |_, _| Ok(())).unwrap();
            compare(&references, &format!("{name}.{length}.hidden"), &out);
        }
    }
}

#[test]
fn many_rows_give_what_each_row_gives_alone() {
    let references = expected("expected.safetensors");
    let t5 = T5::open(&encoder("t5_gated")).unwrap();
    let one = ids(&references["t5_gated.256.ids"]);
    // More tokens than pass through a layer together.
    let many: Vec<Vec<u32>> = (0..19).map(|row| one[0].iter().cycle().skip(row).take(256).copied().collect()).collect();
    let width = t5.width();
    let all = t5.encode(&many, &mut |_, _| Ok(())).unwrap().into_vec().unwrap();
    for row in [0, 7, 8, 18] {
        let alone = t5.encode(&many[row..=row], &mut |_, _| Ok(())).unwrap().into_vec().unwrap();
        let together = &all[row * 256 * width..][..256 * width];
        let largest = alone.iter().fold(0f32, |m, x| m.max(x.abs()));
        let worst = alone.iter().zip(together).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst <= 1e-6 * largest, "row {row}: {worst} of {largest}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let references = expected("expected.safetensors");
    let (ids, texts) = (ids(&references["t5_gated.77.ids"]), ids(&references["clip.ids"]));
    let [one, three] = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let t5 = T5::open(&encoder("t5_gated")).unwrap().encode(&ids, &mut |_, _| Ok(())).unwrap();
            let clip = ClipText::open(&encoder("clip_text")).unwrap().encode(&texts, 0).unwrap();
            [t5, clip.last, clip.hidden, clip.pooled].map(|x| x.into_vec().unwrap())
        })
    });
    assert_eq!(one, three);
}

#[test]
fn progress_counts_layers_and_can_end_the_call() {
    let t5 = T5::open(&encoder("t5_gated")).unwrap();
    let mut seen = Vec::new();
    t5.encode(&[vec![1, 2]], &mut |done, all| {
        seen.push((done, all));
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, [(1, 2), (2, 2)]);
    let stop = t5.encode(&[vec![1, 2]], &mut |_, _| Err(obsdiff::Error::Interrupted { journaled: false }));
    assert_eq!(stop.unwrap_err().exit_code(), 130);
}

/// Splits an encoder's weights into two shards and an index.
fn shard(folder: &Path, index: &str) {
    let whole = folder.join("model.safetensors");
    let tensors = read(&whole);
    let mut names: Vec<_> = tensors.keys().collect();
    names.sort();
    let mut places = serde_json::Map::new();
    for (number, names) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let file = format!("part-{number}.safetensors");
        let values: Vec<Vec<f32>> = names.iter().map(|name| tensors[*name].f32()).collect();
        let out = names.iter().zip(&values).map(|(name, values)| TensorOut::f32(name, &tensors[*name].shape, values));
        write_safetensors(folder.join(&file), &out.collect::<Vec<_>>(), &[]).unwrap();
        places.extend(names.iter().map(|name| (name.to_string(), file.clone().into())));
    }
    fs::remove_file(whole).unwrap();
    fs::write(folder.join(index), serde_json::json!({ "metadata": {}, "weight_map": places }).to_string()).unwrap();
}

#[test]
fn every_layout_of_the_files_gives_the_same() {
    let references = expected("expected.safetensors");
    let ids = ids(&references["t5_gated.16.ids"]);
    let encode =
        |folder: &Path| T5::open(folder).unwrap().encode(&ids, &mut |_, _| Ok(())).unwrap().into_vec().unwrap();
    let plain = encode(&encoder("t5_gated"));
    for index in
        ["model.safetensors.index.json", "model.safetensors.index.fp16.json", "model.fp16.safetensors.index.json"]
    {
        let (_root, folder) = changed(&encoder("t5_gated"), |folder| shard(folder, index));
        assert_eq!(encode(&folder), plain, "{index}");
    }
    let (_root, folder) = changed(&encoder("t5_gated"), |folder| {
        fs::rename(folder.join("model.safetensors"), folder.join("model.fp16.safetensors")).unwrap();
    });
    assert_eq!(encode(&folder), plain);
    let (_root, folder) = changed(&encoder("t5_gated"), |folder| {
        rename_tensor(&folder.join("model.safetensors"), "shared.weight", "encoder.embed_tokens.weight");
    });
    assert_eq!(encode(&folder), plain);
}

/// Writes a file again, as f32, with one tensor under another name.
fn rename_tensor(path: &Path, from: &str, to: &str) {
    let mut tensors = read(path);
    let tensor = tensors.remove(from).unwrap();
    tensors.insert(to.into(), tensor);
    let values: Vec<_> = tensors.iter().map(|(name, array)| (name, &array.shape, array.f32())).collect();
    let out = values.iter().map(|(name, shape, values)| TensorOut::f32(name, shape, values));
    write_safetensors(path, &out.collect::<Vec<_>>(), &[]).unwrap();
}

#[test]
fn a_whole_clip_gives_its_text_half() {
    let references = expected("expected.safetensors");
    let ids = ids(&references["clip.ids"]);
    for key in ["text_config", "text_config_dict"] {
        let (_root, folder) = changed(&encoder("clip_text"), |folder| {
            let config = folder.join("config.json");
            let text: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
            fs::write(config, serde_json::json!({ "model_type": "clip", key: text }).to_string()).unwrap();
        });
        let out = ClipText::open(&folder).unwrap().encode(&ids, 0).unwrap();
        compare(&references, "clip.quick_gelu.pooled", &out.pooled);
    }
}

#[test]
fn weights_beyond_half_precision_stay_finite() {
    let (_root, folder) = changed(&encoder("t5_gated"), |folder| {
        let path = folder.join("model.safetensors");
        let tensors = read(&path);
        let wide: Vec<_> = tensors
            .iter()
            .map(|(name, array)| {
                let factor = if name.ends_with("wo.weight") { 1e5 } else { 1.0 };
                let bytes: Vec<u8> =
                    array.values.iter().flat_map(|x| half::bf16::from_f64(x * factor).to_le_bytes()).collect();
                (name, &array.shape, bytes)
            })
            .collect();
        let out =
            wide.iter().map(|(name, shape, bytes)| TensorOut { name, dtype: Dtype::BF16, shape, bytes: bytes.into() });
        write_safetensors(&path, &out.collect::<Vec<_>>(), &[]).unwrap();
    });
    let out = T5::open(&folder).unwrap().encode(&[vec![3, 1, 4, 1, 5]], &mut |_, _| Ok(())).unwrap();
    assert!(out.as_slice().unwrap().iter().all(|x| x.is_finite()));
}
