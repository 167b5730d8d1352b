//! The same input gives the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::common::{arguments, prune, pruned, weight_bytes};
use crate::support::{files_below, models, obsdiff, obsdiff_with, text};

/// All files but the one that says how long it took.
fn lasting(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files_below(folder);
    assert!(files.remove(Path::new("run.json")).is_some());
    files
}

#[track_caller]
fn assert_equal_folders(what: &str, found: &Path, expected: &Path) {
    let (found, expected) = (lasting(found), lasting(expected));
    assert!(found.keys().eq(expected.keys()), "{what}: other files");
    for (path, bytes) in &found {
        assert!(*bytes == expected[path], "{what}: {} differs", path.display());
    }
}

#[test]
fn same_command_writes_the_same_bytes_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for (name, flags) in [("flux_dev", ["--sparsity=0.5"]), ("sd35_medium_sharded_bf16", ["--pattern=2:4"])] {
        let first = pruned(name, &flags);
        for threads in ["1", "2", "5"] {
            let again = folder.path().join(format!("{name}-{threads}"));
            obsdiff_with(&arguments(name, &again, &flags), |command| {
                command.env("RAYON_NUM_THREADS", threads);
            })
            .succeeded();
            assert_equal_folders(&format!("{name} with {threads} threads"), &again, &first);
        }
    }
}

#[test]
fn layers_of_several_row_chunks_do_not_depend_on_threads_either() {
    // Linears of 448 rows are refined in two chunks, which one thread does one after the other.
    let folder = tempfile::tempdir().unwrap();
    let (model, calibration) = (models("sd3_digits/pipeline"), models("sd3_digits/calibration.safetensors"));
    let run = |threads: &str| {
        let output = folder.path().join(threads);
        let arguments = ["prune", text(&model), "-o", text(&output), "--calibration", text(&calibration)];
        let sampling = ["--num-inference-steps=1", "--guidance-scale=1", "--batch-size=1"];
        obsdiff_with(&[&arguments[..], &sampling].concat(), |command| {
            command.env("RAYON_NUM_THREADS", threads);
        })
        .succeeded();
        output
    };
    let one = run("1");
    for threads in ["2", "5"] {
        assert_equal_folders(&format!("{threads} threads"), &run(threads), &one);
    }
}

#[test]
fn the_saved_recipe_repeats_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let first = pruned("sd3_medium", &["--preset=paper", "--sparsity=0.6", "--seed=3", "--noise=seed"]);
    let again = folder.path().join("again");
    let recipe = first.join("recipe.toml");
    let (model, conditioning) = (super::common::model("sd3_medium"), super::common::conditioning("sd3_medium"));
    let own = ["prune", text(&model), "-o", text(&again), "--calibration", text(&conditioning)];
    obsdiff(&[&own[..], &["--recipe", text(&recipe)]].concat()).succeeded();
    assert_equal_folders("from recipe.toml", &again, &first);
    let other = folder.path().join("other");
    prune("sd3_medium", &other, &["--recipe", text(&recipe), "--sparsity=0.5"]).succeeded();
    assert!(weight_bytes(&other) != weight_bytes(&first), "a flag did not override the recipe");
}
