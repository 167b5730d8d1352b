//! Starting noise as `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))` makes it in
//! float32, so that a seed means the same picture as in diffusers on the CPU. The generator's bits and the
//! order of use are PyTorch's; cos, sin and log may differ in the last digit.

use crate::error::Result;
use crate::ops::Tensor;

/// Words of state of the Mersenne twister.
const STATE: usize = 624;
/// Distance of the word that is mixed in.
const SHIFT: usize = 397;
/// PyTorch fills tensors of at least this many values in groups of this size.
const GROUP: usize = 16;

/// The Mersenne twister mt19937, seeded with the low 32 bits of a seed, as in PyTorch.
pub struct Generator {
    state: [u32; STATE],
    next: usize,
}

impl Generator {
    /// A generator in the state after `manual_seed(seed)`.
    pub fn new(seed: u64) -> Self {
        let mut state = [0; STATE];
        state[0] = seed as u32;
        for i in 1..STATE {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Generator { state, next: STATE }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == STATE {
            for i in 0..STATE {
                let mixed = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
                let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + SHIFT) % STATE] ^ (mixed >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// Uniform in [0, 1) with 24 bits.
    fn uniform_f32(&mut self) -> f32 {
        (self.next_u32() & ((1 << 24) - 1)) as f32 / (1 << 24) as f32
    }

    /// Uniform in [0, 1) with 53 bits.
    fn uniform_f64(&mut self) -> f64 {
        let word = (u64::from(self.next_u32()) << 32) | u64::from(self.next_u32());
        (word & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    /// `count` standard normal values.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        if count < GROUP {
            return self.normal_one_by_one(count);
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform_f32()).collect();
        let (groups, rest) = values.as_chunks_mut::<GROUP>();
        groups.iter_mut().for_each(box_muller);
        if !rest.is_empty() {
            // The last group overlaps the one before and is drawn afresh.
            let mut last: [f32; GROUP] = std::array::from_fn(|_| self.uniform_f32());
            box_muller(&mut last);
            values[count - GROUP..].copy_from_slice(&last);
        }
        values
    }

    /// The path of small tensors: pairs in double precision, the second of a pair kept for the next value.
    fn normal_one_by_one(&mut self, count: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let (u1, u2) = (self.uniform_f64(), self.uniform_f64());
            let radius = (-2.0 * (-u2).ln_1p()).sqrt();
            let (sin, cos) = (2.0 * std::f64::consts::PI * u1).sin_cos();
            values.extend([(radius * cos) as f32, (radius * sin) as f32]);
        }
        values.truncate(count);
        values
    }
}

/// Uniform values to normal ones: element j gives the radius, element j + 8 the angle of a pair.
fn box_muller(group: &mut [f32; GROUP]) {
    for j in 0..GROUP / 2 {
        let radius = (-2.0 * (1.0 - group[j]).ln()).sqrt();
        let angle = 2.0 * std::f32::consts::PI * group[j + GROUP / 2];
        group[j] = radius * angle.cos();
        group[j + GROUP / 2] = radius * angle.sin();
    }
}

/// Noise [rows, channels, height, width] for the conditioning rows `first_row ..`. Row i has its own
/// generator with seed + i, so it does not depend on how rows are batched.
///
/// # Errors
/// [`crate::Error::Runtime`] if the tensor cannot be made.
pub fn starting_noise(seed: u64, first_row: usize, rows: usize, shape: [usize; 3]) -> Result<Tensor> {
    let count = shape.iter().product();
    let of_row = |row: usize| Generator::new(seed.wrapping_add(row as u64)).normal(count);
    let values: Vec<f32> = (first_row..first_row + rows).flat_map(of_row).collect();
    Tensor::from_vec(values, [rows, shape[0], shape[1], shape[2]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: &[f32], expected: &[f32]) {
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!((a - b).abs() < 6e-5, "value {i}: {a}, expected {b}");
        }
    }

    #[test]
    fn twister_matches_its_published_values() {
        let mut generator = Generator::new(5489);
        assert_eq!(generator.next_u32(), 3_499_211_612);
        for _ in 1..9_999 {
            generator.next_u32();
        }
        assert_eq!(generator.next_u32(), 4_123_659_995);
    }

    #[test]
    fn small_tensors_match_torch_randn() {
        assert_close(&Generator::new(0).normal(5), &[1.5410, -0.2934, -2.1788, 0.5684, -1.0845]);
        assert_close(&Generator::new(42).normal(6), &[0.3367, 0.1288, 0.2345, 0.2303, -1.1229, -0.1863]);
    }

    #[test]
    fn large_tensors_match_torch_randn() {
        let expected = [
            1.9269, 1.4873, 0.9007, -2.1055, 0.6784, -1.2345, -0.0431, -1.6047, -0.7521, 1.6487, -0.3925, -1.4036,
            -0.7279, -0.5594, -0.7688, 0.7624,
        ];
        assert_close(&Generator::new(42).normal(64), &expected);
        assert_close(&Generator::new(0).normal(64), &[-1.1258, -1.1524, -0.2506, -0.4339, 0.8487, 0.6920, -0.3160]);
    }

    #[test]
    fn every_length_is_normal_and_rows_are_independent_of_batching() {
        for count in 0..=64 {
            let values = Generator::new(7).normal(count);
            assert_eq!(values.len(), count);
            assert!(values.iter().all(|x| x.is_finite()));
        }
        let all = starting_noise(3, 0, 4, [2, 3, 5]).unwrap();
        let last = starting_noise(3, 2, 2, [2, 3, 5]).unwrap();
        assert_eq!(all.as_slice().unwrap()[2 * 30..], *last.as_slice().unwrap());
    }
}
