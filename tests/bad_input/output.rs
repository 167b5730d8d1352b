//! Outputs that cannot or must not be written.

use std::fs;
use std::process::{Command, Stdio};

use super::common::Scene;
use crate::support::{Run, files_below, models, names_in, obsdiff, text};

#[test]
fn an_existing_output_is_replaced_only_when_asked_and_only_if_it_is_a_model() {
    let scene = Scene::new();
    scene.prune(&["--sparsity=0.5"]).succeeded();
    let first = files_below(&scene.path("out"));
    scene.refuses(&["--sparsity=0.6"], 2, &["out exists already", "--overwrite"]);
    scene.prune(&["--sparsity=0.6", "--overwrite"]).succeeded();
    assert!(files_below(&scene.path("out")) != first);
    assert_eq!(names_in(&scene.path(".")), ["calibration.safetensors", "model", "out"]);
    fs::create_dir(scene.path("home")).unwrap();
    fs::write(scene.path("home/diary.txt"), "dear diary").unwrap();
    scene.refuses_run(2, &["home is not a model folder", "--overwrite"], || {
        obsdiff(&scene.arguments("home", &["--overwrite"]))
    });
}

#[test]
fn an_output_that_meets_an_input_is_refused() {
    let scene = Scene::new();
    let refuses = |output: &str, flags: &[&str], parts: &[&str]| {
        scene.refuses_run(2, parts, || obsdiff(&scene.arguments(output, flags)));
    };
    refuses("model", &[], &["model exists already"]);
    refuses("model", &["--overwrite"], &["lie in each other", "choose another output"]);
    refuses("model/out", &[], &["lie in each other"]);
    refuses("model/../model/out", &[], &["lie in each other"]);
    refuses("calibration.safetensors", &["--overwrite"], &["lie in each other"]);
    refuses(".", &["--overwrite"], &["lie in each other"]);
}

#[test]
fn missing_folders_above_the_output_are_made_by_a_run_that_succeeds() {
    let scene = Scene::new();
    scene.refuses_run(2, &["sparsity"], || obsdiff(&scene.arguments("new/out", &["--sparsity=2"])));
    obsdiff(&scene.arguments("new/out", &[])).succeeded();
    assert_eq!(names_in(&scene.path("new")), ["out"]);
}

#[test]
fn a_write_beyond_the_file_size_limit_is_a_full_disk() {
    let scene = Scene::new();
    let limited = |kilobytes: usize, arguments: Vec<String>| {
        let script = format!("ulimit -f {kilobytes} && exec \"$@\"");
        let output = Command::new("bash")
            .args(["-c", &script, "bash", env!("CARGO_BIN_EXE_obsdiff")])
            .args(arguments)
            .output()
            .unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    };
    let weights = fs::metadata(scene.weights()).unwrap().len() as usize / 1024;
    let full = ["no space left while writing", "free some space"];
    scene.refuses_run(5, &[&full[..], &["diffusion_pytorch_model.safetensors"]].concat(), || {
        limited(weights / 2, scene.arguments("out", &[]))
    });
    let output = scene.path("latents");
    let [model, calibration] = ["model", "calibration.safetensors"].map(|name| scene.path(name).display().to_string());
    let sample = ["sample", &model, "--conditioning", &calibration, "-o", text(&output)];
    let sampling = ["--num-inference-steps=1", "--height=64", "--width=96"];
    limited(1, [&sample[..], &sampling].concat().iter().map(ToString::to_string).collect()).refused(5, &full);
    assert!(!output.exists(), "something was left: {:?}", names_in(&output));
    limited(weights + 100, scene.arguments("out", &[])).succeeded();
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let model = models("sd3_digits/pipeline");
    let commands: [&[&str]; 4] = [
        &["inspect", text(&model)],
        &["inspect", text(&model), "--json"],
        &["validate", text(&model)],
        &["plan", text(&model), "--device=cpu"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = Command::new(env!("CARGO_BIN_EXE_obsdiff"))
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let result = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(result.stderr).unwrap(), "", "{arguments:?}");
        assert_eq!(result.status.code(), Some(0), "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_printed_is_an_error() {
    let model = models("sd3_digits/pipeline");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let result = Command::new(env!("CARGO_BIN_EXE_obsdiff"))
        .args(["inspect", text(&model)])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())
        .unwrap();
    assert_eq!(result.status.code(), Some(5));
    assert!(String::from_utf8(result.stderr).unwrap().contains("standard output"));
}
