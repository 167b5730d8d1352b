//! f32 and f64 arithmetic, and the approximate functions.

use obsdiff_ptx::numeric::{
    FloatMode, HalfType, NanRule, Rounding, abs_f32, add_f32, add_f64, cos_f32, div_approx_f32, div_f32, div_f64,
    ex2_f32, ex2_half, fma_f32, fma_f64, lg2_f32, max_f32, max_f64, min_f32, min_f64, mul_f32, mul_f64, neg_f32,
    rcp_f32, rcp_f32_approx, rcp_f64, rsqrt_f32, rsqrt_f64, sin_f32, sqrt_f32, sqrt_f32_approx, sqrt_f64, sub_f32,
    sub_f64, tanh_f32, tanh_half,
};

use crate::{EDGES, Stream, nearest_half};

const NAN: u32 = 0x7fff_ffff;
const PLAIN: FloatMode = FloatMode { rounding: Rounding::NearestEven, flush: false, saturate: false };

fn rounding(rounding: Rounding) -> FloatMode {
    FloatMode { rounding, ..PLAIN }
}

/// The bits of `value`, NaN being canonical. rustc 1.95 drops `is_nan` of a root whose operand is known to be a
/// number, so the bits are asked.
fn canonical(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 { NAN } else { bits }
}

#[test]
fn plain_operations_are_those_of_ieee_754() {
    let mut stream = Stream(10);
    let random = std::iter::repeat_with(|| [(); 3].map(|()| f32::from_bits(stream.bits_32()))).take(200_000);
    let edges = EDGES.into_iter().flat_map(|a| EDGES.into_iter().flat_map(move |b| EDGES.map(|c| [a, b, c])));
    for [a, b, c] in edges.chain(random) {
        let [x, y, z] = [a, b, c].map(f32::to_bits);
        assert_eq!(add_f32(x, y, PLAIN), canonical(a + b), "{a:e} + {b:e}");
        assert_eq!(sub_f32(x, y, PLAIN), canonical(a - b), "{a:e} - {b:e}");
        assert_eq!(mul_f32(x, y, PLAIN), canonical(a * b), "{a:e} {b:e}");
        assert_eq!(fma_f32(x, y, z, PLAIN), canonical(a.mul_add(b, c)), "{a:e} {b:e} + {c:e}");
        assert_eq!(div_f32(x, y, PLAIN), canonical(a / b), "{a:e} / {b:e}");
        assert_eq!(rcp_f32(x, PLAIN), canonical(1.0 / a), "1 / {a:e}");
        assert_eq!(sqrt_f32(x, PLAIN), canonical(a.sqrt()), "sqrt {a:e}");
        // The exact path of the other modes agrees where the mode changes nothing: `.sat` clamps afterwards.
        let saturated = FloatMode { saturate: true, ..PLAIN };
        let clamp = |value: f32| if value > 0.0 { value.min(1.0).to_bits() } else { 0 };
        assert_eq!(add_f32(x, y, saturated), clamp(a + b), "{a:e} + {b:e}");
        assert_eq!(mul_f32(x, y, saturated), clamp(a * b), "{a:e} {b:e}");
        assert_eq!(fma_f32(x, y, z, saturated), clamp(a.mul_add(b, c)), "{a:e} {b:e} + {c:e}");
    }
}

/// Multiples of 2^-66, exactly.
fn scaled(value: f32) -> i128 {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 23 & 0xff) as i32, i128::from(bits & 0x7f_ffff));
    assert!(exponent > 0 || fraction == 0, "{value:e} is subnormal");
    if exponent == 0 {
        return 0;
    }
    let shift = exponent - 150 + 66;
    let significand = fraction | 1 << 23;
    let magnitude = if shift >= 0 { significand << shift } else { significand >> -shift };
    assert!(shift >= 0 || magnitude << -shift == significand, "{value:e} is no multiple of 2^-66");
    if value < 0.0 { -magnitude } else { magnitude }
}

/// Whether `found` is `exact` (in multiples of 2^-66) rounded in that mode.
fn is_rounded(found: u32, exact: i128, mode: Rounding) -> bool {
    let found = f32::from_bits(found);
    if scaled(found) == exact {
        return true;
    }
    let (below, above) = if scaled(found) < exact { (found, found.next_up()) } else { (found.next_down(), found) };
    let enclosed = scaled(below) < exact && exact < scaled(above);
    let toward = match mode {
        Rounding::Down => found == below,
        Rounding::Up => found == above,
        Rounding::Zero => (found == below) == (exact > 0),
        Rounding::NearestEven | Rounding::NearestAway => {
            let (left, right) = (exact - scaled(below), scaled(above) - exact);
            match left.cmp(&right) {
                std::cmp::Ordering::Less => found == below,
                std::cmp::Ordering::Greater => found == above,
                std::cmp::Ordering::Equal => found.to_bits() & 1 == 0,
            }
        }
    };
    enclosed && toward
}

