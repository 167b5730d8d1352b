//! `validate` passes an honest model and names each planted defect.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use obsdiff::checkpoint::{OutputFolder, Pipeline, copy_components, save_like, write_atomic, write_config};
use obsdiff::validate::validate;
use serde_json::{Value, json};

use crate::common::{SHARDED, edit, files_below, model};

const TO_Q: &str = "transformer_blocks.0.attn.to_q";
const FF: &str = "transformer_blocks.1.ff.net.2";
const SHARD_1: &str = "transformer/diffusion_pytorch_model-00001-of-00004.safetensors";

/// A model with one unstructured layer (every third weight removed) and one 2:4 layer.
fn pruned() -> (tempfile::TempDir, PathBuf) {
    let source = model(SHARDED);
    let pipeline = Pipeline::open(&source).unwrap();
    let weights = pipeline.weights().unwrap();
    let mut removed = HashMap::new();
    let mut layers = Vec::new();
    for (name, pattern, remove) in
        [(TO_Q, "unstructured", (|i| i % 3 == 0) as fn(usize) -> bool), (FF, "2:4", |i| i % 4 < 2)]
    {
        let tensor = format!("{name}.weight");
        let mut values = weights.to_f32(&tensor).unwrap();
        let count = (0..values.len()).filter(|&i| remove(i)).count();
        values.iter_mut().enumerate().filter(|(i, _)| remove(*i)).for_each(|(_, v)| *v = 0.0);
        let shape = &weights.info(&tensor).unwrap().shape;
        layers.push(json!({"name": name, "rows": shape[0], "columns": shape[1], "pruned": count, "pattern": pattern}));
        removed.insert(tensor, values);
    }
    let folder = tempfile::tempdir().unwrap();
    let out = OutputFolder::create(folder.path().join("out"), &[&source], 0, false).unwrap();
    copy_components(&pipeline, out.path()).unwrap();
    let transformer = pipeline.transformer_in(out.path());
    save_like(&weights, &transformer, |name| Ok(removed.get(name).map(|v| Cow::Borrowed(&v[..])))).unwrap();
    write_config(&pipeline, &transformer, json!({"version": 1})).unwrap();
    let report = json!({"schema": "obsdiff.prune/1", "layers": layers, "recipe": {}});
    write_atomic(out.path().join("obsdiff.json"), report.to_string().as_bytes()).unwrap();
    out.commit().unwrap();
    let path = folder.path().join("out");
    (folder, path)
}

