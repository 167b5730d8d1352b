//! What is wrong with a text encoder or its tokens is said in one sentence, before anything is computed.

use std::fs;
use std::path::Path;

use obsdiff::checkpoint::{TensorOut, write_safetensors};
use obsdiff::networks::{ClipText, T5};

use crate::common::{Array, changed, edit, read, refused};
use crate::text::encoder;

/// Writes the weights of a folder again after a change.
fn rewrite(folder: &Path, change: impl FnOnce(&mut std::collections::HashMap<String, Array>)) {
    let path = folder.join("model.safetensors");
    let mut tensors = read(&path);
    change(&mut tensors);
    let values: Vec<_> = tensors.iter().map(|(name, array)| (name, &array.shape, array.f32())).collect();
    let out = values.iter().map(|(name, shape, values)| TensorOut::f32(name, shape, values));
    write_safetensors(&path, &out.collect::<Vec<_>>(), &[]).unwrap();
}

fn clip_refused(change: impl FnOnce(&Path), parts: &[&str]) {
    let (_root, folder) = changed(&encoder("clip_text"), change);
    refused(ClipText::open(&folder), 3, parts);
}

fn t5_refused(change: impl FnOnce(&Path), parts: &[&str]) {
    let (_root, folder) = changed(&encoder("t5_gated"), change);
    refused(T5::open(&folder), 3, parts);
}

#[test]
fn missing_tensors_are_named() {
    let bias = "text_model.encoder.layers.2.mlp.fc1.bias";
    clip_refused(|f| rewrite(f, |all| drop(all.remove(bias))), &[bias, "is missing"]);
    let weight = "encoder.block.1.layer.1.DenseReluDense.wi_1.weight";
    t5_refused(|f| rewrite(f, |all| drop(all.remove(weight))), &[weight, "is missing"]);
    t5_refused(|f| rewrite(f, |all| drop(all.remove("shared.weight"))), &["shared.weight", "is missing"]);
}

#[test]
fn shapes_that_the_configuration_forbids_are_named() {
    let config = |from: &'static str, to: &'static str| move |f: &Path| edit(&f.join("config.json"), from, to);
    clip_refused(config("\"vocab_size\": 60", "\"vocab_size\": 61"), &["token_embedding", "[60, 24]", "[61, 24]"]);
    clip_refused(config("\"intermediate_size\": 56", "\"intermediate_size\": 55"), &["fc1.weight", "[56, 24]"]);
    t5_refused(config("\"d_kv\": 10", "\"d_kv\": 8"), &["SelfAttention.q.weight", "[30, 24]", "[24, 24]"]);
    t5_refused(config("\"vocab_size\": 50", "\"vocab_size\": 51"), &["shared.weight", "[50, 24]", "[51, 24]"]);
}

#[test]
fn configurations_of_other_models_are_refused() {
    let config = |from: &'static str, to: &'static str| move |f: &Path| edit(&f.join("config.json"), from, to);
    clip_refused(config("\"quick_gelu\"", "\"mish\""), &["`hidden_act`", "found mish", "quick_gelu"]);
    clip_refused(config("\"clip_text_model\"", "\"bert\""), &["`model_type`", "found bert", "clip_text_model"]);
    clip_refused(config("\"num_attention_heads\": 3", "\"num_attention_heads\": 5"), &["24 is no multiple", "5"]);
    clip_refused(config("\"num_attention_heads\": 3", "\"num_attention_heads\": 0"), &["`num_attention_heads` is 0"]);
    clip_refused(config("\"hidden_size\": 24", "\"hidden_size\": \"wide\""), &["config.json", "wide"]);
    t5_refused(config("\"gelu_new\"", "\"mish\""), &["`dense_act_fn`", "found mish"]);
    t5_refused(config("\"t5\"", "\"umt5\""), &["`model_type`", "found umt5", "t5"]);
    t5_refused(config("_num_buckets\": 32", "_num_buckets\": 2"), &["relative_attention_num_buckets", "2 and 128"]);
}

#[test]
fn missing_and_broken_files_are_named() {
    clip_refused(|f| fs::remove_file(f.join("config.json")).unwrap(), &["config.json does not exist"]);
    t5_refused(|f| fs::write(f.join("config.json"), "{").unwrap(), &["config.json", "not valid JSON"]);
    t5_refused(|f| fs::write(f.join("config.json"), "[]").unwrap(), &["config.json", "expected a JSON object"]);
    t5_refused(|f| fs::remove_file(f.join("model.safetensors")).unwrap(), &["model.safetensors does not exist"]);
    let pickle = |f: &Path| fs::rename(f.join("model.safetensors"), f.join("pytorch_model.bin")).unwrap();
    clip_refused(pickle, &["model.safetensors does not exist", "pytorch_model.bin is there"]);
}

#[test]
fn ids_and_rows_that_do_not_fit_are_refused() {
    let clip = ClipText::open(&encoder("clip_text")).unwrap();
    let t5 = T5::open(&encoder("t5_gated")).unwrap();
    let mut ignore = |_: usize, _: usize| Ok(());
    refused(clip.encode(&[vec![1, 60]], 0), 3, &["token_embedding", "60 rows", "row 60"]);
    refused(t5.encode(&[vec![1, 50]], &mut ignore), 3, &["shared.weight", "50 rows", "row 50"]);
    refused(clip.encode(&[vec![1; 78]], 0), 3, &["77 tokens", "78"]);
    refused(clip.encode(&[vec![1, 2]], 3), 2, &["clip skip 3", "has 3", "at most 2"]);
    refused(clip.encode(&[vec![1, 2], vec![1]], 0), 1, &["one positive length", "[2, 1]"]);
    refused(t5.encode(&[], &mut ignore), 1, &["one positive length"]);
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    let (_root, folder) = changed(&encoder("t5_gated"), |f| {
        let name = "encoder.block.1.layer.0.SelfAttention.k.weight";
        rewrite(f, |all| all.get_mut(name).unwrap().values[7] = f64::NAN);
    });
    let t5 = T5::open(&folder).unwrap();
    refused(t5.encode(&[vec![1, 2]], &mut |_, _| Ok(())), 4, &["SelfAttention.k.weight", "NaN", "index 7"]);
    let (_root, folder) = changed(&encoder("clip_text"), |f| {
        let name = "text_model.embeddings.token_embedding.weight";
        rewrite(f, |all| all.get_mut(name).unwrap().values[24] = f64::INFINITY);
    });
    let clip = ClipText::open(&folder).unwrap();
    refused(clip.encode(&[vec![1, 2]], 0), 4, &["last hidden state", "NaN or infinity"]);
}