#[test]
fn directed_sums_and_products_enclose_the_exact_value() {
    let mut stream = Stream(11);
    let mut value = |few: bool| {
        // An exponent of -10..10, and a significand of few bits half of the time: ties and cancellation.
        let bits = stream.bits_32();
        let fraction = if few { bits & 0x0060_0003 } else { bits & 0x7f_ffff };
        f32::from_bits(bits & 1 << 31 | (117 + stream.bits_32() % 21) << 23 | fraction)
    };
    for step in 0..300_000 {
        let few = step % 2 == 0;
        let (a, b, c) = (value(few), value(few), value(step % 4 < 2));
        let [x, y, z] = [a, b, c].map(f32::to_bits);
        let product = (scaled(a) >> 33) * (scaled(b) >> 33);
        for mode in [Rounding::NearestEven, Rounding::Zero, Rounding::Down, Rounding::Up] {
            let modifier = rounding(mode);
            assert!(is_rounded(add_f32(x, y, modifier), scaled(a) + scaled(b), mode), "{a:e} + {b:e} {mode:?}");
            assert!(is_rounded(sub_f32(x, y, modifier), scaled(a) - scaled(b), mode), "{a:e} - {b:e} {mode:?}");
            assert!(is_rounded(mul_f32(x, y, modifier), product, mode), "{a:e} {b:e} {mode:?}");
            let found = fma_f32(x, y, z, modifier);
            assert!(is_rounded(found, product + scaled(c), mode), "{a:e} {b:e} + {c:e} {mode:?}");
        }
    }
}

#[test]
fn directed_quotients_and_roots_enclose_the_exact_value() {
    let mut stream = Stream(12);
    for _ in 0..200_000 {
        let a = f32::from_bits(stream.bits_32() & 0x007f_ffff | (64 + stream.bits_32() % 128) << 23);
        let b = f32::from_bits(stream.bits_32() & 0x807f_ffff | (64 + stream.bits_32() % 60) << 23);
        let (x, y) = (a.to_bits(), b.to_bits());
        let quotient = |mode| f32::from_bits(div_f32(x, y, rounding(mode)));
        let (down, up, zero) = (quotient(Rounding::Down), quotient(Rounding::Up), quotient(Rounding::Zero));
        // Products of two f32 are exact in f64.
        let times_b = |value: f32| f64::from(value) * f64::from(b);
        let (low, high) = if b > 0.0 { (down, up) } else { (up, down) };
        assert!(times_b(low) <= a.into() && f64::from(a) <= times_b(high), "{a:e} / {b:e}: {down:e} {up:e}");
        assert!(down == up && times_b(down) == a.into() || down.next_up() == up, "{a:e} / {b:e}: {down:e} {up:e}");
        assert_eq!(zero, if b > 0.0 { down } else { up });

        let root = |mode| f32::from_bits(sqrt_f32(x, rounding(mode)));
        let (down, up) = (root(Rounding::Down), root(Rounding::Up));
        let square = |value: f32| f64::from(value) * f64::from(value);
        assert!(square(down) <= a.into() && f64::from(a) <= square(up), "sqrt {a:e}: {down:e} {up:e}");
        assert!(down == up && square(down) == a.into() || down.next_up() == up, "sqrt {a:e}: {down:e} {up:e}");
        assert_eq!(root(Rounding::Zero), down);
    }
}

