//! Between f32 and its halves, to nearest, ties to even; widening is exact.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

/// Values per task.
const CHUNK: usize = 64 * 1024;

/// f16 to f32.
pub fn f16_to_f32(source: &[f16]) -> Vec<f32> {
    convert(source, |source, target| source.convert_to_f32_slice(target))
}

/// bf16 to f32.
pub fn bf16_to_f32(source: &[bf16]) -> Vec<f32> {
    convert(source, |source, target| source.convert_to_f32_slice(target))
}

/// f32 to f16; infinity from 65520 on.
pub fn f32_to_f16(source: &[f32]) -> Vec<f16> {
    convert(source, |source, target: &mut [f16]| target.convert_from_f32_slice(source))
}

/// f32 to bf16.
pub fn f32_to_bf16(source: &[f32]) -> Vec<bf16> {
    convert(source, |source, target: &mut [bf16]| target.convert_from_f32_slice(source))
}

fn convert<S: Sync, T: Clone + Default + Send>(source: &[S], convert: impl Fn(&[S], &mut [T]) + Sync) -> Vec<T> {
    let mut target = vec![T::default(); source.len()];
    target.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK)).for_each(|(target, source)| convert(source, target));
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_a_round_trip_through_f32() {
        let bits = || (0..=u16::MAX).chain(0..17);
        let f16s: Vec<f16> = bits().map(f16::from_bits).collect();
        for (before, after) in f16s.iter().zip(f32_to_f16(&f16_to_f32(&f16s))) {
            assert!(before.to_bits() == after.to_bits() || (before.is_nan() && after.is_nan()), "{before}, {after}");
        }
        let bf16s: Vec<bf16> = bits().map(bf16::from_bits).collect();
        for (before, after) in bf16s.iter().zip(f32_to_bf16(&bf16_to_f32(&bf16s))) {
            assert!(before.to_bits() == after.to_bits() || (before.is_nan() && after.is_nan()), "{before}, {after}");
        }
    }

    #[test]
    fn ties_go_to_even() {
        let halfway = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -1.0 - 1.0 / 256.0];
        assert_eq!(bf16_to_f32(&f32_to_bf16(&halfway)), [1.0, 1.0 + 4.0 / 256.0, -1.0]);
        let halfway = [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65520.0];
        assert_eq!(f16_to_f32(&f32_to_f16(&halfway)), [1.0, 1.0 + 4.0 / 2048.0, f32::INFINITY]);
    }
}