/// Overwrites `bytes` of element `element` of a bf16 tensor in place.
fn poke(out: &Path, tensor: &str, element: usize, bits: u16) {
    let weights = Pipeline::open(out).unwrap().weights().unwrap();
    let shard = weights.shards()[weights.shard_of(tensor).unwrap()].path().to_path_buf();
    let at = weights.info(tensor).unwrap().range.start + 2 * element;
    drop(weights);
    let mut file = fs::read(&shard).unwrap();
    file[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    fs::write(&shard, file).unwrap();
}

/// The failed checks after `damage`, as `name: detail`, with and without the source.
fn failures(damage: impl FnOnce(&Path)) -> (Vec<String>, Vec<String>) {
    let (_folder, out) = pruned();
    damage(&out);
    let failed = |against: Option<&Path>| {
        let checks = validate(&out, against).unwrap().checks;
        checks.iter().filter(|c| !c.ok).map(|c| format!("{}: {}", c.name, c.detail)).collect()
    };
    (failed(None), failed(Some(&model(SHARDED))))
}

fn assert_one(failures: &[String], check: &str, part: &str) {
    assert!(
        failures.len() == 1 && failures[0].starts_with(check) && failures[0].contains(part),
        "expected one failure of `{check}` with {part:?}, found {failures:#?}"
    );
}

#[test]
fn an_honest_model_passes() {
    let (alone, against) = failures(|_| ());
    assert_eq!((alone, against), (vec![], vec![]));
    let unpruned = validate(&model(SHARDED), Some(&model(SHARDED))).unwrap();
    assert_eq!(unpruned.failed, 0, "{:#?}", unpruned.checks);
}

#[test]
fn a_flipped_byte_in_an_untouched_tensor_is_found() {
    let (alone, against) = failures(|out| poke(out, "context_embedder.weight", 7, 0x3f80));
    assert!(alone.is_empty(), "without the source it cannot be seen: {alone:?}");
    assert_one(&against, "untouched", "`context_embedder.weight`");
}

#[test]
fn an_extra_nonzero_in_a_group_is_found() {
    // Row 3 of 256 columns, group 5; another weight of the row goes, so that the count still holds.
    let (alone, against) = failures(|out| {
        poke(out, &format!("{FF}.weight"), 3 * 256 + 5 * 4, 0x3f80);
        poke(out, &format!("{FF}.weight"), 3 * 256 + 6 * 4 + 3, 0);
    });
    assert_one(&alone, "layers", "row 3, group 5 keeps more than 2 of 4");
    assert_one(&against, "layers", "row 3, group 5");
}

#[test]
fn a_weight_that_came_back_is_found() {
    let (alone, _) = failures(|out| poke(out, &format!("{TO_Q}.weight"), 0, 0x3f80));
    assert_one(&alone, "layers", "zeros, claimed 1366 removed weights");
}

#[test]
fn zeros_that_nobody_claims_are_found_with_the_source() {
    let (alone, against) = failures(|out| (1..30).step_by(3).for_each(|i| poke(out, &format!("{TO_Q}.weight"), i, 0)));
    assert!(alone.is_empty(), "{alone:?}");
    assert_one(&against, "layers", "do not explain the rest");
}

#[test]
fn a_nan_is_found() {
    let (alone, _) = failures(|out| poke(out, "proj_out.bias", 0, 0x7fc0));
    assert_one(&alone, "finite", "`proj_out.bias` holds 1 NaN");
}

#[test]
fn claims_on_what_is_never_pruned_are_refused() {
    let (alone, _) = failures(|out| edit(&out.join("obsdiff.json"), TO_Q, "context_embedder"));
    assert!(alone.iter().any(|f| f.starts_with("claims") && f.contains("`context_embedder`")), "{alone:?}");
    let (alone, _) = failures(|out| edit(&out.join("obsdiff.json"), "unstructured", "4:2"));
    assert_one(&alone, "layers", "`4:2`");
    let (alone, _) = failures(|out| fs::remove_file(out.join("obsdiff.json")).unwrap());
    assert_one(&alone, "report", "obsdiff.json is missing");
    let (alone, _) = failures(|out| edit(&out.join("obsdiff.json"), "obsdiff.prune/1", "obsdiff.prune/9"));
    assert_one(&alone, "report", "obsdiff.prune/9");
}

#[test]
fn a_changed_configuration_is_found() {
    let (_, against) =
        failures(|out| edit(&out.join("transformer/config.json"), "\"sample_size\": 16", "\"sample_size\": 32"));
    assert_one(&against, "config", "`sample_size` is 32, in the source 16");
}

#[test]
fn a_cut_shard_is_a_failed_check() {
    let cut = |out: &Path| {
        let bytes = fs::read(out.join(SHARD_1)).unwrap();
        fs::write(out.join(SHARD_1), &bytes[..bytes.len() - 1]).unwrap();
    };
    let (alone, _) = failures(cut);
    assert_one(&alone, "files", "cut off");
}

#[test]
fn the_command_prints_checks_and_exits_by_them() {
    let (_folder, out) = pruned();
    let run = |args: &[&str]| {
        let result = Command::new(env!("CARGO_BIN_EXE_obsdiff"))
            .args(args)
            .args([out.as_os_str(), "--against".as_ref(), model(SHARDED).as_os_str()])
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (result.status.code(), text(result.stdout), text(result.stderr))
    };
    let (code, stdout, stderr) = run(&["validate"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.lines().count() >= 8 && stdout.lines().all(|line| line.starts_with("ok")), "{stdout}");

    poke(&out, "proj_out.bias", 0, 0x7f80);
    let (code, stdout, stderr) = run(&["validate"]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("FAIL  finite"), "{stdout}");
    assert!(stderr.contains("2 of"), "{stderr}");
    let (code, stdout, _) = run(&["validate", "--json"]);
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &json["schema"], &json["failed"]), (Some(1), &json!("obsdiff.validate/1"), &json!(2)));
}

#[test]
fn inspect_prints_a_table_and_json() {
    let (_folder, out) = pruned();
    let before = files_below(&out);
    let run = |extra: &[&str]| {
        let result = Command::new(env!("CARGO_BIN_EXE_obsdiff")).arg("inspect").arg(&out).args(extra).output().unwrap();
        assert!(result.status.success());
        String::from_utf8(result.stdout).unwrap()
    };
    let table = run(&[]);
    let row = table.lines().find(|line| line.starts_with(FF)).unwrap();
    assert!(row.ends_with("50.00 %  2:4") && row.contains("64 x 256") && row.contains("BF16"), "{row}");
    let json: Value = serde_json::from_str(&run(&["--json"])).unwrap();
    let layer = json["matrices"].as_array().unwrap().iter().find(|m| m["name"] == TO_Q).unwrap();
    assert_eq!((&layer["zeros"], &layer["pattern"]), (&json!(1366), &json!("unstructured")));
    assert!(before == files_below(&out));
    let refused = Command::new(env!("CARGO_BIN_EXE_obsdiff")).args(["inspect", "nowhere"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert_eq!(String::from_utf8(refused.stderr).unwrap().lines().count(), 1);
}
