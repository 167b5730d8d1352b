//! x + y, and x + scale * y.

use rayon::prelude::*;

/// Values per task: 64 KiB, a few times the cost of handing a task over.
const CHUNK: usize = 16 * 1024;

/// Adds `y` to every run of its length in `x`, in place; the length of `x` is a multiple of it.
pub fn add(x: &mut [f32], y: &[f32]) {
    if y.is_empty() {
        return;
    }
    for run in x.chunks_mut(y.len()) {
        run.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(x, y)| {
            x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        });
    }
}

/// Adds `scale * y` to `x` of the same length, in place; the product is rounded before the sum.
pub fn add_scaled(x: &mut [f32], scale: f32, y: &[f32]) {
    x.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(x, y)| {
        x.iter_mut().zip(y).for_each(|(x, y)| *x += scale * y);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_summand_is_repeated() {
        for (runs, length) in [(0, 3), (1, 7), (5, 3), (2, CHUNK + 1)] {
            let mut x: Vec<f32> = (0..runs * length).map(|i| i as f32 * 0.25).collect();
            let y: Vec<f32> = (0..length).map(|i| 1.0 - i as f32).collect();
            add(&mut x, &y);
            for (i, x) in x.iter().enumerate() {
                assert_eq!(*x, i as f32 * 0.25 + (1.0 - (i % length) as f32), "{runs} x {length}, {i}");
            }
        }
    }

    #[test]
    fn a_scaled_summand_is_rounded_as_two_operations() {
        for length in (0..=64).chain([CHUNK - 1, CHUNK, 2 * CHUNK + 1]) {
            let x: Vec<f32> = (0..length).map(|i| (i as f32 * 0.7).sin()).collect();
            let y: Vec<f32> = (0..length).map(|i| (i as f32 * 1.3).cos()).collect();
            let mut found = x.clone();
            add_scaled(&mut found, -0.1, &y);
            for i in 0..length {
                let product = -0.1 * y[i];
                assert_eq!(found[i].to_bits(), (x[i] + product).to_bits(), "length {length}, {i}");
            }
        }
    }
}
