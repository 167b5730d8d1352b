//! Models whose latents a VAE decodes.

use std::path::{Path, PathBuf};

use obsdiff::compare::{Comparison, Decoder};
use obsdiff::metrics::clip::{ClipPictures, clip_score, text_embeddings};
use obsdiff::metrics::{Gaussian, Lpips, frechet, ssim};
use obsdiff::pictures::{Picture, from_decoded};

use crate::common::{clip_folder, lpips_file};
use crate::support::{Run, copy_folder, data, names_in, obsdiff, rewrite, tensors, text};

const PROMPTS: [&str; 2] = ["a cat holding a sign that says hello world", "a large red circle on the left"];

/// A reference pipeline and a copy whose feed-forward networks have lost every second weight.
fn models(folder: &Path, name: &str) -> [PathBuf; 2] {
    let (dense, pruned) = (data("pipelines").join(name).join("pipeline"), folder.join("pruned"));
    copy_folder(&dense, &pruned);
    rewrite(&pruned.join("transformer/diffusion_pytorch_model.safetensors"), |tensors| {
        let weights = tensors.iter_mut().filter(|(name, _)| name.contains(".ff") && name.ends_with(".weight"));
        weights.for_each(|(_, tensor)| tensor.as_mut_slice().unwrap().iter_mut().step_by(2).for_each(|x| *x = 0.0));
    });
    [dense, pruned]
}

/// At the size of the reference data.
fn compare([dense, pruned]: &[PathBuf; 2], more: &[&str]) -> Run {
    obsdiff(&[&["compare", text(dense), text(pruned), "--height=64", "--width=96"], more].concat())
}

fn prompts_file(folder: &Path) -> PathBuf {
    let path = folder.join("prompts.txt");
    std::fs::write(&path, PROMPTS.join("\n")).unwrap();
    path
}

#[test]
fn the_dense_pictures_are_those_of_diffusers() {
    for (name, steps, guidance) in [("sd3_medium", 10, "7"), ("flux_dev", 8, "3.5")] {
        let folder = tempfile::tempdir().unwrap();
        let (reference, output) = (data("pipelines").join(name), folder.path().join("out"));
        let conditioning = reference.join("conditioning.safetensors");
        let sampling = [format!("--num-inference-steps={steps}"), format!("--guidance-scale={guidance}")];
        let own = ["--conditioning", text(&conditioning), "-o", text(&output), "--json"];
        let run = compare(&models(folder.path(), name), &[&own[..], &[&sampling[0], &sampling[1]]].concat());
        let found: Comparison = serde_json::from_value(run.json()).unwrap();
        assert_eq!(found.pictures.as_ref().unwrap().decoder, Decoder::Vae);
        let expected = from_decoded(&tensors(&reference.join("expected.safetensors"))["vae_decoded"]).unwrap();
        assert_eq!((found.items.len(), expected.len()), (2, 2));
        for (item, expected) in found.items.iter().zip(&expected) {
            let read = |name: &Option<String>| Picture::read(output.join(name.as_ref().unwrap())).unwrap();
            let (dense, pruned) = (read(&item.dense), read(&item.pruned));
            assert_eq!((dense.width, dense.height), (96, 64));
            let apart = dense.rgb.iter().zip(&expected.rgb).filter(|(a, b)| a != b).count();
            let worst = dense.rgb.iter().zip(&expected.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= 1 && apart < dense.rgb.len() / 1000, "{name}: {apart} bytes differ, by {worst}");
            assert_ne!(dense, pruned);
            assert_eq!(item.ssim, ssim(&dense, &pruned).unwrap());
        }
    }
}

#[test]
fn every_measure_is_that_of_the_written_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, lpips) = (clip_folder(folder.path()), lpips_file(folder.path(), "alex"));
    let (prompts, output) = (prompts_file(folder.path()), folder.path().join("out"));
    let models = models(folder.path(), "sd3_medium");
    let own = ["--prompts", text(&prompts), "--embeddings-cache=none", "--num-inference-steps=2", "--json"];
    let measures = ["--lpips", text(&lpips), "--clip", text(&clip), "--features", text(&clip), "-o", text(&output)];
    let found: Comparison = serde_json::from_value(compare(&models, &[own, measures].concat()).json()).unwrap();
    let read = |name: &Option<String>| Picture::read(output.join(name.as_ref().unwrap())).unwrap();
    let lpips = Lpips::open(&lpips).unwrap();
    let texts = text_embeddings(&clip, &PROMPTS.map(String::from)).unwrap();
    let [mut dense, mut pruned] = [(); 2].map(|()| ClipPictures::open(&clip).unwrap());
    for (item, prompt) in found.items.iter().zip(PROMPTS) {
        assert_eq!(item.prompt.as_deref(), Some(prompt));
        let (a, b) = (read(&item.dense), read(&item.pruned));
        assert_eq!(item.lpips, Some(lpips.distance(&a, &b).unwrap()));
        dense.add(&a).unwrap();
        pruned.add(&b).unwrap();
    }
    let (dense, pruned) = (dense.finish().unwrap(), pruned.finish().unwrap());
    for (index, item) in found.items.iter().enumerate() {
        let score = item.clip_score.unwrap();
        let expected = [&dense, &pruned].map(|pictures| clip_score(&texts[index], &pictures[index]));
        assert!((score.dense - expected[0]).abs() < 1e-6 && (score.pruned - expected[1]).abs() < 1e-6, "{index}");
    }
    let pictures = found.pictures.unwrap();
    let expected = frechet(&Gaussian::of(&dense).unwrap(), &Gaussian::of(&pruned).unwrap()).unwrap();
    assert!((pictures.frechet.unwrap() - expected).abs() <= 1e-6 * expected.max(1.0), "{expected}");
    assert_eq!((pictures.frechet_real, pictures.lpips_network.as_deref()), (None, Some("alex")));
    assert_eq!(pictures.clip_score.unwrap().dense.items, 2);
    assert_eq!(pictures.lpips.unwrap().items, 2);
}

#[test]
fn without_a_vae_only_latents_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let models = models(folder.path(), "sd3_medium");
    let transformers = models.clone().map(|model| model.join("transformer"));
    let (conditioning, output) = (data("pipelines/sd3_medium/conditioning.safetensors"), folder.path().join("out"));
    let own = ["--conditioning", text(&conditioning), "--num-inference-steps=1", "-o", text(&output)];
    let run = compare(&transformers, &[&own[..], &["--json"]].concat());
    assert!(run.stderr.contains("no pictures, only latents"), "{}", run.stderr);
    let found: Comparison = serde_json::from_value(run.json()).unwrap();
    assert!(found.pictures.is_none() && found.latent_rel > 0.0);
    assert_eq!(names_in(&output), ["comparison.json", "grid.png"]);
    let lpips = lpips_file(folder.path(), "alex");
    let refused = [&own[..4], &["--lpips", text(&lpips)]].concat();
    compare(&transformers, &refused).refused(2, &["measure pictures", "no VAE"]);
    // The text encoder is no CLIP with two halves.
    let (prompts, encoder) = (prompts_file(folder.path()), models[0].join("text_encoder"));
    let own = ["--prompts", text(&prompts), "--embeddings-cache=none", "--clip", text(&encoder)];
    compare(&models, &own).refused(3, &["text_encoder"]);
}
