//! `Conv2d` against a naive convolution in float64.

use obsdiff::networks::{Affine, Conv2d, Reading};
use obsdiff::ops::Tensor;

use crate::support::noises;

/// One case; the picture is [height, width, channels].
#[derive(Debug, Clone, Copy)]
struct Case {
    size: [usize; 2],
    channels: usize,
    features: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    upsample: usize,
}

const PLAIN: Case = Case { size: [5, 7], channels: 3, features: 4, kernel: [3, 3], stride: 1, padding: 1, upsample: 1 };

struct Inputs {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    affine: Option<Affine>,
    onto: Option<Tensor>,
}

impl Case {
    fn output(&self) -> [usize; 3] {
        let [height, width] = [0, 1]
            .map(|axis| (self.size[axis] * self.upsample + 2 * self.padding - self.kernel[axis]) / self.stride + 1);
        [height, width, self.features]
    }

    fn inputs(&self, affine: Option<bool>, adds: bool) -> Inputs {
        let ([height, width], [rows, columns]) = (self.size, self.kernel);
        let tensor =
            |seed: u64, shape: &[usize]| Tensor::from_vec(noises(seed, shape.iter().product()), shape).unwrap();
        Inputs {
            x: tensor(1, &[height, width, self.channels]),
            weight: tensor(2, &[self.features, self.channels, rows, columns]),
            bias: tensor(3, &[self.features]),
            affine: affine.map(|silu| Affine {
                scale: noises(4, self.channels).iter().map(|x| 4.0 * x).collect(),
                shift: noises(5, self.channels),
                silu,
            }),
            onto: adds.then(|| tensor(6, &self.output())),
        }
    }

    fn convolve(&self, inputs: &Inputs) -> Tensor {
        let conv = Conv2d::new(&inputs.weight, Some(&inputs.bias), self.stride, self.padding).unwrap();
        let reading = Reading { upsample: self.upsample, affine: inputs.affine.as_ref() };
        conv.apply_with(&inputs.x, reading, inputs.onto.clone()).unwrap()
    }

    /// The naive result, and for each value the sum of the magnitudes of its terms.
    fn naive(&self, inputs: &Inputs) -> Vec<(f64, f64)> {
        let ([height, width], [rows, columns]) = (self.size, self.kernel);
        let (x, weight) = (inputs.x.as_slice().unwrap(), inputs.weight.as_slice().unwrap());
        let value = |y: usize, column: usize, channel: usize| {
            let (y, column) = (y.wrapping_sub(self.padding), column.wrapping_sub(self.padding));
            if y >= height * self.upsample || column >= width * self.upsample {
                return 0.0;
            }
            let at = (y / self.upsample * width + column / self.upsample) * self.channels + channel;
            let Some(affine) = &inputs.affine else { return f64::from(x[at]) };
            let y = f64::from(x[at]) * f64::from(affine.scale[channel]) + f64::from(affine.shift[channel]);
            if affine.silu { y / (1.0 + (-y).exp()) } else { y }
        };
        let [out_height, out_width, features] = self.output();
        let mut results = Vec::new();
        for y in 0..out_height {
            for column in 0..out_width {
                for feature in 0..features {
                    let index = (y * out_width + column) * features + feature;
                    let start = f64::from(inputs.bias.as_slice().unwrap()[feature])
                        + inputs.onto.as_ref().map_or(0.0, |onto| f64::from(onto.as_slice().unwrap()[index]));
                    let (mut sum, mut size) = (start, 1.0);
                    for channel in 0..self.channels {
                        for row in 0..rows {
                            for tap in 0..columns {
                                let at = ((feature * self.channels + channel) * rows + row) * columns + tap;
                                let term = f64::from(weight[at])
                                    * value(y * self.stride + row, column * self.stride + tap, channel);
                                sum += term;
                                size += term.abs();
                            }
                        }
                    }
                    results.push((sum, size));
                }
            }
        }
        results
    }

