//! Weights of the right shapes and magnitudes, equal in every run.

use std::collections::HashMap;

use crate::checkpoint::config::Architecture;
use crate::checkpoint::shapes::expected_tensors;
use crate::error::{Error, Result};

/// Reads random tensors in the place of a checkpoint: Linears and embeddings uniform within 1 / sqrt(columns), so that
/// activations keep their size, and vectors within 1.
pub fn random_tensors(architecture: &Architecture) -> impl FnMut(&str) -> Result<(Vec<f32>, Vec<usize>)> + use<> {
    let shapes: HashMap<String, Vec<usize>> = expected_tensors(architecture).into_iter().collect();
    move |name| {
        let shape = shapes.get(name).cloned().ok_or_else(|| Error::Unsupported {
            what: "tensor of the transformer".into(),
            found: name.into(),
            supported: "those that its configuration implies".into(),
        })?;
        let columns: usize = shape.iter().skip(1).product();
        Ok((values(1.0 / (columns as f32).sqrt(), shape.iter().product()), shape))
    }
}

/// Zeroes two of every four values, which two changing from four to four.
pub fn two_of_four(values: &mut [f32]) {
    const ZEROED: [[usize; 2]; 6] = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
    for (number, four) in values.chunks_exact_mut(4).enumerate() {
        ZEROED[number % ZEROED.len()].into_iter().for_each(|place| four[place] = 0.0);
    }
}

/// `count` values within `bound`; never a run of zeros, on which products are faster than on real data.
pub(super) fn values(bound: f32, count: usize) -> Vec<f32> {
    // SplitMix64, a counter through a mixer: any value by itself, without a state.
    let uniform = |index: u64| {
        let mut bits = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count as u64).map(|index| bound * uniform(index)).collect()
}
