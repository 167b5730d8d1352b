//! `sample` as a user runs it.

mod support;

use std::path::Path;

use obsdiff::ops::Tensor;
use support::{Run, data, full, models, obsdiff, relative_frobenius, save, tensors, text};

/// Runs on the digits model; the conditioning file and further arguments are given.
fn sample(conditioning: &Path, output: &Path, more: &[&str]) -> Run {
    let model = models("sd3_digits/pipeline");
    let own = ["sample", text(&model), "--conditioning", text(conditioning), "-o", text(output)];
    obsdiff(&[&own, more].concat())
}

#[test]
fn sample_writes_the_latents_of_diffusers_and_refuses_to_replace_them() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let pipeline = data("pipelines/flux_dev");
    let (model, conditioning) = (pipeline.join("pipeline"), pipeline.join("conditioning.safetensors"));
    let arguments = [
        "sample",
        text(&model),
        "--conditioning",
        text(&conditioning),
        "-o",
        text(&output),
        "--num-inference-steps=8",
        "--height=64",
        "--width=96",
        "--save-steps",
        "--json",
    ];
    let report = obsdiff(&arguments).json();
    assert_eq!((&report["prompts"], &report["guidance_scale"]), (&2.into(), &3.5.into()));
    let (found, expected) =
        (tensors(&output.join("latents.safetensors")), tensors(&pipeline.join("expected.safetensors")));
    assert!(relative_frobenius(&found["latents"], &expected["final_latents"]) < 1e-4);
    assert!(relative_frobenius(&found["step_latents"], &expected["step_latents"]) < 1e-4);
    obsdiff(&arguments).refused(2, &["latents.safetensors exists already", "--overwrite"]);
    obsdiff(&[&arguments[..], &["--overwrite"]].concat()).succeeded();
}

/// A digits conditioning file of three prompts with one change.
fn spoiled(folder: &Path, change: impl Fn(&mut std::collections::HashMap<String, Tensor>)) -> std::path::PathBuf {
    let mut all = tensors(&models("sd3_digits/calibration.safetensors"));
    all.values_mut().for_each(|tensor| *tensor = tensor.narrow(0, 0, 3).unwrap());
    change(&mut all);
    let path = folder.join("conditioning.safetensors");
    save(&path, &all);
    path
}

#[test]
fn faults_of_the_conditioning_are_named() {
    type Change = fn(&mut std::collections::HashMap<String, Tensor>);
    fn set(all: &mut std::collections::HashMap<String, Tensor>, name: &str, shape: &[usize], value: f32) {
        all.insert(name.into(), full(value, shape));
    }
    let faults: [(&str, i32, Change); 9] = [
        ("no rows", 3, |all| set(all, "prompt_embeds", &[0, 12, 64], 0.0)),
        ("[3, any, 64]", 3, |all| set(all, "prompt_embeds", &[3, 12, 48], 0.0)),
        ("`pooled_prompt_embeds` has shape [2, 64]", 3, |all| set(all, "pooled_prompt_embeds", &[2, 64], 0.0)),
        ("`prompt_embeds` is missing", 3, |all| drop(all.remove("prompt_embeds"))),
        ("`negative_pooled_prompt_embeds` is missing", 3, |all| drop(all.remove("negative_pooled_prompt_embeds"))),
        ("--guidance-scale 1", 3, |all| {
            all.remove("negative_pooled_prompt_embeds");
            all.remove("negative_prompt_embeds");
        }),
        ("`latents` has shape [3, 1, 8, 9]", 3, |all| set(all, "latents", &[3, 1, 8, 9], 0.0)),
        ("[3, 12, 64]", 3, |all| set(all, "negative_prompt_embeds", &[3, 11, 64], 0.0)),
        ("`pooled_prompt_embeds` holds NaN", 4, |all| set(all, "pooled_prompt_embeds", &[3, 64], f32::NAN)),
    ];
    for (sentence, code, change) in faults {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        sample(&spoiled(folder.path(), change), &output, &[]).refused(code, &[sentence]);
        assert!(!output.exists(), "{sentence}: an output folder was left");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conditioning.safetensors");
    sample(&file, folder.path(), &[]).refused(3, &["conditioning.safetensors does not exist"]);
    std::fs::write(&file, b"not a safetensors file").unwrap();
    sample(&file, folder.path(), &[]).refused(3, &["not a readable safetensors file"]);
}

#[test]
fn flags_that_cannot_be_followed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let conditioning = spoiled(folder.path(), |_| ());
    let output = folder.path().join("out");
    for (flags, code) in [
        (["--device=cuda"], 3),
        (["--height=9"], 2),
        (["--width=0"], 2),
        (["--num-inference-steps=0"], 2),
        (["--guidance-scale=nan"], 2),
        (["--dtype=int8"], 2),
    ] {
        sample(&conditioning, &output, &flags).refused(code, &[]);
        assert!(!output.exists());
    }
    for dtype in ["--dtype=bf16", "--dtype=f16", "--batch-size=2"] {
        sample(&conditioning, &output, &[dtype, "--num-inference-steps=1", "--overwrite"]).succeeded();
        assert!(output.join("grid.png").exists());
    }
}
