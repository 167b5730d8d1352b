//! The decoder against what diffusers decoded.

use std::path::PathBuf;

use obsdiff::checkpoint::Pipeline;
use obsdiff::networks::VaeDecoder;
use obsdiff::ops::Tensor;
use obsdiff::pictures::from_decoded;
use obsdiff::sampling::LatentSize;

use crate::support::{copy_folder, data, edit, json, names_in, rewrite, tensors};

pub const PIPELINES: [&str; 4] = ["sd3_medium", "sd35_large", "sd35_medium", "flux_dev"];

/// The VAE of a reference pipeline.
pub fn vae(name: &str) -> PathBuf {
    data("pipelines").join(name).join("pipeline/vae")
}

/// Final latents as [n, channels, height, width], and what diffusers decoded them to.
pub fn reference(name: &str) -> (Tensor, Tensor) {
    let folder = data("pipelines").join(name);
    let mut expected = tensors(&folder.join("expected.safetensors"));
    let info = json(&folder.join("info.json"));
    let pipeline = Pipeline::open(folder.join("pipeline")).unwrap();
    let side = |key: &str| info[key].as_u64().unwrap() as usize;
    let size = LatentSize::new(&pipeline.architecture, &pipeline.vae_config(), side("height"), side("width")).unwrap();
    (size.unpack(&expected["final_latents"]).unwrap(), expected.remove("vae_decoded").unwrap())
}

/// max |a - b|
fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let far = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    a.as_slice().unwrap().iter().zip(b.as_slice().unwrap()).map(far).fold(0.0, f32::max)
}

#[test]
fn decodes_as_diffusers_on_every_pipeline() {
    for name in PIPELINES {
        let (latents, expected) = reference(name);
        let decoded = VaeDecoder::open(&vae(name)).unwrap().decode(&latents).unwrap();
        let error = distance(&decoded, &expected);
        println!("{name}: {error:e}");
        assert!(error < 1e-5, "{name}: off by {error:e}");
        let (found, expected) = (from_decoded(&decoded).unwrap(), from_decoded(&expected).unwrap());
        assert_eq!((found.len(), found[0].width, found[0].height), (2, 96, 64));
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.rgb.iter().zip(&expected.rgb).all(|(a, b)| a.abs_diff(*b) <= 1), "{name}");
        }
    }
}

/// `data/vae`: configurations that the pipelines do not have, decoded by diffusers.
#[test]
fn decodes_other_configurations_as_diffusers() {
    let names = names_in(&data("vae"));
    let folders: Vec<&String> = names.iter().filter(|name| !name.contains('.')).collect();
    assert_eq!(folders.len(), 3);
    for name in folders {
        let folder = data("vae").join(name);
        let expected = tensors(&folder.join("expected.safetensors"));
        let decoded = VaeDecoder::open(&folder).unwrap().decode(&expected["latents"]).unwrap();
        let error = distance(&decoded, &expected["decoded"]);
        println!("{name}: {error:e}");
        assert!(error < 1e-5, "{name}: off by {error:e}");
    }
}

#[test]
fn the_old_names_of_the_attention_are_read() {
    let (latents, expected) = reference("sd3_medium");
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&vae("sd3_medium"), folder.path());
    rewrite(&folder.path().join("diffusion_pytorch_model.safetensors"), |all| {
        for (new, old) in [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")] {
            for kind in ["weight", "bias"] {
                let name = |part: &str| format!("decoder.mid_block.attentions.0.{part}.{kind}");
                let tensor = all.remove(&name(new)).unwrap();
                all.insert(name(old), tensor);
            }
        }
    });
    let decoded = VaeDecoder::open(folder.path()).unwrap().decode(&latents).unwrap();
    assert!(distance(&decoded, &expected) < 1e-5);
}

#[test]
fn an_absent_shift_is_zero() {
    let (latents, expected) = reference("sd3_medium");
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&vae("sd3_medium"), folder.path());
    edit(&folder.path().join("config.json"), "\"shift_factor\": 0.0609", "\"shift_factor\": null");
    // z / s + 0 of these latents is what z / s + 0.0609 was of the reference.
    let moved = latents.to_vec().unwrap().into_iter().map(|z| z + 0.0609 * 1.5305).collect();
    let moved = Tensor::from_vec(moved, latents.dims()).unwrap();
    let decoder = VaeDecoder::open(folder.path()).unwrap();
    assert!(distance(&decoder.decode(&moved).unwrap(), &expected) < 2e-5);
    assert!(distance(&decoder.decode(&latents).unwrap(), &expected) > 1e-3);
}

#[test]
fn pictures_do_not_depend_on_threads_or_on_each_other() {
    let (latents, _) = reference("flux_dev");
    let decoder = VaeDecoder::open(&vae("flux_dev")).unwrap();
    let with = |threads: usize, latents: &Tensor| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| decoder.decode(latents).unwrap().to_vec().unwrap())
    };
    let both = with(1, &latents);
    assert_eq!(with(2, &latents), both);
    assert_eq!(with(5, &latents), both);
    let second = with(2, &latents.narrow(0, 1, 1).unwrap());
    assert_eq!(second, both[both.len() / 2..]);
}

#[test]
fn progress_grows_to_one_and_can_stop_the_work() {
    let (latents, _) = reference("sd3_medium");
    let decoder = VaeDecoder::open(&vae("sd3_medium")).unwrap();
    let mut shares = Vec::new();
    decoder
        .decode_with(&latents, &mut |share| {
            shares.push(share);
            Ok(())
        })
        .unwrap();
    assert!(shares.windows(2).all(|pair| pair[0] < pair[1]), "{shares:?}");
    assert!((shares[shares.len() - 1] - 1.0).abs() < 1e-9 && shares.len() > 20);
    let mut calls = 0;
    let stopped = decoder.decode_with(&latents, &mut |_| {
        calls += 1;
        Err(obsdiff::Error::Usage("enough".into()))
    });
    assert_eq!((stopped.unwrap_err().to_string(), calls), ("enough".into(), 1));
}