#[test]
fn directed_rounding_holds_at_the_ends_of_the_range() {
    let [max, tiny, one] = [f32::MAX, f32::from_bits(1), 1.0].map(f32::to_bits);
    let negative = |bits: u32| bits | 1 << 31;
    let infinity = f32::INFINITY.to_bits();
    for (mode, overflow, negative_overflow, underflow, negative_underflow) in [
        (Rounding::NearestEven, infinity, negative(infinity), 0, negative(0)),
        (Rounding::Zero, max, negative(max), 0, negative(0)),
        (Rounding::Down, max, negative(infinity), 0, negative(tiny)),
        (Rounding::Up, infinity, negative(max), tiny, negative(0)),
    ] {
        let modifier = rounding(mode);
        assert_eq!(add_f32(max, max, modifier), overflow, "{mode:?}");
        assert_eq!(mul_f32(max, negative(max), modifier), negative_overflow, "{mode:?}");
        assert_eq!(mul_f32(tiny, tiny, modifier), underflow, "{mode:?}");
        assert_eq!(mul_f32(tiny, negative(tiny), modifier), negative_underflow, "{mode:?}");
        // Far below the last place of the other operand, and infinities.
        let below = f32::from_bits(one).next_down().to_bits();
        let expected = if matches!(mode, Rounding::Zero | Rounding::Down) { below } else { one };
        assert_eq!(sub_f32(one, tiny, modifier), expected, "{mode:?}");
        assert_eq!(fma_f32(tiny, negative(tiny), one, modifier), expected, "{mode:?}");
        assert_eq!(add_f32(infinity, max, modifier), infinity, "{mode:?}");
        assert_eq!(sub_f32(infinity, infinity, modifier), NAN, "{mode:?}");
        assert_eq!(div_f32(one, 0, modifier), infinity, "{mode:?}");
        assert_eq!(div_f32(one, negative(0), modifier), negative(infinity), "{mode:?}");
        assert_eq!(div_f32(0, 0, modifier), NAN, "{mode:?}");
        assert_eq!(sqrt_f32(negative(one), modifier), NAN, "{mode:?}");
        // An exact zero sum is -0 only towards minus infinity.
        let zero = if mode == Rounding::Down { negative(0) } else { 0 };
        assert_eq!(sub_f32(one, one, modifier), zero, "{mode:?}");
        assert_eq!(fma_f32(one, one, negative(one), modifier), zero, "{mode:?}");
        assert_eq!(add_f32(0, 0, modifier), 0, "{mode:?}");
        assert_eq!(add_f32(negative(0), negative(0), modifier), negative(0), "{mode:?}");
    }
}

#[test]
fn flushing_takes_subnormal_operands_and_results() {
    let flush = FloatMode { flush: true, ..PLAIN };
    let smallest = f32::MIN_POSITIVE.to_bits();
    let subnormal = 0x0040_0000;
    let one = 1f32.to_bits();
    assert_eq!(add_f32(subnormal, subnormal, flush), 0);
    assert_eq!(add_f32(subnormal, subnormal, PLAIN), smallest);
    assert_eq!(add_f32(one, subnormal | 1 << 31, flush), one);
    assert_eq!(mul_f32(smallest, 0.5f32.to_bits(), flush), 0);
    assert_eq!(mul_f32(smallest | 1 << 31, 0.5f32.to_bits(), flush), 1 << 31);
    assert_eq!(fma_f32(subnormal, 2f32.to_bits(), smallest, flush), smallest);
    assert_eq!(div_f32(one, subnormal, flush), f32::INFINITY.to_bits());
    assert_eq!(sqrt_f32(subnormal | 1 << 31, flush), 1 << 31);
    assert_eq!(neg_f32(subnormal, flush.flush), 1 << 31);
    assert_eq!(abs_f32(subnormal | 1 << 31, true), 0);
    assert_eq!(abs_f32(subnormal | 1 << 31, false), subnormal);
    assert_eq!(max_f32(subnormal, 0, true, NanRule::Number), 0);
    assert_eq!(max_f32(subnormal, 0, false, NanRule::Number), subnormal);
}

#[test]
fn minimum_and_maximum_order_zeros_and_know_two_rules_for_nan() {
    for a in EDGES {
        for b in EDGES {
            let (x, y) = (a.to_bits(), b.to_bits());
            let [smaller, larger] = if a.is_nan() || b.is_nan() {
                let other = if a.is_nan() { b } else { a };
                [canonical(other); 2]
            } else if a == b {
                [x | y, x & y]
            } else {
                [a.min(b).to_bits(), a.max(b).to_bits()]
            };
            assert_eq!(min_f32(x, y, false, NanRule::Number), smaller, "min {a:e} {b:e}");
            assert_eq!(max_f32(x, y, false, NanRule::Number), larger, "max {a:e} {b:e}");
            let either = a.is_nan() || b.is_nan();
            assert_eq!(min_f32(x, y, false, NanRule::Nan), if either { NAN } else { smaller });
            assert_eq!(max_f32(x, y, false, NanRule::Nan), if either { NAN } else { larger });
            let wide = |bits: u32| f64::from(f32::from_bits(bits));
            let (wide_min, wide_max) = (
                f64::from_bits(min_f64(f64::from(a).to_bits(), f64::from(b).to_bits())),
                f64::from_bits(max_f64(f64::from(a).to_bits(), f64::from(b).to_bits())),
            );
            assert!(wide_min.is_nan() || wide_min.to_bits() == wide(smaller).to_bits(), "min {a:e} {b:e}");
            assert!(wide_max.is_nan() || wide_max.to_bits() == wide(larger).to_bits(), "max {a:e} {b:e}");
            assert_eq!(wide_min.is_nan(), wide(smaller).is_nan());
        }
    }
}

