//! A T5 encoder takes the memory of half a layer rather than its own size.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use obsdiff::memory;
use obsdiff::networks::T5;
use serde_json::{Map, json};

const MIB: f64 = (1 << 20) as f64;
/// Largest share of the file that the process may take, its own program included. Half a layer in f32 (feed-forward,
/// 33 MiB) is a tenth of this encoder and a twentieth of T5-XXL (480 MiB of 8.9 GiB).
const SHARE: f64 = 0.2;

/// Width, inner width and heads of T5-large (version 1.1), half as many layers.
fn config() -> serde_json::Value {
    json!({
        "model_type": "t5", "vocab_size": 32_128, "d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 12,
        "num_heads": 16, "feed_forward_proj": "gated-gelu",
    })
}

fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all = vec![
        ("shared.weight".to_string(), vec![32_128, 1024]),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight".into(), vec![32, 16]),
        ("encoder.final_layer_norm.weight".into(), vec![1024]),
    ];
    for layer in 0..12 {
        let name = |part: &str| format!("encoder.block.{layer}.layer.{part}.weight");
        for (part, shape) in [
            ("0.SelfAttention.q", vec![1024, 1024]),
            ("0.SelfAttention.k", vec![1024, 1024]),
            ("0.SelfAttention.v", vec![1024, 1024]),
            ("0.SelfAttention.o", vec![1024, 1024]),
            ("0.layer_norm", vec![1024]),
            ("1.DenseReluDense.wi_0", vec![2816, 1024]),
            ("1.DenseReluDense.wi_1", vec![2816, 1024]),
            ("1.DenseReluDense.wo", vec![1024, 2816]),
            ("1.layer_norm", vec![1024]),
        ] {
            all.push((name(part), shape));
        }
    }
    all
}

/// Writes random bf16 weights in [-1/16, 1/16), never more than a buffer at a time; returns the bytes of the file.
fn write(folder: &Path) -> u64 {
    fs::write(folder.join("config.json"), config().to_string()).unwrap();
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in tensors() {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }));
    }
    let mut header = serde_json::Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let path = folder.join("model.safetensors");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let mut state = 1u32;
    for _ in 0..end / 2 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.write_all(&(((state >> 16) as u16 & 0x807f) | 0x3c80).to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
    drop(file);
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_large_t5_takes_a_small_share_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = write(folder.path()) as f64;
    let Some(before) = memory::peak() else {
        println!("SKIP: this system does not tell how much memory a process takes");
        return;
    };
    let rows: Vec<Vec<u32>> = (0..2).map(|row| (0..77).map(|i| (row * 997 + i * 391) % 32_128).collect()).collect();
    let start = std::time::Instant::now();
    let out = T5::open(folder.path()).unwrap().encode(&rows, &mut |_, _| Ok(())).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let after = memory::peak().unwrap() as f64;
    assert_eq!(out.dims(), [2, 77, 1024]);
    println!(
        "file {:.0} MiB, peak {:.0} MiB ({:.0} MiB before), {:.1} % of the file, {seconds:.1} s",
        bytes / MIB,
        after / MIB,
        before as f64 / MIB,
        100.0 * after / bytes
    );
    assert!(after <= SHARE * bytes, "the peak of {after} bytes is more than {SHARE} of the file's {bytes}");
}
