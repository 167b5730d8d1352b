//! Every fault is refused with one sentence that names the file and what is wrong in it.

use std::fs;
use std::path::{Path, PathBuf};

use obsdiff::checkpoint::shards::{INDEX_FILE, SINGLE_FILE};
use obsdiff::checkpoint::{Pipeline, SafetensorsFile};
use proptest::prelude::*;

use crate::common::{MODELS, SHARDED, copy_folder, edit, model, raw_file};

const SHARD_2: &str = "diffusion_pytorch_model-00002-of-00004.safetensors";

/// A copy of a model that may be damaged.
fn damaged(name: &str, damage: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("model");
    copy_folder(&model(name), &copy);
    damage(&copy);
    (folder, copy)
}

/// Opens a damaged copy and checks that the refusal has exit code 3 and holds every part.
fn refused(name: &str, damage: impl FnOnce(&Path), parts: &[&str]) {
    let (_folder, copy) = damaged(name, damage);
    let error = Pipeline::open(&copy).and_then(|p| p.weights()).expect_err("the damage must be noticed");
    let sentence = error.to_string();
    assert_eq!(error.exit_code(), 3, "{sentence}");
    assert!(!sentence.contains('\n'), "{sentence}");
    for part in parts {
        assert!(sentence.contains(part), "expected {part:?} in: {sentence}");
    }
}

/// The sentence with which a file made by hand is refused.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.safetensors");
    fs::write(&path, bytes).unwrap();
    SafetensorsFile::open(&path).expect_err("the file is broken").to_string()
}

#[test]
fn a_missing_shard_is_named() {
    refused(SHARDED, |m| fs::remove_file(m.join("transformer").join(SHARD_2)).unwrap(), &[SHARD_2, "does not exist"]);
}

#[test]
fn a_truncated_shard_is_named_with_both_sizes() {
    let cut = |m: &Path| {
        let path = m.join("transformer").join(SHARD_2);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..200_000]).unwrap();
    };
    refused(SHARDED, cut, &[SHARD_2, "cut off", "353112", "200000", "transformer_blocks."]);
}

#[test]
fn an_index_that_names_an_absent_tensor_is_refused() {
    let add = |m: &Path| {
        edit(
            &m.join("transformer").join(INDEX_FILE),
            "\"weight_map\": {",
            &format!("\"weight_map\": {{\n    \"ghost.weight\": \"{SHARD_2}\","),
        );
    };
    refused(SHARDED, add, &["ghost.weight", "missing", SHARD_2]);
}

#[test]
fn a_tensor_that_the_index_does_not_name_is_refused() {
    let drop_line = |m: &Path| {
        let path = m.join("transformer").join(INDEX_FILE);
        let text = fs::read_to_string(&path).unwrap();
        let kept: Vec<_> = text.lines().filter(|l| !l.contains("\"context_embedder.bias\"")).collect();
        fs::write(&path, kept.join("\n")).unwrap();
    };
    refused(SHARDED, drop_line, &["`context_embedder.bias`", "the index does not name it"]);
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let duplicate = |m: &Path| {
        let folder = m.join("transformer");
        let header = r#"{"context_embedder.bias":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},"other":{"dtype":"BF16","shape":[1],"data_offsets":[2,4]}}"#;
        fs::write(folder.join("zz.safetensors"), raw_file(header, &[0; 4])).unwrap();
        edit(&folder.join(INDEX_FILE), "\"weight_map\": {", "\"weight_map\": {\n    \"other\": \"zz.safetensors\",");
    };
    refused(SHARDED, duplicate, &["zz.safetensors", "`context_embedder.bias`", "00001-of-00004"]);
}

#[test]
fn an_index_that_names_a_tensor_twice_is_refused() {
    let repeat = |m: &Path| {
        let index = m.join("transformer").join(INDEX_FILE);
        edit(
            &index,
            "\"weight_map\": {",
            &format!("\"weight_map\": {{\n    \"context_embedder.bias\": \"{SHARD_2}\","),
        );
    };
    refused(SHARDED, repeat, &[INDEX_FILE, "`context_embedder.bias` appears twice"]);
}

