//! Vector instructions: run-time dispatch, the shared exponential, reductions in a fixed order.

/// Partial sums per reduction. Sixteen fill one 512-bit register; fixed, so that a sum does not depend
/// on the machine's vector width.
const LANES: usize = 16;

/// Runs `body` compiled for the widest vector instructions that this CPU has. The closure must be marked
/// `#[inline(always)]`, or it stays compiled for the oldest CPU.
#[inline(always)]
pub fn vectorized<R>(body: impl FnMut() -> R) -> R {
    /// Calls the closure as `FnMut`: calling it as `FnOnce` goes through a shim that is not inlined.
    struct Body<F>(F);

    impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Body<F> {
        type Output = R;

        #[inline(always)]
        fn call(mut self) -> R {
            (self.0)()
        }
    }

    pulp::Arch::new().dispatch(Body(body))
}

/// e^x to about 1 ulp over the whole float32 range; NaN stays NaN.
///
/// Cody-Waite reduction x = n ln 2 + r, |r| <= ln 2 / 2, the Cephes polynomial for e^r, and 2^n applied
/// as two factors, so that results near overflow and denormal results are right too.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to an integer that stands in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 split in two, the first part with few enough bits that n * LN2_HIGH is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Beyond these the result is 0 or infinity; comparisons are written so that NaN passes through.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let e = p.mul_add(r * r, r) + 1.0;
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    e * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2^n for -126 <= n <= 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Sum of `term(x)` over `values`, in an order that depends only on the length.
#[inline(always)]
pub fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += term(chunk[lane]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += term(value);
    }
    fold(lanes, |a, b| a + b)
}

/// Largest of `values`, at least `start`; NaN is passed over (it shows in the sums).
#[inline(always)]
pub fn maximum(values: &[f32], start: f32) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [start; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, value);
    }
    fold(lanes, larger)
}

/// Folds the lanes pairwise: 8 and 8, 4 and 4, 2 and 2, 1 and 1.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = combine(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp_of_float64() {
        let mut worst = 0f64;
        for step in -1_050_000..=890_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs();
            let ulp = f64::from(f32::EPSILON) * exact.max(f64::from(f32::MIN_POSITIVE));
            if exact < f64::from(f32::MAX) {
                worst = worst.max(error / ulp);
            }
        }
        assert!(worst < 2.0, "worst error {worst} ulp");
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_cover_every_length() {
        for length in 0..=64 {
            let values: Vec<f32> = (0..length).map(|i| ((i * 37 % 29) as f32) - 11.0).collect();
            let expected: f32 = values.iter().sum();
            assert_eq!(sum(&values, |x| x), expected, "length {length}");
            let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(maximum(&values, f32::NEG_INFINITY), largest, "length {length}");
        }
    }
}
