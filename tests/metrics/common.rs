//! Made-up pictures and weights; tests/data/metrics/README.md has their formulas.
#![allow(dead_code)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use obsdiff::ops::Tensor;
use obsdiff::pictures::Picture;

use crate::support::{copy_folder, data, noise, save};

/// Picture 1 or 2 of a pair.
pub fn picture(seed: u64, width: usize, height: usize) -> Picture {
    let byte = |i: usize| {
        let (y, x, c) = (i / 3 / width, i / 3 % width, i % 3);
        let bits = ((f64::from(noise(seed, i)) + 0.5) * f64::from(1 << 24)) as i64;
        let value = 128 + ((x * (c + 2) * 5 + y * 7) % 97) as i64 + ((bits * 61) >> 24) - 30;
        value.clamp(0, 255) as u8
    };
    Picture { width, height, rgb: (0..width * height * 3).map(byte).collect() }
}

/// Convolutions of the networks: name, features, channels, kernel.
const ALEX: [(&str, [usize; 3]); 5] = [
    ("slice1.0", [64, 3, 11]),
    ("slice2.3", [192, 64, 5]),
    ("slice3.6", [384, 192, 3]),
    ("slice4.8", [256, 384, 3]),
    ("slice5.10", [256, 256, 3]),
];
const VGG: [(&str, [usize; 3]); 13] = [
    ("slice1.0", [64, 3, 3]),
    ("slice1.2", [64, 64, 3]),
    ("slice2.5", [128, 64, 3]),
    ("slice2.7", [128, 128, 3]),
    ("slice3.10", [256, 128, 3]),
    ("slice3.12", [256, 256, 3]),
    ("slice3.14", [256, 256, 3]),
    ("slice4.17", [512, 256, 3]),
    ("slice4.19", [512, 512, 3]),
    ("slice4.21", [512, 512, 3]),
    ("slice5.24", [512, 512, 3]),
    ("slice5.26", [512, 512, 3]),
    ("slice5.28", [512, 512, 3]),
];

/// The state of `lpips.LPIPS(net=...)` with made-up weights, `lin` under the package's second name if `renamed`.
pub fn lpips_state(net: &str, renamed: bool) -> HashMap<String, Tensor> {
    let convolutions: &[_] = if net == "alex" { &ALEX } else { &VGG };
    let mut state = HashMap::new();
    for (name, values) in [("shift", [-0.030f32, -0.088, -0.188]), ("scale", [0.458, 0.448, 0.450])] {
        state.insert(format!("scaling_layer.{name}"), Tensor::from_vec(values.to_vec(), [1, 3, 1, 1]).unwrap());
    }
    let mut seed = 2;
    let mut insert = |name: String, shape: Vec<usize>, scale: f32, shift: f32| {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| noise(seed, i) * scale + shift).collect();
        state.insert(name, Tensor::from_vec(values, shape).unwrap());
        seed += 1;
    };
    for &(name, [features, channels, kernel]) in convolutions {
        let scale = 2.0 * (6.0 / (channels * kernel * kernel) as f64).sqrt();
        insert(format!("net.{name}.weight"), vec![features, channels, kernel, kernel], scale as f32, 0.0);
        insert(format!("net.{name}.bias"), vec![features], 0.1, 0.0);
    }
    let channels = if net == "alex" { [64, 192, 384, 256, 256] } else { [64, 128, 256, 512, 512] };
    for (index, channels) in channels.into_iter().enumerate() {
        let name = if renamed { format!("lins.{index}") } else { format!("lin{index}") };
        insert(format!("{name}.model.1.weight"), vec![1, channels, 1, 1], 1.0, 0.5);
    }
    state
}

/// The same as a file in `folder`.
pub fn lpips_file(folder: &Path, net: &str) -> PathBuf {
    let path = folder.join(format!("lpips-{net}.safetensors"));
    save(&path, &lpips_state(net, net == "vgg"));
    path
}

/// A CLIP folder with its tokenizer, in `folder`.
pub fn clip_folder(folder: &Path) -> PathBuf {
    let clip = folder.join("clip");
    copy_folder(&data("metrics/clip"), &clip);
    copy_folder(&data("pipelines/sd3_medium/pipeline/tokenizer"), &clip);
    clip
}
