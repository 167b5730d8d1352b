//! A VAE that cannot be used is refused in a sentence.

use std::path::Path;

use obsdiff::Error;
use obsdiff::networks::VaeDecoder;
use obsdiff::ops::Tensor;

use super::decoding::{reference, vae};
use crate::support::{copy_folder, edit, rewrite};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A copy of the VAE of sd3_medium with a change.
fn changed(change: impl FnOnce(&Path)) -> (tempfile::TempDir, Result<VaeDecoder, Error>) {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&vae("sd3_medium"), folder.path());
    change(folder.path());
    let opened = VaeDecoder::open(folder.path());
    (folder, opened)
}

#[track_caller]
fn refused(change: impl FnOnce(&Path), code: u8, parts: &[&str]) {
    let error = changed(change).1.unwrap_err();
    for part in parts {
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
    }
    assert_eq!(error.exit_code(), code, "{error}");
}

#[test]
fn configurations_that_cannot_be_followed_are_refused() {
    let config =
        |from: &'static str, to: &'static str| move |folder: &Path| edit(&folder.join("config.json"), from, to);
    refused(config("AutoencoderKL", "AutoencoderTiny"), 3, &["AutoencoderTiny", "supported: AutoencoderKL"]);
    refused(
        config("\"UpDecoderBlock2D\"", "\"AttnUpDecoderBlock2D\""),
        3,
        &["`up_block_types`", "AttnUpDecoderBlock2D"],
    );
    refused(config("\"silu\"", "\"relu\""), 3, &["`act_fn`", "relu", "silu"]);
    refused(config("\"out_channels\": 3", "\"out_channels\": 4"), 3, &["`out_channels`"]);
    refused(config("\"norm_num_groups\": 4", "\"norm_num_groups\": 3"), 3, &["8 of `block_out_channels`", "3 groups"]);
    refused(config("\"norm_num_groups\": 4", "\"norm_num_groups\": 0"), 3, &["0 groups"]);
    refused(config("\"scaling_factor\": 1.5305", "\"scaling_factor\": 0"), 3, &["`scaling_factor` is 0"]);
    refused(config("\"latent_channels\": 16", "\"latent_channels\": 0"), 3, &["`latent_channels` is 0"]);
    refused(config("    8,\n    8,", "    8,"), 3, &["different lengths"]);
    refused(
        config("\"latent_channels\": 16", "\"latent_channels\": \"many\""),
        3,
        &["config.json", "not a valid config"],
    );
    refused(config("{", "["), 3, &["config.json", "not valid JSON"]);
    refused(|folder| std::fs::remove_file(folder.join("config.json")).unwrap(), 3, &["config.json does not exist"]);
}

#[test]
fn weights_that_do_not_fit_are_named_before_any_is_read() {
    let tensor = "decoder.up_blocks.2.resnets.0.conv_shortcut.weight";
    let file = |folder: &Path| folder.join(WEIGHTS);
    refused(|folder| rewrite(&file(folder), |all| drop(all.remove(tensor))), 3, &[tensor, "is missing"]);
    let bias = "decoder.conv_in.bias";
    refused(|folder| rewrite(&file(folder), |all| drop(all.remove(bias))), 3, &[bias, "is missing"]);
    let wrong = Tensor::from_vec(vec![0.0; 128], [16, 8]).unwrap();
    refused(
        |folder| rewrite(&file(folder), |all| drop(all.insert(tensor.into(), wrong))),
        3,
        &[tensor, "[16, 8]", "expected [8, 16, 1, 1]"],
    );
    refused(|folder| std::fs::remove_file(file(folder)).unwrap(), 3, &[WEIGHTS, "does not exist"]);
    refused(
        |folder| {
            let bytes = std::fs::read(file(folder)).unwrap();
            std::fs::write(file(folder), &bytes[..bytes.len() - 1000]).unwrap();
        },
        3,
        &[WEIGHTS],
    );
}

#[test]
fn values_that_are_not_finite_are_named() {
    let (latents, _) = reference("sd3_medium");
    let decoder = VaeDecoder::open(&vae("sd3_medium")).unwrap();
    let spoiled = |value: f32| {
        let mut values = latents.to_vec().unwrap();
        values[1000] = value;
        Tensor::from_vec(values, latents.dims()).unwrap()
    };
    let error = decoder.decode(&spoiled(f32::NAN)).unwrap_err();
    assert!(error.to_string().contains("tensor `latents` holds NaN or infinity"), "{error}");
    // Finite weights whose products are not; a normalisation names what it cannot normalise.
    for (weight, named) in [
        ("decoder.conv_in.weight", "decoder.mid_block.resnets.0.norm1"),
        ("decoder.conv_out.weight", "decoder.conv_out"),
    ] {
        let (_folder, opened) = changed(|folder| {
            rewrite(&folder.join(WEIGHTS), |all| all.get_mut(weight).unwrap().as_mut_slice().unwrap().fill(3e38))
        });
        let error = opened.unwrap().decode(&latents).unwrap_err();
        assert!(error.to_string().contains(&format!("tensor `{named}` holds NaN or infinity")), "{error}");
        assert_eq!(error.exit_code(), 4);
    }
    let name = "decoder.up_blocks.1.resnets.0.norm1.weight";
    let (_folder, opened) = changed(|folder| {
        rewrite(&folder.join(WEIGHTS), |all| all.get_mut(name).unwrap().as_mut_slice().unwrap()[3] = f32::NAN)
    });
    let error = opened.unwrap().decode(&latents).unwrap_err();
    assert!(error.to_string().contains(name), "{error}");
}

#[test]
fn latents_of_another_vae_are_refused() {
    let decoder = VaeDecoder::open(&vae("sd3_medium")).unwrap();
    let latents = Tensor::from_vec(vec![0.0; 4 * 64], [1, 4, 8, 8]).unwrap();
    let error = decoder.decode(&latents).unwrap_err();
    assert!(error.to_string().contains("[n, 16, height, width]") && error.exit_code() == 3, "{error}");
}
