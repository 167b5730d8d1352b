//! The nonlinearities of text and picture encoders, under the names that their configurations use.

use std::path::Path;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::{self, Tensor, simd};

/// Values per task.
const CHUNK: usize = 16 * 1024;

/// A function of every value on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x Phi(x) with the distribution function Phi of the normal distribution.
    Gelu,
    /// The tanh approximation of [`Activation::Gelu`].
    GeluTanh,
    /// x / (1 + e^(-1.702 x))
    QuickGelu,
    Relu,
    /// x / (1 + e^-x)
    Silu,
}

impl Activation {
    /// The function that transformers calls `name`; `key` of the configuration at `path` says so.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other name.
    pub fn named(name: &str, key: &str, path: &Path) -> Result<Self> {
        match name {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "quick_gelu" => Ok(Activation::QuickGelu),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            _ => Err(Error::Unsupported {
                what: format!("`{key}` in {}", path.display()),
                found: name.into(),
                supported: "gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu, silu, swish".into(),
            }),
        }
    }

    /// Of every value of `x`, f32 in host memory; in place if nobody else shares its values.
    ///
    /// # Errors
    /// [`Error::Runtime`] if `x` is not f32 in host memory.
    pub fn apply(self, x: Tensor) -> Result<Tensor> {
        match self {
            Activation::Gelu => each(x, gelu),
            Activation::GeluTanh => ops::gelu(x),
            Activation::QuickGelu => each(x, quick_gelu),
            Activation::Relu => each(x, relu),
            Activation::Silu => ops::silu(x),
        }
    }
}

fn each(mut x: Tensor, function: impl Fn(f32) -> f32 + Sync) -> Result<Tensor> {
    x.as_mut_slice()?.par_chunks_mut(CHUNK).for_each(|chunk| {
        simd::vectorized(
            #[inline(always)]
            || {
                for value in chunk.iter_mut() {
                    *value = function(*value);
                }
            },
        )
    });
    Ok(x)
}

/// max(x, 0) - t Q(t) with t = |x| and the upper tail Q(t) = 1 - Phi(t), which is e^q(t) for a polynomial q. It has no
/// branch and no cancellation where Phi(x) is small.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    /// Where q ends: t Q(t) is below 1e-11 from there on.
    const END: f32 = 7.0;
    /// q from the constant term on: ln Q(t) on [0, 7], least largest error under the weight max(Q(t), 0.002); the
    /// weighted error is 3e-9.
    const LOG_TAIL: [f32; 12] = [
        -std::f32::consts::LN_2,
        -0.797_884_94,
        -0.318_305_9,
        -0.036_350_906,
        0.004_809_146_8,
        1.458_037e-5,
        -2.077_603_9e-4,
        6.015_567_4e-5,
        -9.745_891e-6,
        9.685_648e-7,
        -5.500_061e-8,
        1.367_443e-9,
    ];
    let t = x.abs();
    // Written so that NaN passes through.
    let t = if t > END { END } else { t };
    let mut q = LOG_TAIL[11];
    for degree in (0..11).rev() {
        q = q.mul_add(t, LOG_TAIL[degree]);
    }
    t.mul_add(-simd::exp(q), if x > 0.0 { x } else { 0.0 })
}

#[inline(always)]
fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + simd::exp(-1.702 * x))
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks `|function(x) - expected(x)| <= bound * |x|` on a fine grid over [-12, 12].
    fn check(activation: Activation, bound: f64, expected: impl Fn(f64) -> f64) {
        let inputs: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-4).collect();
        let x = Tensor::from_vec(inputs.clone(), [inputs.len()]).unwrap();
        let found = activation.apply(x).unwrap().into_vec().unwrap();
        for (&x, y) in inputs.iter().zip(found) {
            let (exact, x) = (expected(f64::from(x)), f64::from(x));
            let error = (f64::from(y) - exact).abs();
            assert!(error <= bound * x.abs(), "{activation:?}({x}) = {y}, expected {exact}");
        }
    }

    /// Phi(x) by its Taylor series, or by the continued fraction of the tail where that is faster.
    fn normal_distribution(x: f64) -> f64 {
        let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let t = x.abs();
        let tail = if t < 4.0 {
            let (mut term, mut sum, mut n) = (t, t, 1.0);
            while term > 1e-18 * sum {
                n += 2.0;
                term *= t * t / n;
                sum += term;
            }
            0.5 - density * sum
        } else {
            density / (1..200).rev().fold(t, |fraction, n| t + f64::from(n) / fraction)
        };
        if x > 0.0 { 1.0 - tail } else { tail }
    }

    #[test]
    fn each_matches_float64() {
        check(Activation::Gelu, 1.2e-7, |x| x * normal_distribution(x));
        check(Activation::QuickGelu, 3e-7, |x| x / (1.0 + (-1.702 * x).exp()));
        check(Activation::Relu, 0.0, |x| x.max(0.0));
        check(Activation::Silu, 3e-7, |x| x / (1.0 + (-x).exp()));
        let slope = (2.0 / std::f64::consts::PI).sqrt();
        check(Activation::GeluTanh, 3e-7, |x| 0.5 * x * (1.0 + (slope * (x + 0.044_715 * x * x * x)).tanh()));
    }

    #[test]
    fn nan_stays_nan_and_infinity_infinity() {
        for activation in [Activation::Gelu, Activation::QuickGelu, Activation::Relu] {
            let x = Tensor::from_vec(vec![f32::NAN, f32::INFINITY, 0.0, -100.0], [4]).unwrap();
            let y = activation.apply(x).unwrap().into_vec().unwrap();
            assert!(y[0].is_nan() && y[1] == f32::INFINITY && y[2] == 0.0, "{activation:?}: {y:?}");
            assert!(y[3].abs() < 1e-10, "{activation:?}: {y:?}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        let error = Activation::named("mish", "hidden_act", Path::new("config.json")).unwrap_err();
        let sentence = error.to_string();
        assert_eq!(error.exit_code(), 3);
        assert!(sentence.contains("`hidden_act` in config.json: found mish"), "{sentence}");
    }
}
