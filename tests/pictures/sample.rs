//! `obsdiff sample` writes pictures.

use std::path::Path;

use obsdiff::pictures::{Picture, from_decoded};

use super::decoding::{PIPELINES, reference};
use crate::support::{Run, copy_folder, data, edit, files_below, json, models, names_in, obsdiff, rewrite, text};

/// Runs on a reference pipeline (or a changed copy of it in `model`), as its pictures were made.
fn sample_from(name: &str, model: &Path, output: &Path, more: &[&str]) -> Run {
    let folder = data("pipelines").join(name);
    let info = json(&folder.join("info.json"));
    let flag = |flag: &str, key: &str| format!("--{flag}={}", info[key]);
    let conditioning = folder.join("conditioning.safetensors");
    let settings = [
        flag("num-inference-steps", "num_inference_steps"),
        flag("guidance-scale", "guidance_scale"),
        flag("height", "height"),
        flag("width", "width"),
    ];
    let own = ["sample", text(model), "--conditioning", text(&conditioning), "-o", text(output)];
    obsdiff(&[&own, &settings.each_ref().map(String::as_str)[..], more].concat())
}

fn sample(name: &str, output: &Path, more: &[&str]) -> Run {
    sample_from(name, &data("pipelines").join(name).join("pipeline"), output, more)
}

const FILES: [&str; 4] = ["grid.png", "latents.safetensors", "picture-0000.png", "picture-0001.png"];

#[test]
fn pictures_are_those_of_diffusers_on_every_pipeline() {
    for name in PIPELINES {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("a/b");
        let report = sample(name, &output, &["--json"]).json();
        assert_eq!(names_in(&output), FILES, "{name}");
        let files: Vec<_> = report["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
        let path = |file: &str| text(&output.join(file)).to_string();
        assert_eq!(files, [path(FILES[1]), path(FILES[2]), path(FILES[3]), path(FILES[0])]);
        assert_eq!(report["pictures"], 2);
        assert!(report["decode_seconds"].as_f64().unwrap() > 0.0);
        for (index, expected) in from_decoded(&reference(name).1).unwrap().iter().enumerate() {
            let found = Picture::read(output.join(format!("picture-{index:04}.png"))).unwrap();
            assert_eq!((found.width, found.height), (expected.width, expected.height));
            let worst = found.rgb.iter().zip(&expected.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= 1, "{name}: picture {index} is off by {worst} / 255");
            let grid = Picture::read(output.join("grid.png")).unwrap();
            // Cells of 128 x 64 pixels, pictures of 96 x 64 in their middle.
            let left = 4 + index * 132 + 16;
            assert!((0..64).all(|y| (0..96).all(|x| grid.pixel(left + x, 4 + y) == found.pixel(x, y))), "{name}");
        }
    }
}

#[test]
fn two_runs_write_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = ["a", "b"].map(|name| folder.path().join(name));
    for output in &outputs {
        sample("flux_dev", output, &[]).succeeded();
    }
    assert_eq!(files_below(&outputs[0]), files_below(&outputs[1]));
}

#[test]
fn earlier_files_are_refused_or_replaced_together() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path();
    let said = sample("sd3_medium", output, &[]).succeeded().stdout;
    assert!(said.contains("wrote 2 pictures in") && said.contains("grid.png and latents.safetensors"), "{said}");
    for file in ["picture-0007.png", "picture-12345.png", "picture-7.png", "mine.txt"] {
        std::fs::write(output.join(file), "earlier").unwrap();
    }
    sample("sd3_medium", output, &[]).refused(2, &["latents.safetensors exists already", "--overwrite"]);
    std::fs::remove_file(output.join("latents.safetensors")).unwrap();
    sample("sd3_medium", output, &["--no-pictures"]).refused(2, &["grid.png exists already"]);
    // Names that sample does not write stay; those of a larger earlier run go.
    sample("sd3_medium", output, &["--overwrite"]).succeeded();
    assert_eq!(names_in(output), [&FILES[..2], &["mine.txt"], &FILES[2..], &["picture-7.png"]].concat());
    let report = sample("sd3_medium", output, &["--overwrite", "--no-pictures", "--json"]).json();
    assert_eq!(names_in(output), ["latents.safetensors", "mine.txt", "picture-7.png"]);
    assert_eq!((&report["pictures"], &report["decode_seconds"]), (&0.into(), &serde_json::Value::Null));
}

#[test]
fn without_a_vae_there_are_latents_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let transformer = data("pipelines/sd35_medium/pipeline/transformer");
    let run = sample_from("sd35_medium", &transformer, &folder.path().join("alone"), &[]).succeeded();
    assert!(run.stderr.contains("no pictures, only latents") && run.stderr.contains("no vae folder"), "{}", run.stderr);
    assert!(run.stdout.contains("wrote latents.safetensors to"), "{}", run.stdout);
    assert_eq!(names_in(&folder.path().join("alone")), ["latents.safetensors"]);
    let pipeline = folder.path().join("pipeline");
    copy_folder(&data("pipelines/sd35_medium/pipeline"), &pipeline);
    std::fs::remove_dir_all(pipeline.join("vae")).unwrap();
    let run = sample_from("sd35_medium", &pipeline, &folder.path().join("b"), &["--no-pictures"]).succeeded();
    assert!(!run.stderr.contains("no pictures"), "asked for: {}", run.stderr);
    sample_from("sd35_medium", &pipeline, &folder.path().join("c"), &[]).succeeded();
    assert_eq!(names_in(&folder.path().join("c")), ["latents.safetensors"]);
}