#[test]
fn an_index_that_points_outside_of_its_folder_is_refused() {
    let escape = |m: &Path| edit(&m.join("transformer").join(INDEX_FILE), SHARD_2, "../../etc/weights.safetensors");
    refused(SHARDED, escape, &[INDEX_FILE, "not a plain file name"]);
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let widen = |m: &Path| {
        edit(&m.join("transformer/config.json"), "\"joint_attention_dim\": 48", "\"joint_attention_dim\": 52")
    };
    refused(MODELS[0], widen, &["`context_embedder.weight`", "[64, 48]", "[64, 52]"]);
}

#[test]
fn a_missing_tensor_is_named() {
    let more =
        |m: &Path| edit(&m.join("transformer/config.json"), "\"num_single_layers\": 3", "\"num_single_layers\": 4");
    refused(MODELS[3], more, &["`single_transformer_blocks.3.", "is missing", "FluxTransformer2DModel"]);
}

#[test]
fn a_block_that_the_configuration_lacks_is_refused() {
    let fewer =
        |m: &Path| edit(&m.join("transformer/config.json"), "\"num_single_layers\": 3", "\"num_single_layers\": 2");
    refused(MODELS[3], fewer, &["`single_transformer_blocks.2.", "different models"]);
}

#[test]
fn another_architecture_is_refused() {
    let unet = |m: &Path| edit(&m.join("transformer/config.json"), "SD3Transformer2DModel", "PixArtTransformer2DModel");
    refused(MODELS[0], unet, &["PixArtTransformer2DModel", "SD3Transformer2DModel, FluxTransformer2DModel"]);
    let unknown = |m: &Path| edit(&m.join("model_index.json"), "SD3Transformer2DModel", "HunyuanDiT2DModel");
    refused(MODELS[0], unknown, &["HunyuanDiT2DModel", "model_index.json"]);
    let swapped = |m: &Path| edit(&m.join("model_index.json"), "SD3Transformer2DModel", "FluxTransformer2DModel");
    refused(MODELS[0], swapped, &["model_index.json", "FluxTransformer2DModel", "SD3Transformer2DModel"]);
}

#[test]
fn missing_parts_are_named() {
    refused(
        MODELS[0],
        |m| fs::remove_file(m.join("transformer/config.json")).unwrap(),
        &["config.json does not exist"],
    );
    refused(MODELS[0], |m| fs::remove_dir_all(m.join("transformer")).unwrap(), &["transformer does not exist"]);
    refused(MODELS[0], |m| fs::remove_dir_all(m).unwrap(), &["does not exist", "model folder"]);
    refused(MODELS[0], |m| fs::remove_file(m.join("model_index.json")).unwrap(), &["model_index.json", "config.json"]);
    let pickle = |m: &Path| {
        let folder = m.join("transformer");
        fs::rename(folder.join(SINGLE_FILE), folder.join("diffusion_pytorch_model.bin")).unwrap();
    };
    refused(MODELS[0], pickle, &[SINGLE_FILE, "diffusion_pytorch_model.bin", "convert"]);
    refused(
        MODELS[0],
        |m| fs::write(m.join("model_index.json"), "{").unwrap(),
        &["model_index.json", "not valid JSON"],
    );
}

#[test]
fn quantised_models_are_refused() {
    let mark =
        |m: &Path| edit(&m.join("transformer/config.json"), "{\n", "{\n  \"quantization_config\": {\"bits\": 4},\n");
    refused(MODELS[0], mark, &["quantization_config"]);
    let eight = |m: &Path| {
        let folder = m.join("transformer");
        let bytes = fs::read(folder.join(SINGLE_FILE)).unwrap();
        let text = String::from_utf8_lossy(&bytes[8..8 + 9928]).replacen(
            "\"F32\",\"shape\":[64]",
            "\"I32\",\"shape\":[64]",
            1,
        );
        let mut file = raw_file(&text, &bytes[8 + 9928..]);
        file[..8].copy_from_slice(&9928u64.to_le_bytes());
        fs::write(folder.join(SINGLE_FILE), file).unwrap();
    };
    refused(MODELS[0], eight, &["I32", "F32, F16, BF16", "dtype of tensor"]);
}

