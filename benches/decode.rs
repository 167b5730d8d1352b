//! Decoding one picture with a VAE of the widths of SD3 and FLUX (random weights): seconds, arithmetic per second of CPU
//! time (all threads, so that other work on the machine is not mistaken for slowness), peak memory.
//! `cargo bench --bench decode -- [LATENT_SIDE]` (default 64: 512 x 512 pixels); `scripts/bench-vae` runs the same in
//! PyTorch.

use std::time::Instant;

use cpu_time::ProcessTime;
use obsdiff::checkpoint::{TensorOut, write_safetensors};
use obsdiff::networks::VaeDecoder;
use obsdiff::ops::Tensor;

const CHANNELS: [usize; 4] = [128, 256, 512, 512];
const RUNS: usize = 3;

fn main() {
    let side = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(64);
    let folder = tempfile::tempdir().unwrap();
    write_vae(folder.path());
    let decoder = VaeDecoder::open(folder.path()).unwrap();
    let latents = Tensor::from_vec(noise(16 * side * side, 1.0), [1, 16, side, side]).unwrap();
    let run = |_| {
        let (wall, cpu) = (Instant::now(), ProcessTime::now());
        decoder.decode(&latents).unwrap();
        [wall.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64()]
    };
    let runs: Vec<[f64; 2]> = (0..RUNS).map(run).collect();
    let median = |which: usize| {
        let mut seconds: Vec<f64> = runs.iter().map(|run| run[which]).collect();
        seconds.sort_by(f64::total_cmp);
        seconds[RUNS / 2]
    };
    let (wall, cpu) = (median(0), median(1));
    let operations = 2.0 * decoder.work(side, side).iter().sum::<f64>();
    println!(
        "{0} x {0} pixels, {1} threads: {wall:.2} s, {cpu:.2} s of CPU time, {2:.3} TFLOP, {3:.0} GFLOP/s per core",
        side * 8,
        rayon::current_num_threads(),
        operations * 1e-12,
        operations / cpu * 1e-9,
    );
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    println!(
        "activations {:.2} GiB by count, peak of the process {:.2} GiB",
        gib(decoder.activation_bytes(side, side)),
        gib(obsdiff::memory::peak().unwrap_or(0)),
    );
}

/// Values in [-size / 2, size / 2).
fn noise(count: usize, size: f32) -> Vec<f32> {
    let value = |i: usize| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
    (1..=count).map(|i| value(i) * size).collect()
}

/// A folder as diffusers writes it, with the decoder's tensors alone.
fn write_vae(folder: &std::path::Path) {
    let config = serde_json::json!({
        "_class_name": "AutoencoderKL", "block_out_channels": CHANNELS, "layers_per_block": 2, "latent_channels": 16,
        "up_block_types": vec!["UpDecoderBlock2D"; 4], "norm_num_groups": 32, "use_post_quant_conv": false,
        "scaling_factor": 1.5305, "shift_factor": 0.0609,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut shapes: Vec<(String, Vec<usize>)> = Vec::new();
    let mut resnet = |name: &str, from: usize, to: usize| {
        shapes.extend([
            (format!("{name}.norm1"), vec![from]),
            (format!("{name}.conv1"), vec![to, from, 3, 3]),
            (format!("{name}.norm2"), vec![to]),
            (format!("{name}.conv2"), vec![to, to, 3, 3]),
        ]);
        if from != to {
            shapes.push((format!("{name}.conv_shortcut"), vec![to, from, 1, 1]));
        }
    };
    (0..2).for_each(|i| resnet(&format!("decoder.mid_block.resnets.{i}"), 512, 512));
    let mut from = 512;
    for (level, &to) in CHANNELS.iter().rev().enumerate() {
        for layer in 0..3 {
            resnet(&format!("decoder.up_blocks.{level}.resnets.{layer}"), from, to);
            from = to;
        }
    }
    for (level, width) in [512, 512, 256].into_iter().enumerate() {
        shapes.push((format!("decoder.up_blocks.{level}.upsamplers.0.conv"), vec![width, width, 3, 3]));
    }
    for name in ["to_q", "to_k", "to_v", "to_out.0"] {
        shapes.push((format!("decoder.mid_block.attentions.0.{name}"), vec![512, 512]));
    }
    shapes.extend([
        ("decoder.mid_block.attentions.0.group_norm".into(), vec![512]),
        ("decoder.conv_in".into(), vec![512, 16, 3, 3]),
        ("decoder.conv_norm_out".into(), vec![128]),
        ("decoder.conv_out".into(), vec![3, 128, 3, 3]),
    ]);
    let both = shapes.iter().flat_map(|(name, shape)| {
        let columns: usize = shape[1..].iter().product();
        let weight = noise(shape.iter().product(), 3.4 / (columns as f32).sqrt());
        [
            (format!("{name}.weight"), shape.clone(), weight),
            (format!("{name}.bias"), shape[..1].to_vec(), vec![0.1; shape[0]]),
        ]
    });
    let tensors: Vec<_> = both.collect();
    let out = tensors.iter().map(|(name, shape, values)| TensorOut::f32(name, shape, values)).collect::<Vec<_>>();
    write_safetensors(folder.join("diffusion_pytorch_model.safetensors"), &out, &[]).unwrap();
}
