//! `layer` against the official classes.

use std::fs;

use serde_json::Value;

use crate::support::{Run, assert_close, data, json, obsdiff, read, text};

/// The unstructured and N:M cases of `summary.json` with their flags.
fn cases() -> Vec<(String, Vec<String>)> {
    let summary = json(&data("layers/summary.json"));
    let cases: Vec<_> = summary
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with("un") || name.starts_with("nm"))
        .map(|(name, case)| {
            let keyword = |key: &str| case["kw"].get(key).and_then(Value::as_f64);
            let what = match (keyword("prunen"), keyword("prunem")) {
                (Some(gone), Some(of)) if of > 0.0 => format!("--pattern={}:{of}", of - gone),
                _ => format!("--sparsity={}", keyword("sparsity").unwrap()),
            };
            let block_size = format!("--block-size={}", keyword("blocksize").unwrap_or(128.0));
            let dampening = format!("--dampening={}", keyword("percdamp").unwrap_or(0.01));
            (name.clone(), vec!["--preset=paper".into(), what, block_size, dampening])
        })
        .collect();
    assert!(cases.len() >= 8, "found only {} cases", cases.len());
    cases
}

fn layer(case: &str, flags: &[String], source: &[&str], output: &std::path::Path) -> Run {
    let file = data(&format!("layers/{case}.safetensors"));
    let name = |tensor: &str| format!("{}:{tensor}", file.display());
    let source = source.chunks(2).flat_map(|pair| [pair[0].to_string(), name(pair[1])]);
    let own = ["layer", "--weight", &name("W"), "-o", text(output), "--json"].map(String::from);
    obsdiff(&own.into_iter().chain(source).chain(flags.iter().cloned()).collect::<Vec<_>>())
}

#[test]
fn mask_and_weights_are_the_official_ones_from_inputs_and_from_the_hessian() {
    let folder = tempfile::tempdir().unwrap();
    let mut from_hessian = 0;
    for (case, flags) in cases() {
        let reference = read(data(&format!("layers/{case}.safetensors")));
        let expected = &reference["W_pruned_f64"].values;
        let mut sources = vec![&["--inputs", "x", "--input-weights", "w"][..]];
        if reference.contains_key("H_f64") {
            sources.push(&["--hessian", "H_f64"]);
            from_hessian += 1;
        }
        for source in sources {
            let what = format!("{case} from {}", source[1]);
            let output = folder.path().join(format!("{case}-{}", source[1]));
            let summary = layer(&case, &flags, source, &output).json();
            let found = read(&output);
            let mut names: Vec<&String> = found.keys().collect();
            names.sort();
            assert_eq!(names, ["hessian_diag", "mask", "weight"], "{what}");
            let weight = found["weight"].f32();
            let differing = weight.iter().zip(expected).filter(|(w, e)| (**w == 0.0) != (**e == 0.0)).count();
            assert_eq!(differing, 0, "{what}: zeros at other places");
            assert_close(&what, &weight, expected, 1e-5);
            let mask = &found["mask"];
            assert_eq!(mask.shape, reference["W"].shape, "{what}");
            assert!(
                mask.values.iter().zip(&weight).all(|(&keep, &w)| keep == 1.0 || (keep == 0.0 && w == 0.0)),
                "{what}"
            );
            assert_eq!(summary["pruned"], mask.values.iter().filter(|&&keep| keep == 0.0).count(), "{what}");
            assert_eq!(summary["dampening_attempts"].as_array().unwrap().len(), 1, "{what}");
            let columns = reference["W"].shape[1];
            if let Some(hessian) = reference.get("H_f64") {
                let diagonal: Vec<f64> = (0..columns).map(|i| hessian.values[i * columns + i]).collect();
                assert_close(&format!("{what}: hessian_diag"), &found["hessian_diag"].f32(), &diagonal, 1e-6);
            }
        }
    }
    assert!(from_hessian >= 6, "only {from_hessian} Hessians are recorded");
}

#[test]
fn dead_columns_are_counted_and_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let summary = layer("un60_dead_32x144", &["--sparsity=0.6".into()], &["--inputs", "x"], &output).json();
    let recorded = json(&data("layers/summary.json"))["un60_dead_32x144"]["dead"].clone();
    assert_eq!(summary["dead_columns"], recorded);
    let found = read(&output);
    let dead: Vec<usize> = (0..144).filter(|&column| found["hessian_diag"].values[column] == 0.0).collect();
    assert_eq!(dead.len(), 5);
    for row in found["weight"].values.chunks(144) {
        assert!(dead.iter().all(|&column| row[column] == 0.0));
    }
}

#[test]
fn same_command_writes_the_same_bytes_and_replaces_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.safetensors");
    let source = ["--inputs", "x", "--input-weights", "w"];
    let run = |flags: &[&str]| {
        layer("un70_40x300", &flags.iter().map(ToString::to_string).collect::<Vec<_>>(), &source, &output)
    };
    run(&["--sparsity=0.7"]).succeeded();
    let first = fs::read(&output).unwrap();
    run(&["--sparsity=0.5"]).refused(2, &["out.safetensors exists already", "--overwrite"]);
    assert!(fs::read(&output).unwrap() == first);
    run(&["--sparsity=0.7", "--overwrite"]).succeeded();
    assert!(fs::read(&output).unwrap() == first, "other bytes");
    run(&["--sparsity=0.5", "--overwrite"]).succeeded();
    assert!(fs::read(&output).unwrap() != first);
}
