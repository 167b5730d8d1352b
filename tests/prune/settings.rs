//! Each setting does what it says, and the program prints only where it should.

use std::collections::BTreeSet;

use super::common::{arguments, layers, model, prunable, pruned, report, weight_bytes, weights};
use crate::support::{data, json, obsdiff, obsdiff_with};

const NAME: &str = "sd3_medium";

#[test]
fn globs_choose_exactly_the_matching_linears() {
    let dense = weights(&model(NAME));
    type Chosen = fn(&str) -> bool;
    let cases: [(&[&str], Chosen); 4] = [
        (&["--layers=*.ff.net.*"], |name| name.contains(".ff.net.")),
        (&["--ignore=*.attn.*"], |name| !name.contains(".attn.")),
        (&["--layers=transformer_blocks.1.*", "--ignore=*.to_q"], |name| {
            name.starts_with("transformer_blocks.1.") && !name.ends_with(".to_q")
        }),
        (&["--layers", "*.to_k", "*.to_v"], |name| name.ends_with(".to_k") || name.ends_with(".to_v")),
    ];
    for (flags, chosen) in cases {
        let output = pruned(NAME, flags);
        let sparse = weights(&output);
        let expected: BTreeSet<String> = prunable(&dense).into_iter().filter(|name| chosen(name)).collect();
        assert!(!expected.is_empty(), "{flags:?}");
        assert_eq!(layers(&output).into_keys().collect::<BTreeSet<_>>(), expected, "{flags:?}");
        for (name, array) in &dense {
            let is_chosen = name.strip_suffix(".weight").is_some_and(|module| expected.contains(module));
            assert_eq!(array.values != sparse[name].values, is_chosen, "{flags:?}: {name}");
        }
    }
}

#[test]
fn every_setting_that_should_change_the_weights_does() {
    let plain = weight_bytes(&pruned(NAME, &["--sparsity=0.5"]));
    let log = weight_bytes(&pruned(NAME, &["--timestep-weights=log-decrease"]));
    assert!(plain != log, "--timestep-weights");
    assert!(log != weight_bytes(&pruned(NAME, &["--timestep-weights=log-decrease", "--weight-range", "0.1", "2"])));
    let seeded = weight_bytes(&pruned(NAME, &["--noise=seed"]));
    assert!(seeded != weight_bytes(&pruned(NAME, &["--noise=seed", "--seed=1"])), "--seed");
    for flag in [
        "--noise=seed",
        "--block-size=16",
        "--dampening=0.1",
        "--packages=3",
        "--guidance-scale=2",
        "--sparsity=0.51",
        "--refine=pcg:2",
        "--count=official",
    ] {
        assert!(plain != weight_bytes(&pruned(NAME, &[flag])), "{flag} changed nothing");
    }
    // The file's latents are used, so that the seed does not matter.
    assert!(plain == weight_bytes(&pruned(NAME, &["--seed=1"])), "--seed although the file holds the noise");
}

#[test]
fn packages_are_cut_as_the_official_code_does() {
    let output = pruned(NAME, &["--packages=3"]);
    assert_eq!(json(&output.join("run.json"))["plan"]["packages"].as_array().unwrap().len(), 3);
    let report = report(&output);
    let official = json(&data("layers/grouping.json"))["blocks3_groups3"].clone();
    for (package, expected) in official.as_array().unwrap().iter().enumerate() {
        let found: BTreeSet<&str> = report["layers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|layer| layer["package"] == package)
            .map(|layer| layer["name"].as_str().unwrap().strip_prefix("transformer_blocks.").unwrap())
            .collect();
        let expected: BTreeSet<&str> = expected.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(found, expected, "package {package}");
    }
}

#[test]
fn the_exact_count_is_exact_at_odd_sparsities_and_the_official_one_is_not() {
    for (flags, extra) in [(&["--sparsity=0.371"][..], 0), (&["--sparsity=0.371", "--count=official"], 1)] {
        for (name, layer) in layers(&pruned(NAME, flags)) {
            let [rows, columns] = ["rows", "columns"].map(|key| layer[key].as_u64().unwrap());
            // The official code removes int(n s) + 1 of every block of 128 columns.
            let blocks: u64 = (0..columns)
                .step_by(128)
                .map(|start| {
                    let block = rows * (columns - start).min(128);
                    (0.371 * block as f64) as u64 + extra
                })
                .sum();
            let expected = if extra == 0 { (0.371 * (rows * columns) as f64) as u64 } else { blocks };
            assert_eq!(layer["pruned"], expected, "{flags:?} {name}");
        }
    }
}

#[test]
fn json_prints_one_object_and_everything_else_goes_to_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let run = obsdiff_with(&arguments(NAME, &folder.path().join("out"), &["--json"]), |command| {
        command.env("OBSDIFF_LOG", "obsdiff=debug");
    })
    .succeeded();
    assert!(run.stderr.contains("calibrate") && run.stderr.contains("save"), "no log: {}", run.stderr);
    let mut object = run.json();
    let timing = object.as_object_mut().unwrap().remove("run").unwrap();
    assert_eq!(object, report(&folder.path().join("out")));
    assert_eq!(timing, json(&folder.path().join("out/run.json")));
    let quiet = obsdiff(&arguments(NAME, &folder.path().join("quiet"), &["--device=cpu"])).succeeded();
    assert_eq!(quiet.stderr, "", "nothing went wrong, nothing was left to choose, and stderr is no terminal");
    assert!(quiet.stdout.contains("removed 129024 of 258048 weights in 33 Linears"), "{}", quiet.stdout);
}
