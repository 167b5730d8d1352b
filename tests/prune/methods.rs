//! Each method removes what it promises, and refinement costs no weight and lowers the error.

use super::common::{layers, model, prunable, pruned, report, weight_bytes, weights, zeros};
use crate::support::{obsdiff, text};

const NAME: &str = "sd35_medium";

#[test]
fn sparsegpt_is_obs_diff_with_uniform_weights() {
    let sparsegpt = pruned(NAME, &["--method=sparsegpt"]);
    let uniform = pruned(NAME, &["--method=obs-diff", "--timestep-weights=uniform"]);
    assert!(weight_bytes(&sparsegpt) == weight_bytes(&uniform));
    assert!(weight_bytes(&sparsegpt) != weight_bytes(&pruned(NAME, &["--method=obs-diff"])));
    assert_eq!(report(&sparsegpt)["calibration"]["timestep_weights"], serde_json::json!([1.0, 1.0, 1.0, 1.0]));
}

#[test]
fn wanda_removes_the_same_number_in_every_row_and_changes_no_other_weight() {
    let output = pruned(NAME, &["--method=wanda", "--sparsity=0.3"]);
    let (dense, sparse) = (weights(&model(NAME)), weights(&output));
    for linear in prunable(&dense) {
        let name = format!("{linear}.weight");
        let columns = dense[&name].shape[1];
        for (row, before) in sparse[&name].values.chunks(columns).zip(dense[&name].values.chunks(columns)) {
            assert_eq!(zeros(row), (0.3 * columns as f64) as usize, "{name}");
            assert!(row.iter().zip(before).all(|(new, old)| *new == 0.0 || new == old), "{name}: a weight changed");
        }
    }
}

#[test]
fn magnitude_needs_no_calibration_and_removes_exactly_the_smallest() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let source = model(NAME);
    obsdiff(&["prune", text(&source), "-o", text(&output), "--method=magnitude", "--sparsity=0.37"]).succeeded();
    let (dense, sparse) = (weights(&source), weights(&output));
    for linear in prunable(&dense) {
        let name = format!("{linear}.weight");
        let (before, after) = (&dense[&name].values, &sparse[&name].values);
        assert_eq!(zeros(after), (0.37 * after.len() as f64) as usize, "{name}");
        let pairs = || before.iter().zip(after);
        let largest_gone = pairs().filter(|(_, new)| **new == 0.0).map(|(old, _)| old.abs()).fold(0.0, f64::max);
        let smallest_kept = pairs().filter(|(_, new)| **new != 0.0).map(|(old, _)| old.abs()).fold(f64::MAX, f64::min);
        assert!(largest_gone <= smallest_kept, "{name}: {largest_gone} fell, {smallest_kept} stayed");
        assert!(pairs().all(|(old, new)| *new == 0.0 || new == old), "{name}: a weight changed");
    }
    let report = report(&output);
    assert!(report["calibration"].is_null() && report["mean_relative_error"].is_null());
    assert_eq!(report["hessians"], serde_json::json!([]));
    obsdiff(&["validate", text(&output), "--against", text(&source)]).succeeded();
}

#[test]
fn compensation_loses_less_than_wanda() {
    let error =
        |method: &str| report(&pruned(NAME, &[method, "--refine=none"]))["mean_relative_error"].as_f64().unwrap();
    let (compensated, wanda) = (error("--method=obs-diff"), error("--method=wanda"));
    println!("mean relative error: obs-diff {compensated:.3e}, wanda {wanda:.3e}");
    assert!(compensated < 0.5 * wanda, "{compensated} against {wanda}");
}

#[test]
fn refinement_lowers_the_error_of_every_method_and_keeps_the_mask() {
    // Magnitude without refinement asks for no activations, so that its error is not known: one step stands in.
    for (method, first) in [
        ("--method=obs-diff", "--refine=none"),
        ("--method=sparsegpt", "--refine=none"),
        ("--method=wanda", "--refine=none"),
        ("--method=magnitude", "--refine=pcg:1"),
    ] {
        // One package, so that all runs see the same Hessians.
        let run = |refine| pruned(NAME, &[method, refine, "--packages=1"]);
        let (plain, before, after) = (run("--refine=none"), run(first), run("--refine=pcg:10"));
        let (mask, refined) = (weights(&plain), weights(&after));
        let error = |folder| layers(folder).into_iter().map(|(k, l)| (k, l["relative_error"].as_f64().unwrap()));
        for ((linear, with), (_, without)) in error(&after).zip(error(&before)) {
            assert!(with < without, "{method} {linear}: {with} after ten steps, {without} before");
            let name = format!("{linear}.weight");
            let pairs = mask[&name].values.iter().zip(&refined[&name].values);
            assert_eq!(
                pairs.filter(|(a, b)| (**a == 0.0) != (**b == 0.0)).count(),
                0,
                "{method} {linear}: another mask"
            );
        }
        let mean = |folder| report(folder)["mean_relative_error"].as_f64().unwrap();
        println!("{method}: mean relative error {:.3e} ({first}) -> {:.3e}", mean(&before), mean(&after));
    }
}
