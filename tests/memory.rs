//! The planned peak memory against the measured one, on a model of random weights with the true width of
//! SD3.5-medium (1536) and two blocks.

mod support;

use std::path::Path;
use std::process::Command;

use obsdiff::checkpoint::config::Architecture;
use obsdiff::checkpoint::shapes::expected_tensors;
use obsdiff::checkpoint::{Dtype, TensorOut, write_safetensors};
use serde_json::{Value, json};
use support::noises;

/// SD3.5-medium with two blocks: one with dual attention, and the last one without context output.
fn config() -> Value {
    json!({
        "_class_name": "SD3Transformer2DModel",
        "num_layers": 2,
        "num_attention_heads": 24,
        "attention_head_dim": 64,
        "caption_projection_dim": 1536,
        "dual_attention_layers": [0],
        "qk_norm": "rms_norm",
        "pos_embed_max_size": 96,
    })
}

/// Writes a transformer folder of random bf16 weights, small enough that activations stay in range.
fn write_model(folder: &Path, config: &Value) {
    std::fs::create_dir(folder).expect("model folder");
    std::fs::write(folder.join("config.json"), config.to_string()).expect("config");
    let arch = Architecture::from_config(config, folder).expect("valid config");
    let expected = expected_tensors(&arch);
    let tensors: Vec<TensorOut> = expected
        .iter()
        .map(|(name, shape)| {
            // Values in [-1/16, 1/16) as bf16: random mantissa and sign, one exponent.
            let count = shape.iter().product::<usize>();
            let mut state = name.len() as u32 | 1;
            let bytes: Vec<u8> = (0..count)
                .flat_map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (((state >> 16) as u16 & 0x807f) | 0x3c80).to_le_bytes()
                })
                .collect();
            TensorOut { name, dtype: Dtype::BF16, shape, bytes: bytes.into() }
        })
        .collect();
    let path = folder.join("diffusion_pytorch_model.safetensors");
    write_safetensors(path, &tensors, &[("format".into(), "pt".into())]).expect("weights");
}

fn write_calibration(path: &Path, samples: usize, tokens: usize) {
    let embeds = noises(1, samples * tokens * 4096);
    let pooled = noises(2, samples * 2048);
    let (shape, pooled_shape) = ([samples, tokens, 4096], [samples, 2048]);
    let tensors = [
        TensorOut::f32("prompt_embeds", &shape, &embeds),
        TensorOut::f32("pooled_prompt_embeds", &pooled_shape, &pooled),
    ];
    write_safetensors(path, &tensors, &[]).expect("calibration");
}

#[test]
fn planned_peak_is_within_ten_percent_of_the_measured_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = folder.path().join("model");
    write_model(&model, &config());
    let calibration = folder.path().join("calibration.safetensors");
    write_calibration(&calibration, 2, 64);

    for (label, flags) in [
        ("one package, refined", &["--packages", "1", "--refine", "pcg:1"][..]),
        ("four packages", &["--packages", "4", "--refine", "none"][..]),
        ("weights held as bf16", &["--packages", "2", "--refine", "none", "--dtype", "bf16"][..]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_obsdiff"))
            .arg("prune")
            .arg(&model)
            .arg("--calibration")
            .arg(&calibration)
            .args(["--num-inference-steps", "2", "--guidance-scale", "1", "--height", "256", "--width", "256"])
            .args(["--pattern", "2:4", "--overwrite", "--json", "-o"])
            .arg(folder.path().join("pruned"))
            .args(flags)
            .output()
            .expect("obsdiff runs");
        assert!(output.status.success(), "{label}: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let bytes = |key: &str| report["run"][key].as_f64().expect("bytes");
        let (planned, measured) = (bytes("planned_peak_bytes"), bytes("measured_peak_bytes"));
        let ratio = planned / measured;
        let mib = f64::from(1 << 20);
        println!("{label}: planned {:.0} MiB, measured {:.0} MiB, ratio {ratio:.3}", planned / mib, measured / mib);
        assert!((0.9..=1.1).contains(&ratio), "{label}: planned {planned}, measured {measured}, ratio {ratio:.3}");
    }
}
