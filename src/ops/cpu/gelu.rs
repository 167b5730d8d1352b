//! GELU, tanh approximation: 0.5 x (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3).

use rayon::prelude::*;

use super::simd;

/// Values per task: 64 KiB, a few times the cost of handing a task over.
const CHUNK: usize = 16 * 1024;

/// Applies GELU to every value in place.
pub fn gelu(values: &mut [f32]) {
    values.par_chunks_mut(CHUNK).for_each(|chunk| {
        simd::vectorized(
            #[inline(always)]
            || {
                for value in chunk.iter_mut() {
                    *value = gelu_one(*value);
                }
            },
        )
    });
}

/// 0.5 (1 + tanh u) = 1 / (1 + e^(-2u)), which keeps the relative accuracy of the negative tail.
#[inline(always)]
fn gelu_one(x: f32) -> f32 {
    /// 2 sqrt(2 / pi)
    const SCALE: f32 = 1.595_769_2;
    let u = SCALE * x * (0.044_715 * x).mul_add(x, 1.0);
    x / (1.0 + simd::exp(-u))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(x: f64) -> f64 {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        0.5 * x * (1.0 + u.tanh())
    }

    #[test]
    fn matches_float64_for_every_length() {
        for length in (0..=64).chain([16_383, 16_384, 16_385, 50_001]) {
            let inputs: Vec<f32> = (0..length).map(|i| ((i * 7919 % 24_001) as f32 - 12_000.0) * 1e-3).collect();
            let mut outputs = inputs.clone();
            gelu(&mut outputs);
            for (i, (&x, &y)) in inputs.iter().zip(&outputs).enumerate() {
                let expected = reference(f64::from(x));
                let error = (f64::from(y) - expected).abs();
                assert!(error <= 3e-7 * x.abs().max(1e-3) as f64, "length {length}, {i}: gelu({x}) = {y}, {expected}");
            }
        }
    }

    #[test]
    fn nan_stays_nan_and_infinity_infinity() {
        let mut values = [f32::NAN, f32::INFINITY, -100.0, 0.0];
        gelu(&mut values);
        assert!(values[0].is_nan() && values[1] == f32::INFINITY);
        assert_eq!(values[2..], [0.0, 0.0]);
    }
}