#[test]
fn f64_operations_are_those_of_ieee_754() {
    let (a, b, c) = (1.0 + f64::EPSILON, 3.0, -7.5f64);
    let [x, y, z] = [a, b, c].map(f64::to_bits);
    for (found, expected) in [
        (add_f64(x, y), a + b),
        (sub_f64(x, y), a - b),
        (mul_f64(x, z), a * c),
        (fma_f64(x, x, (-1f64).to_bits()), 2.0 * f64::EPSILON + f64::EPSILON * f64::EPSILON),
        (div_f64(x, y), a / b),
        (rcp_f64(y), 1.0 / b),
        (sqrt_f64(y), b.sqrt()),
        (rsqrt_f64(y), 1.0 / b.sqrt()),
    ] {
        assert_eq!(f64::from_bits(found), expected);
    }
}

#[test]
fn approximate_functions_are_accurate_and_keep_special_values() {
    let mut stream = Stream(13);
    type Named = (&'static str, fn(u32) -> u32, fn(f64) -> f64);
    let functions: [Named; 8] = [
        ("ex2", |a| ex2_f32(a, false), f64::exp2),
        ("lg2", |a| lg2_f32(a, false), f64::log2),
        ("sin", |a| sin_f32(a, false), f64::sin),
        ("cos", |a| cos_f32(a, false), f64::cos),
        ("tanh", tanh_f32, f64::tanh),
        ("rcp", |a| rcp_f32_approx(a, false), |a| 1.0 / a),
        ("rsqrt", |a| rsqrt_f32(a, false), |a| 1.0 / a.sqrt()),
        ("sqrt", |a| sqrt_f32_approx(a, false), f64::sqrt),
    ];
    let random = (0..10_000).map(|_| f32::from_bits(stream.bits_32()));
    for a in EDGES.into_iter().chain(random) {
        for (name, function, exact) in functions {
            let found = function(a.to_bits());
            assert_eq!(found, canonical(exact(a.into()) as f32), "{name} {a:e}");
        }
    }
    let one = 1f32.to_bits();
    assert_eq!(rcp_f32_approx(1 << 31, false), f32::NEG_INFINITY.to_bits());
    assert_eq!(rsqrt_f32(1 << 31, false), f32::NEG_INFINITY.to_bits());
    assert_eq!(lg2_f32(0, false), f32::NEG_INFINITY.to_bits());
    assert_eq!(lg2_f32(3, true), f32::NEG_INFINITY.to_bits());
    assert_eq!(sin_f32(f32::INFINITY.to_bits(), false), NAN);
    assert_eq!(ex2_f32((-130f32).to_bits(), true), 0);
    assert_eq!(f32::from_bits(ex2_f32((-130f32).to_bits(), false)), 2f32.powi(-130));
    // A large divisor's reciprocal underflows in the hardware's a (1 / b).
    let large = 1.5 * 2f32.powi(126);
    assert_eq!(div_approx_f32(large.to_bits(), large.to_bits(), false), 0);
    assert_eq!(div_approx_f32((-large).to_bits(), large.to_bits(), false), 1 << 31);
    assert_eq!(div_approx_f32(f32::INFINITY.to_bits(), large.to_bits(), false), NAN);
    assert_eq!(div_approx_f32(large.to_bits(), 2f32.powi(126).to_bits(), false), 1.5f32.to_bits());
    assert_eq!(div_approx_f32(one, f32::INFINITY.to_bits(), false), 0);
    assert_eq!(div_approx_f32(one, 3f32.to_bits(), false), (1f32 / 3.0).to_bits());
}

#[test]
fn approximate_functions_of_half_precision_round_once() {
    for kind in [HalfType::F16, HalfType::Bf16] {
        for bits in 0..=u16::MAX {
            let a = f64::from(kind.to_f32(bits));
            let power = nearest_half(kind, a.exp2());
            let flushed = kind == HalfType::Bf16 && power < 0x80;
            assert_eq!(ex2_half(kind, bits), if flushed { 0 } else { power }, "{kind:?} {a:e}");
            assert_eq!(tanh_half(kind, bits), nearest_half(kind, a.tanh()), "{kind:?} {a:e}");
        }
    }
    assert_eq!(ex2_half(HalfType::F16, 0x7e00), 0x7fff);
    assert_eq!(tanh_half(HalfType::Bf16, 0x7fc0), 0x7fff);
}
