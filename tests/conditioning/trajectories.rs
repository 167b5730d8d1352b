//! Trajectories that start from prompts against those of diffusers.

use obsdiff::checkpoint::Pipeline;
use obsdiff::conditioning::PromptSource;
use obsdiff::ops::DType;
use obsdiff::recipe::Patch;
use obsdiff::sampling::NoProbe;

use super::common::{PIPELINES, encode, prompts, reference, write_prompts};
use crate::support::{load_transformer, models, obsdiff, relative_frobenius, tensors, text};

/// That of the trajectories from recorded embeddings.
const BOUND: f64 = 1e-4;

#[test]
fn prompts_lead_to_the_latents_of_diffusers_on_every_pipeline() {
    for name in PIPELINES {
        let (folder, info) = reference(name);
        let (model, scratch) = (folder.join("pipeline"), tempfile::tempdir().unwrap());
        let size = |key: &str| Some(info[key].as_u64().unwrap() as usize);
        let patch = Patch {
            num_inference_steps: size("num_inference_steps"),
            guidance_scale: info["guidance_scale"].as_f64(),
            height: size("height"),
            width: size("width"),
            ..Patch::default()
        };
        let sampler = obsdiff::job::sampler(&Pipeline::open(&model).unwrap(), &patch).unwrap();
        let file = write_prompts(scratch.path(), &prompts(&info));
        let source = PromptSource { max_sequence_length: size("max_sequence_length"), ..PromptSource::new(file) };
        let transformer = load_transformer(&model, DType::F32);
        let mut conditioning = encode(&model, source, sampler.doubles_rows(transformer.architecture()));
        conditioning.latents = Some(tensors(&folder.join("conditioning.safetensors"))["latents"].clone());
        let found = sampler.sample(&transformer, &conditioning, &mut NoProbe).unwrap();
        let expected = &tensors(&folder.join("expected.safetensors"))["final_latents"];
        let error = relative_frobenius(&found, expected);
        println!("{name}: final latents off by {error:e}");
        assert!(error <= BOUND, "{name}: final latents off by {error:e}");
    }
}

#[test]
fn sample_and_compare_take_prompts_as_they_take_embeddings() {
    let (model, scratch) = (models("sd3_digits/pipeline"), tempfile::tempdir().unwrap());
    let mut embeddings = tensors(&models("sd3_digits/calibration.safetensors"));
    embeddings.remove("latents");
    let file = scratch.path().join("embeddings.safetensors");
    crate::support::save(&file, &embeddings);
    let prompts = models("sd3_digits/prompts.txt");
    let inputs = [["--conditioning", text(&file)], ["--prompts", text(&prompts)]];
    let common = ["--num-inference-steps=3", "--guidance-scale=2", "--json"];
    let latents = inputs.map(|input| {
        let output = scratch.path().join(input[0]);
        let cache: &[&str] = if input[0] == "--prompts" { &["--embeddings-cache=none"] } else { &[] };
        let report =
            obsdiff(&[&["sample", text(&model), "-o", text(&output)], &input[..], &common, cache].concat()).json();
        assert_eq!(report["prompts"], 40);
        tensors(&output.join("latents.safetensors"))["latents"].clone()
    });
    let error = relative_frobenius(&latents[1], &latents[0]);
    assert!(error <= BOUND, "off by {error:e}");
    let arguments = [
        &["compare", text(&model), text(&model), "--prompts", text(&prompts), "--num-samples=4"],
        &common[..],
        &["--embeddings-cache=none"],
    ];
    assert_eq!(obsdiff(&arguments.concat()).json()["per_item"]["items"], 4);
}