#[test]
fn broken_headers_are_refused() {
    let tensor = |name: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":[{}],"data_offsets":[{from},{to}]}}"#, (to - from) / 4)
    };
    let pair = |a: &str, b: &str| format!("{{{a},{b}}}");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "0 bytes are too few"),
        (vec![1, 2, 3], "3 bytes are too few"),
        (raw_file("garbage!", &[]), "header is not valid"),
        (raw_file("[1, 2]", &[]), "header is not valid"),
        ([u64::MAX.to_le_bytes().as_slice(), b"{}"].concat(), "18446744073709551615"),
        ([99_000_000u64.to_le_bytes().as_slice(), b"{}"].concat(), "holds 2 after the length field"),
        (raw_file(&pair(&tensor("a", 0, 8), &tensor("b", 4, 12)), &[0; 12]), "`a` and `b` overlap"),
        (raw_file(&pair(&tensor("a", 0, 8), &tensor("b", 12, 16)), &[0; 16]), "4 unused bytes precede tensor `b`"),
        (raw_file(&pair(&tensor("a", 0, 8), &tensor("a", 8, 16)), &[0; 16]), "tensor `a` twice"),
        (raw_file(&format!("{{{}}}", tensor("a", 0, 8)), &[0; 4]), "cut off"),
        (raw_file(&format!("{{{}}}", tensor("a", 0, 8)), &[0; 9]), "accounts for"),
        (
            raw_file(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, &[0; 8]),
            "does not fit its offsets [0, 8]",
        ),
        (raw_file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, &[0; 8]), "does not fit its offsets"),
        (raw_file(r#"{"a":{"dtype":"Q4_K","shape":[2],"data_offsets":[0,8]}}"#, &[0; 8]), "found Q4_K"),
        (raw_file(r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, &[0; 8]), "tensor `a`"),
        (
            raw_file(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, &[]),
            "does not fit its offsets",
        ),
        (
            raw_file(
                r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[18446744073709551607,18446744073709551615]}}"#,
                &[0; 8],
            ),
            "does not fit its offsets",
        ),
    ];
    for (bytes, part) in cases {
        let sentence = refusal(&bytes);
        assert!(sentence.contains(part), "expected {part:?} in: {sentence}");
        assert!(sentence.contains("file.safetensors"), "{sentence}");
    }
}

#[test]
fn a_folder_is_not_a_safetensors_file() {
    let folder = tempfile::tempdir().unwrap();
    let sentence = SafetensorsFile::open(folder.path()).unwrap_err().to_string();
    assert!(sentence.contains("not a file"), "{sentence}");
}

/// Headers that are nearly right reach further into the reader than noise does.
fn nearly_valid_header() -> impl Strategy<Value = String> {
    let number = prop_oneof![0u64..40, Just(u64::MAX), Just(u64::MAX / 2)];
    let dtype = prop_oneof![Just("F32"), Just("F4"), Just("F64"), Just("BOOL"), Just("X")];
    let tensor = ("[ab]", dtype, prop::collection::vec(number.clone(), 0..3), number.clone(), number).prop_map(
        |(name, dtype, shape, from, to)| {
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{from},{to}]}}"#)
        },
    );
    prop::collection::vec(tensor, 0..4).prop_map(|tensors| format!("{{{}}}", tensors.join(",")))
}

fn read_everything(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.safetensors");
    fs::write(&path, bytes).unwrap();
    if let Ok(file) = SafetensorsFile::open(&path) {
        for name in file.names() {
            let _ = (file.bytes(name).unwrap(), file.to_f32(name), file.to_f64(name), file.to_i64(name));
            file.release(name);
        }
    }
    let _ = obsdiff::inspect::inspect(&path);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_everything(&bytes);
    }

    #[test]
    fn nearly_valid_files_never_panic_the_reader(
        header in nearly_valid_header(),
        data in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        read_everything(&raw_file(&header, &data));
    }
}
