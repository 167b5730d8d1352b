use std::collections::BTreeMap;

use obsdiff::checkpoint::scan::Pattern;
use obsdiff::checkpoint::shapes::expected_tensors;
use obsdiff::checkpoint::{Checkpoint, Dtype, Pipeline, SafetensorsFile};
use obsdiff::model::taps::taps;

use crate::common::{MODELS, SHARDED, files_below, model, raw_file};

#[test]
fn expected_tensors_are_exactly_those_of_every_reference_model() {
    for name in MODELS {
        let pipeline = Pipeline::open(model(name)).unwrap();
        let weights = pipeline.weights().unwrap();
        let list = expected_tensors(&pipeline.architecture);
        let expected: BTreeMap<_, _> = list.iter().cloned().collect();
        assert_eq!(expected.len(), list.len(), "{name}: a tensor is listed twice");
        let found: BTreeMap<_, _> =
            weights.names().map(|n| (n.to_string(), weights.info(n).unwrap().shape.clone())).collect();
        assert_eq!(expected, found, "{name}");
        for tap in taps(&pipeline.architecture) {
            for linear in &tap.linears {
                assert_eq!(expected[&linear.weight()], [linear.rows, tap.columns], "{name}: {}", linear.name);
            }
        }
    }
}

#[test]
fn pipeline_folder_and_transformer_folder_show_the_same_model() {
    let whole = Pipeline::open(model(MODELS[3])).unwrap();
    let alone = Pipeline::open(model(MODELS[3]).join("transformer")).unwrap();
    assert_eq!(whole.architecture, alone.architecture);
    assert_eq!(whole.config, alone.config);
    assert!(alone.model_index.is_none() && alone.components.is_empty());
    assert_eq!(
        whole.components,
        ["scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae"],
        "in the order of model_index.json"
    );
    assert!(whole.scheduler.is_some() && whole.vae.is_some());
}

#[test]
fn shards_read_as_one_checkpoint() {
    let weights = Checkpoint::open(model(SHARDED).join("transformer")).unwrap();
    assert!(weights.is_sharded());
    assert_eq!(weights.shards().len(), 4);
    assert_eq!(weights.total_bytes(), 1_032_576, "metadata.total_size of the index");
    let names: Vec<_> = weights.names().collect();
    assert!(names.is_sorted() && names.len() == weights.len());
    for name in names {
        assert_eq!(weights.info(name).unwrap().dtype, Dtype::BF16);
        assert_eq!(weights.to_f32(name).unwrap().len(), weights.info(name).unwrap().elements());
    }
}

#[test]
fn values_agree_with_the_safetensors_crate_before_and_after_release() {
    let folder = model(SHARDED).join("transformer");
    let weights = Checkpoint::open(&folder).unwrap();
    for shard in weights.shards() {
        let bytes = std::fs::read(shard.path()).unwrap();
        let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(shard.names().count(), reference.len());
        for (name, view) in reference.iter() {
            let expected: Vec<f32> =
                view.data().chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
            assert_eq!(weights.to_f32(name).unwrap(), expected, "{name}");
            weights.release(name);
            assert_eq!(weights.bytes(name).unwrap(), view.data(), "{name} after release");
        }
    }
}

/// Bytes of mapped files that are resident in this process.
#[cfg(target_os = "linux")]
fn resident_file_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn a_released_tensor_is_not_resident() {
    const BYTES: usize = 64 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    let header = format!(r#"{{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{BYTES}]}}}}"#, BYTES / 4);
    std::fs::write(&path, raw_file(&header, &vec![1; BYTES])).unwrap();
    let file = SafetensorsFile::open(&path).unwrap();
    let before = resident_file_bytes();
    let values = file.to_f32("w").unwrap();
    let read = resident_file_bytes();
    file.release("w");
    let released = resident_file_bytes();
    // Other tests of this process map files too, small ones.
    let (most, little) = (BYTES as i64 * 9 / 10, BYTES as i64 / 4);
    assert!(read - before > most, "reading maps the tensor: {before} -> {read}");
    assert!(released - before < little, "releasing unmaps it: {before} -> {read} -> {released}");
    assert_eq!(values.len() * 4, BYTES);
}

#[test]
fn plain_files_give_every_kind_of_number() {
    let file = SafetensorsFile::open(model("tests/data/layers/nm48_32x264.safetensors")).unwrap();
    assert_eq!(file.info("W_pruned_f64").unwrap().shape, [32, 264]);
    assert_eq!(file.to_f64("W_pruned_f64").unwrap().len(), 32 * 264);
    assert!(file.to_f32("W_pruned_f64").unwrap_err().to_string().contains("found F64"));
    let dense = SafetensorsFile::open(model("tests/data/official/expected_dense.safetensors")).unwrap();
    assert_eq!(dense.to_i64("first20_index").unwrap().len(), 20);
    let missing = dense.to_f32("nothing").unwrap_err().to_string();
    assert!(missing.contains("tensor `nothing` is missing"), "{missing}");
}

#[test]
fn inspection_names_the_pattern_of_the_reference_layers() {
    for (file, pattern) in
        [("nm24_48x160", Pattern::KeepOf { keep: 2, of: 4 }), ("nm48_32x264", Pattern::KeepOf { keep: 4, of: 8 })]
    {
        let found = obsdiff::inspect::inspect(&model(&format!("tests/data/layers/{file}.safetensors"))).unwrap();
        let pruned = found.matrices.iter().find(|m| m.name == "W_pruned_f64").unwrap();
        assert_eq!(pruned.pattern, pattern.to_string(), "{file}");
        assert_eq!(pruned.sparsity, 0.5, "{file}");
    }
}

#[test]
fn inspection_counts_what_is_there() {
    let found = obsdiff::inspect::inspect(&model(SHARDED)).unwrap();
    assert_eq!((found.files, found.tensors, found.bytes), (4, 127, 1_032_576));
    assert_eq!(found.parameters * 2, found.bytes);
    assert_eq!(found.dtypes, BTreeMap::from([("BF16".to_string(), 127)]));
    assert!(found.matrices.iter().all(|m| m.non_finite == 0 && m.pattern == "dense"));
    let json = serde_json::json!(found);
    assert_eq!(json["schema"], "obsdiff.inspect/1");
    assert_eq!(json["architecture"]["dual_attention_blocks"], 2);
}

#[test]
fn reading_changes_nothing() {
    let before = files_below(&model(SHARDED));
    obsdiff::inspect::inspect(&model(SHARDED)).unwrap();
    assert!(before == files_below(&model(SHARDED)));
}