    fn check(&self, affine: Option<bool>, adds: bool) {
        let inputs = self.inputs(affine, adds);
        let found = self.convolve(&inputs);
        assert_eq!(found.dims(), self.output(), "{self:?}");
        for (index, (&found, (expected, size))) in found.as_slice().unwrap().iter().zip(self.naive(&inputs)).enumerate()
        {
            let error = (f64::from(found) - expected).abs();
            assert!(error <= 2e-6 * size, "{self:?} {affine:?} {adds}: {found} at {index}, expected {expected}");
        }
    }
}

#[test]
fn matches_float64_for_every_small_size() {
    for height in 1..=6 {
        for width in 1..=24 {
            Case { size: [height, width], ..PLAIN }.check(None, false);
        }
    }
    // One below, at and above the panel of features, the slab of terms and the block of pixels.
    for features in [1, 2, 31, 32, 33, 63, 64, 65] {
        Case { features, channels: 5, ..PLAIN }.check(Some(true), false);
    }
    for channels in [1, 2, 16, 63, 64, 65, 128] {
        Case { channels, size: [3, 4], ..PLAIN }.check(None, true);
    }
    for width in [95, 96, 97, 191, 193] {
        Case { size: [2, width], ..PLAIN }.check(Some(false), true);
    }
}

#[test]
fn matches_float64_for_other_kernels_and_strides() {
    for stride in 1..=4 {
        for padding in 0..=3 {
            for kernel in [[1, 1], [2, 2], [3, 3], [1, 5], [4, 1]] {
                Case { size: [9, 11], kernel, stride, padding, ..PLAIN }.check(None, stride % 2 == 0);
            }
        }
    }
    Case { size: [30, 31], kernel: [11, 11], stride: 4, padding: 2, features: 33, ..PLAIN }.check(None, false);
    Case { size: [28, 28], kernel: [14, 14], stride: 14, padding: 0, features: 40, ..PLAIN }.check(None, false);
}

#[test]
fn upsampling_normalising_and_adding_happen_on_the_way() {
    for upsample in 1..=3 {
        for padding in 0..=2 {
            for affine in [None, Some(false), Some(true)] {
                Case { upsample, padding, size: [4, 9], ..PLAIN }.check(affine, true);
            }
        }
    }
}

/// A picture that takes several tasks, each with the fewest rows that the buffer allows, and the rest of a division.
#[test]
fn matches_float64_across_tasks() {
    for height in [32, 33, 65, 100] {
        Case { size: [height, 3], channels: 2, ..PLAIN }.check(Some(true), false);
    }
    // Rows of 6 MB: every task has one.
    Case { size: [3, 1500], channels: 1024, features: 1, kernel: [3, 1], padding: 0, ..PLAIN }.check(None, false);
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    let case = Case { size: [70, 50], channels: 40, features: 50, ..PLAIN };
    let inputs = case.inputs(Some(true), true);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.convolve(&inputs).to_vec().unwrap())
    };
    let one = with(1);
    for threads in [2, 3, 5] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let inputs = PLAIN.inputs(None, false);
    let conv = |stride| Conv2d::new(&inputs.weight, Some(&inputs.bias), stride, 0);
    assert!(conv(0).is_err());
    assert!(Conv2d::new(&inputs.weight, Some(&Tensor::from_vec(vec![0.0; 3], [3]).unwrap()), 1, 0).is_err());
    let picture = |shape: [usize; 3]| Tensor::from_vec(vec![0.0; shape.iter().product()], shape).unwrap();
    for shape in [[5, 7, 2], [2, 7, 3], [5, 2, 3], [0, 7, 3]] {
        assert!(conv(1).unwrap().apply(&picture(shape)).is_err(), "{shape:?}");
    }
    let onto = picture([5, 5, 4]);
    assert!(conv(1).unwrap().apply_with(&picture([5, 7, 3]), Reading::default(), Some(onto)).is_err());
    let affine = Affine { scale: vec![1.0; 2], shift: vec![0.0; 2], silu: false };
    let reading = Reading { upsample: 1, affine: Some(&affine) };
    assert!(conv(1).unwrap().apply_with(&picture([5, 7, 3]), reading, None).is_err());
}
