//! The comparison that a report makes for itself.

use std::fs;

use crate::common::{copy, duplicate, pruned, report};
use crate::support::{edit, json, models, text};

#[test]
fn without_a_comparison_a_few_calibration_rows_are_drawn() {
    let folder = duplicate(pruned(), "report-digits-own");
    let run = report(&folder, &["--samples", "2", "--device", "cpu"]).succeeded();
    assert!(run.stdout.contains("2 of 2 pairs of pictures"), "{}", run.stdout);
    let numbers = json(&folder.join("report.json"));
    let comparison = &numbers["comparison"];
    assert_eq!(comparison["items"].as_array().unwrap().len(), 2);
    assert_eq!(comparison["num_inference_steps"], 20);
    assert_eq!(comparison["steps"].as_array().unwrap().len(), 20);
    let error = comparison["latent_rel"].as_f64().unwrap();
    assert!(error > 0.0 && error < 0.05, "{error}");
    assert_eq!(numbers["summary"]["latent_rel"], comparison["latent_rel"]);
    let html = fs::read_to_string(folder.join("report.html")).unwrap();
    assert_eq!(html.matches("<img ").count(), 4);
    let left = std::env::temp_dir().read_dir().unwrap();
    let own = |name: &str| name.starts_with("obsdiff-report-") && !name.contains('.');
    let running = |name: &str| std::path::Path::new("/proc").join(name.trim_start_matches("obsdiff-report-")).exists();
    let names = left.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let forgotten: Vec<String> = names.filter(|name| own(name) && !running(name)).collect();
    assert_eq!(forgotten, Vec::<String>::new());
}

#[test]
fn what_is_gone_is_a_sentence_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let pruned = copy(folder.path());
    let model = models("sd3_digits/pipeline");
    let page = |expected: &str| {
        let run = report(&pruned, &["--overwrite"]).succeeded();
        assert!(run.stderr.contains(expected), "{}", run.stderr);
        let html = fs::read_to_string(pruned.join("report.html")).unwrap();
        assert!(html.contains(expected), "{expected}");
        assert_eq!(json(&pruned.join("report.json"))["comparison"], serde_json::Value::Null);
    };
    page("the pruned model in");
    edit(&pruned.join("run.json"), "ten_digits.safetensors\"\n", "no_digits.safetensors\"\n");
    page("the calibration file");
    edit(&pruned.join("run.json"), &format!("\"model\": \"{}\"", text(&model)), "\"model\": \"/gone\"");
    page("the dense model /gone is gone");
    fs::remove_file(pruned.join("run.json")).unwrap();
    page("run.json does not say where the dense model is");
}
