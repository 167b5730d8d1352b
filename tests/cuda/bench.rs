//! The measurement of whole blocks, at sizes that the interpreter runs.

use obsdiff::Error;
use obsdiff::bench::{Model, measure, models, random_tensors, two_of_four};
use obsdiff::checkpoint::Pipeline;
use obsdiff::checkpoint::config::Architecture;
use obsdiff::model::taps::taps;

use super::interpreted;
use super::support::data;

/// A reference pipeline's configuration with one block of each kind.
fn tiny(name: &str) -> Model {
    let pipeline = Pipeline::open(data("pipelines").join(name).join("pipeline")).unwrap();
    let mut architecture = pipeline.architecture;
    match &mut architecture {
        Architecture::Sd3(config) => config.num_layers = 2,
        Architecture::Flux(config) => (config.num_layers, config.num_single_layers) = (1, 1),
    }
    Model { name: name.into(), architecture, image_grid: [2, 3], text_tokens: 5 }
}

#[test]
fn every_block_is_timed_dense_and_sparse() {
    for (name, expected) in [
        ("sd35_large", ["transformer_blocks.0", "transformer_blocks.1", "forward"]),
        ("flux_dev", ["transformer_blocks.0", "single_transformer_blocks.0", "forward"]),
    ] {
        let times = measure(&tiny(name), &interpreted(), 2).unwrap();
        let parts: Vec<&str> = times.iter().map(|time| time.part.as_str()).collect();
        assert_eq!(parts, expected);
        let (blocks, forward) = (&times[..2], &times[2]);
        for time in &times {
            assert_eq!((time.model.as_str(), time.dense.runs, time.sparse.runs), (name, 2, 2));
            assert!(time.dense.median > 0.0 && time.sparse.median > 0.0, "{time:?}");
            assert_eq!(time.ratio(), time.dense.median / time.sparse.median);
        }
        // The interpreter spends its time in kernels, nearly all of which are the blocks'.
        let sum: f64 = blocks.iter().map(|time| time.dense.median).sum();
        assert!(sum > 0.1 * forward.dense.median && sum < 10.0 * forward.dense.median, "{times:?}");
    }
}

#[test]
fn a_block_that_cannot_be_packed_whole_is_not_measured() {
    let mut model = tiny("sd3_medium");
    let Architecture::Sd3(config) = &mut model.architecture else { panic!("sd3_medium is SD3") };
    // 3 heads of 16 make 48 columns.
    config.num_attention_heads = 3;
    config.caption_projection_dim = 48;
    match measure(&model, &interpreted(), 1) {
        // The second Linears of the two image and the one text MLP have 192 columns.
        Err(Error::CheckFailed(why)) => assert!(why.contains("3 of 21 Linears are 2:4"), "{why}"),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn the_measured_blocks_have_the_published_shapes() {
    let all = models();
    let tokens: Vec<usize> = all.iter().map(|model| model.image_grid.iter().product()).collect();
    assert_eq!(tokens, [4096, 4096]);
    let widths: Vec<usize> = all.iter().map(|model| model.architecture.inner_dim()).collect();
    assert_eq!(widths, [2432, 3072]);
    for model in &all {
        assert!(taps(&model.architecture).iter().all(|tap| tap.columns.is_multiple_of(32)), "{}", model.name);
    }
}

#[test]
fn random_weights_are_equal_in_every_run_and_half_zero_when_sparse() {
    let architecture = tiny("flux_dev").architecture;
    let name = "transformer_blocks.0.attn.to_q.weight";
    let [(first, shape), (second, _)] = [(); 2].map(|()| random_tensors(&architecture)(name).unwrap());
    assert_eq!((&first, shape), (&second, vec![64, 64]));
    assert!(first.iter().all(|value| value.abs() <= 0.125 && *value != 0.0), "not within 1 / sqrt(64)");
    let mean = first.iter().sum::<f32>() / first.len() as f32;
    assert!(mean.abs() < 0.01, "mean {mean}");
    let mut sparse = first;
    two_of_four(&mut sparse);
    assert!(sparse.chunks(4).all(|four| four.iter().filter(|value| **value == 0.0).count() == 2));
    assert!(random_tensors(&architecture)("transformer_blocks.9.attn.to_q.weight").is_err());
}
