//! `GroupNorm` against float64.

use obsdiff::networks::GroupNorm;
use obsdiff::ops::Tensor;

use crate::support::noises;

const EPS: f64 = 1e-6;

fn norm(channels: usize, groups: usize) -> (Vec<f32>, Vec<f32>, GroupNorm) {
    let (weight, bias) = (noises(1, channels), noises(2, channels));
    let tensor = |values: &Vec<f32>| Tensor::from_vec(values.clone(), [channels]).unwrap();
    let norm = GroupNorm::new("norm", tensor(&weight), tensor(&bias), groups, EPS).unwrap();
    (weight, bias, norm)
}

/// Values around `offset` of a picture of `pixels`.
fn check(pixels: usize, channels: usize, groups: usize, offset: f32) {
    let (weight, bias, norm) = norm(channels, groups);
    let values: Vec<f32> = noises(3, pixels * channels).into_iter().map(|x| x + offset).collect();
    let found = norm.apply(&Tensor::from_vec(values.clone(), [pixels, 1, channels]).unwrap()).unwrap();
    let members = channels / groups;
    for group in 0..groups {
        let own = |at: &usize| at % channels / members == group;
        let of = |at: usize| f64::from(values[at]);
        let count = (pixels * members) as f64;
        let mean = (0..values.len()).filter(own).map(of).sum::<f64>() / count;
        let variance = (0..values.len()).filter(own).map(|at| (of(at) - mean).powi(2)).sum::<f64>() / count;
        for at in (0..values.len()).filter(own) {
            let (weight, bias) = (f64::from(weight[at % channels]), f64::from(bias[at % channels]));
            let expected = (of(at) - mean) / (variance + EPS).sqrt() * weight + bias;
            let found = f64::from(found.as_slice().unwrap()[at]);
            // x scale + shift loses as many digits as the mean is larger than the deviation.
            let size = 2.0 + mean.abs() / (variance + EPS).sqrt();
            assert!(
                (found - expected).abs() <= 5e-7 * size,
                "{pixels} {channels} {groups}: {found} at {at}, {expected}"
            );
        }
    }
}

#[test]
fn matches_float64() {
    for pixels in [1, 2, 3, 63, 64, 65, 129, 1000] {
        check(pixels, 8, 4, 0.0);
        check(pixels, 12, 3, 5.0);
        check(pixels, 5, 1, -1.0);
    }
    check(300, 512, 32, 0.5);
    check(300, 32, 32, 100.0);
}

#[test]
fn values_that_are_not_finite_are_named() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = noises(3, 40 * 8);
        values[123] = value;
        let error = norm(8, 4).2.affine(&Tensor::from_vec(values, [5, 8, 8]).unwrap(), true).unwrap_err();
        assert!(error.to_string().contains("tensor `norm` holds NaN or infinity in its input"), "{error}");
        assert_eq!(error.exit_code(), 4);
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let vector = |length: usize| Tensor::from_vec(vec![0.0; length], [length]).unwrap();
    for (weight, bias, groups) in [(8, 8, 3), (8, 8, 0), (8, 4, 4)] {
        assert!(GroupNorm::new("norm", vector(weight), vector(bias), groups, EPS).is_err());
    }
    let picture = Tensor::from_vec(vec![0.0; 18], [3, 1, 6]).unwrap();
    assert!(norm(8, 4).2.apply(&picture).is_err());
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    let x = Tensor::from_vec(noises(3, 1000 * 16), [50, 20, 16]).unwrap();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| norm(16, 4).2.apply(&x).unwrap().to_vec().unwrap())
    };
    assert_eq!(with(1), with(2));
    assert_eq!(with(1), with(5));
}