#[test]
fn a_vae_that_cannot_be_used_is_refused_before_sampling() {
    let folder = tempfile::tempdir().unwrap();
    let (pipeline, output) = (folder.path().join("pipeline"), folder.path().join("out"));
    let original = data("pipelines/sd3_medium/pipeline");
    let refused = |change: &dyn Fn(&Path), code: i32, parts: &[&str]| {
        copy_folder(&original, &pipeline);
        change(&pipeline.join("vae"));
        sample_from("sd3_medium", &pipeline, &output, &[]).refused(code, parts);
        assert!(!output.exists(), "{parts:?}: an output folder was left");
        sample_from("sd3_medium", &pipeline, &output, &["--no-pictures"]).succeeded();
        std::fs::remove_dir_all(&output).unwrap();
        std::fs::remove_dir_all(&pipeline).unwrap();
    };
    let weights = |vae: &Path| vae.join("diffusion_pytorch_model.safetensors");
    refused(&|vae| edit(&vae.join("config.json"), "AutoencoderKL", "AutoencoderTiny"), 3, &["AutoencoderTiny"]);
    refused(&|vae| std::fs::remove_file(weights(vae)).unwrap(), 3, &["diffusion_pytorch_model.safetensors"]);
    let tensor = "decoder.mid_block.attentions.0.to_q.weight";
    refused(&|vae| rewrite(&weights(vae), |all| drop(all.remove(tensor))), 3, &[tensor, "is missing"]);
    let cut = |vae: &Path| {
        let bytes = std::fs::read(weights(vae)).unwrap();
        std::fs::write(weights(vae), &bytes[..bytes.len() / 2]).unwrap();
    };
    refused(&cut, 3, &["diffusion_pytorch_model.safetensors"]);
}

#[test]
fn the_vae_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (pipeline, output) = (folder.path().join("pipeline"), folder.path().join("out"));
    copy_folder(&data("pipelines/sd3_medium/pipeline"), &pipeline);
    std::fs::remove_dir_all(pipeline.join("vae")).unwrap();
    copy_folder(&data("vae/post_quant"), &pipeline.join("vae"));
    let parts = ["takes latents of 4 channels and the transformer makes 16", "--no-pictures"];
    // Its two levels make 64 x 96 pixels of 32 x 48 latents.
    sample_from("sd3_medium", &pipeline, &output, &[]).refused(3, &parts);
    assert!(!output.exists());
}

#[test]
fn values_of_a_vae_that_are_not_finite_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (pipeline, output) = (folder.path().join("pipeline"), folder.path().join("out"));
    copy_folder(&data("pipelines/sd3_medium/pipeline"), &pipeline);
    let name = "decoder.conv_in.bias";
    rewrite(&pipeline.join("vae/diffusion_pytorch_model.safetensors"), |all| {
        all.get_mut(name).unwrap().as_mut_slice().unwrap()[0] = f32::INFINITY;
    });
    sample_from("sd3_medium", &pipeline, &output, &[]).refused(4, &[name, "inf"]);
    assert!(!output.exists());
}

#[test]
fn latents_that_are_pictures_are_written_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (model, output) = (models("sd3_digits/pipeline"), folder.path().join("out"));
    let conditioning = models("sd3_digits/ten_digits.safetensors");
    let settings = ["--num-inference-steps=2", "--guidance-scale=2", "--json"];
    let own = ["sample", text(&model), "--conditioning", text(&conditioning), "-o", text(&output)];
    let report = obsdiff(&[&own[..], &settings].concat()).json();
    assert_eq!((&report["pictures"], names_in(&output).len()), (&10.into(), 12));
    let latents = &crate::support::tensors(&output.join("latents.safetensors"))["latents"];
    for index in 0..10 {
        let picture = Picture::read(output.join(format!("picture-{index:04}.png"))).unwrap();
        assert_eq!((picture.width, picture.height), (8, 8));
        let grey = |x: f32| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        for (pixel, x) in picture.rgb.as_chunks::<3>().0.iter().zip(&latents.as_slice().unwrap()[index * 64..]) {
            assert!(pixel[0].abs_diff(grey(*x)) <= 1 && pixel[1..] == [pixel[0]; 2]);
        }
    }
    let grid = Picture::read(output.join("grid.png")).unwrap();
    assert_eq!(grid.width, 4 + 10 * 132);
}

#[test]
fn pictures_that_would_not_fit_into_memory_are_refused_before_sampling() {
    let folder = tempfile::tempdir().unwrap();
    let (model, output) = (data("pipelines/sd3_medium/pipeline"), folder.path().join("out"));
    let conditioning = data("pipelines/sd3_medium/conditioning.safetensors");
    let own = ["sample", text(&model), "--conditioning", text(&conditioning), "-o", text(&output)];
    let parts = ["decoding a picture of 524288 x 262144 pixels needs", "--no-pictures"];
    obsdiff(&[&own[..], &["--width=524288", "--height=262144"]].concat()).refused(5, &parts);
    assert!(!output.exists());
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("a/out");
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_obsdiff"))
        .args(["sample", text(&models("sd3_digits/pipeline")), "--num-inference-steps=1000", "-o", text(&output)])
        .args(["--conditioning", text(&models("sd3_digits/evaluation.safetensors"))])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while !output.exists() {
        assert!(start.elapsed().as_secs() < 60, "the run never began");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let kill = format!("kill -INT {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted; no output was written") && !said.contains("--journal"), "{said}");
    assert!(names_in(folder.path()).is_empty());
}
