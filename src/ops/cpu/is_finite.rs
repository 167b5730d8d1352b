//! Whether all values are finite.

use rayon::prelude::*;

/// Values per task.
const CHUNK: usize = 64 * 1024;

/// Whether no value is NaN or infinite.
pub fn is_finite(values: &[f32]) -> bool {
    // Without a branch per value, so that the loop runs on whole registers.
    values.par_chunks(CHUNK).all(|chunk| chunk.iter().fold(true, |all, value| all & value.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_value_anywhere_is_found() {
        for length in [0, 1, 17, CHUNK + 3] {
            let mut values = vec![f32::MAX; length];
            assert!(is_finite(&values));
            for at in [0, length / 2, length.saturating_sub(1)].into_iter().filter(|&at| at < length) {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    values[at] = bad;
                    assert!(!is_finite(&values), "length {length}, {bad} at {at}");
                }
                values[at] = 0.0;
            }
        }
    }
}
