//! f16 and bf16 arithmetic.

use half::{bf16, f16};
use obsdiff_ptx::numeric::{HalfMode, HalfType, NanRule, pairwise};

use crate::{Stream, nearest_half};

const PLAIN: HalfMode = HalfMode { flush: false, saturate: false, relu: false };

/// Operands that meet every one of the 65536 others.
const PARTNERS: [u16; 14] =
    [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0xbc01, 0x3bff, 0x4248, 0x6bff, 0x7bff, 0xfbff, 0x7c00, 0x7e00];

#[test]
fn f16_sums_and_products_round_once() {
    // Sums and products of two f16 are exact in f64.
    for a in 0..=u16::MAX {
        for b in PARTNERS {
            let (x, y) = (f16::from_bits(a).to_f64(), f16::from_bits(b).to_f64());
            for (found, exact) in [
                (HalfType::F16.add(a, b, PLAIN), x + y),
                (HalfType::F16.sub(a, b, PLAIN), x - y),
                (HalfType::F16.mul(a, b, PLAIN), x * y),
            ] {
                let expected = nearest_half(HalfType::F16, exact);
                assert_eq!(found, expected, "{a:#x} {b:#x}");
            }
        }
    }
}

#[test]
fn bf16_sums_and_products_round_once() {
    const PARTNERS: [u16; 14] = [
        0x0000, 0x8000, 0x0001, 0x807f, 0x0080, 0x3f80, 0xbf81, 0x3f7f, 0x4049, 0x4b7f, 0x7f7f, 0xff7f, 0x7f80, 0x7fc0,
    ];
    for a in 0..=u16::MAX {
        for b in PARTNERS {
            let (x, y) = (bf16::from_bits(a).to_f64(), bf16::from_bits(b).to_f64());
            let product = nearest_half(HalfType::Bf16, x * y);
            assert_eq!(HalfType::Bf16.mul(a, b, PLAIN), product, "{a:#x} {b:#x}");
            let sum = x + y;
            let expected = if sum.is_nan() {
                0x7fff
            } else if x.is_infinite() || y.is_infinite() || sum - x == y && sum - y == x {
                nearest_half(HalfType::Bf16, sum)
            } else {
                // Too far apart for f64: the smaller one is far below half a last place.
                if x.abs() > y.abs() { a } else { b }
            };
            assert_eq!(HalfType::Bf16.add(a, b, PLAIN), expected, "{a:#x} {b:#x}");
            assert_eq!(HalfType::Bf16.sub(a, b ^ 0x8000, PLAIN), expected, "{a:#x} {b:#x}");
        }
    }
}

/// Multiples of 2^-48 (products of two f16), exactly.
fn scaled(bits: u16) -> i128 {
    (f16::from_bits(bits).to_f64() * 2f64.powi(48)) as i128
}

/// The f16 nearest to `exact` (in multiples of 2^-48), by search among all of them.
fn nearest_f16(exact: i128) -> u16 {
    let magnitude = exact.abs();
    // Infinity stands for 2^16 here.
    let value = |bits: u16| if bits == 0x7c00 { 1 << (16 + 48) } else { scaled(bits) };
    let (mut low, mut high) = (0u16, 0x7c00u16);
    if magnitude >= value(high) {
        low = high;
    }
    while high - low > 1 && low != high {
        let middle = (low + high) / 2;
        *(if value(middle) <= magnitude { &mut low } else { &mut high }) = middle;
    }
    let (left, right) = (magnitude - value(low), value(high) - magnitude);
    let nearest = match left.cmp(&right) {
        std::cmp::Ordering::Less => low,
        std::cmp::Ordering::Greater => high,
        std::cmp::Ordering::Equal => low + low % 2,
    };
    nearest | if exact < 0 { 0x8000 } else { 0 }
}

#[test]
fn f16_fused_products_round_once() {
    let mut stream = Stream(20);
    let mut rounded_twice_differs = 0;
    // (1 + 2^-i)(1 + 2^-j) with i + j = 11 is a tie; what a tiny addend does to it is lost in f32.
    let ties = (1..=10).flat_map(|i| (0..8).map(move |power| (15 + power) << 10 | 1 << (10 - i))).flat_map(|a: u16| {
        let b = 15 << 10 | 1 << (9 - (a & 0x3ff).ilog2());
        [1, 2, 0x8001, 0x8003].map(|c| (a, b, c))
    });
    let random = std::iter::repeat_with(|| stream.next()).take(300_000).map(|random| {
        // Significands of few bits, so that sums come close to ties.
        let few = |bits: u64| (bits & 0xfc21) as u16;
        (few(random), few(random >> 16), (random >> 32) as u16 & 0x8fff)
    });
    for (a, b, c) in ties.chain(random) {
        let [x, y, z] = [a, b, c].map(f16::from_bits);
        if !(x.is_finite() && y.is_finite() && z.is_finite()) {
            continue;
        }
        let exact = ((scaled(a) * scaled(b)) >> 48) + scaled(c);
        let found = HalfType::F16.fma(a, b, c, PLAIN);
        if exact == 0 {
            assert_eq!(found & 0x7fff, 0, "{x} {y} + {z}");
            continue;
        }
        assert_eq!(found, nearest_f16(exact), "{x} {y} + {z}");
        let in_two_steps = f16::from_f32(x.to_f32().mul_add(y.to_f32(), z.to_f32()));
        rounded_twice_differs += u32::from(in_two_steps.to_bits() != found);
    }
    assert!(rounded_twice_differs > 0, "no case tells a single rounding from two");
}

#[test]
fn bf16_fused_products_round_once() {
    let fma = |a: f32, b: f32, c: f32| {
        let [a, b, c] = [a, b, c].map(|value| bf16::from_f32(value).to_bits());
        bf16::from_bits(HalfType::Bf16.fma(a, b, c, PLAIN)).to_f32()
    };
    let two = |power: i32| 2f32.powi(power);
    // (1 + 2^-7)(1 + 2^-1) = 1.5 + 2^-7 + 2^-8, a tie that the addend breaks, however small.
    let (down, up) = (1.5 + two(-7), 1.5 + two(-6));
    assert_eq!(fma(1.0 + two(-7), 1.5, 0.0), up);
    assert_eq!(fma(1.0 + two(-7), 1.5, two(-120)), up);
    assert_eq!(fma(1.0 + two(-7), 1.5, -two(-120)), down);
    // The product overflows f32 and comes back.
    assert_eq!(fma(two(100), two(27), f32::NEG_INFINITY), f32::NEG_INFINITY);
    assert_eq!(fma(two(100), two(28), -two(127)), two(127));
    let nan = bf16::NAN.to_bits();
    assert_eq!(HalfType::Bf16.fma(nan, 0x3f80, 0x3f80, PLAIN), 0x7fff);
}

#[test]
fn modifiers_of_half_operations_act_on_the_result() {
    let half = HalfType::F16;
    let [one, two, minus_one] = [1.0, 2.0, -1.0].map(|value| f16::from_f32(value).to_bits());
    let saturate = HalfMode { saturate: true, ..PLAIN };
    assert_eq!(half.add(one, one, saturate), one);
    assert_eq!(half.sub(0, one, saturate), 0);
    assert_eq!(half.add(0x7e00, one, saturate), 0);
    let relu = HalfMode { relu: true, ..PLAIN };
    assert_eq!(half.fma(minus_one, two, 0, relu), 0);
    assert_eq!(half.fma(one, two, 0, relu), two);
    assert_eq!(half.fma(0x7e00, two, 0, relu), 0x7fff);
    let flush = HalfMode { flush: true, ..PLAIN };
    assert_eq!(half.add(0x0200, 0x0200, flush), 0);
    assert_eq!(half.add(0x0200, 0x0200, PLAIN), 0x0400);
    assert_eq!(half.mul(0x8400, 0x3800, flush), 0x8000);
}

#[test]
fn half_minimum_and_maximum_follow_the_numbers() {
    for kind in [HalfType::F16, HalfType::Bf16] {
        for a in 0..=u16::MAX {
            for b in PARTNERS {
                let (x, y) = (kind.to_f32(a), kind.to_f32(b));
                let number = match (x.is_nan(), y.is_nan()) {
                    (true, true) => Some([0x7fff; 2]),
                    (true, false) => Some([b; 2]),
                    (false, true) => Some([a; 2]),
                    (false, false) if x == y => Some([a | b, a & b]),
                    (false, false) => None,
                };
                let [smaller, larger] = number.unwrap_or(if x < y { [a, b] } else { [b, a] });
                assert_eq!(kind.min(a, b, false, NanRule::Number), smaller, "{kind:?} {a:#x} {b:#x}");
                assert_eq!(kind.max(a, b, false, NanRule::Number), larger, "{kind:?} {a:#x} {b:#x}");
                let nan = x.is_nan() || y.is_nan();
                assert_eq!(kind.max(a, b, false, NanRule::Nan), if nan { 0x7fff } else { larger });
            }
            assert_eq!(kind.neg(a, false), a ^ 0x8000);
            assert_eq!(kind.abs(a, false), a & 0x7fff);
        }
        assert_eq!((kind.neg(1, true), kind.abs(0x8001, true)), (0x8000, 0));
    }
}

#[test]
fn half_values_round_trip() {
    for bits in 0..=u16::MAX {
        for kind in [HalfType::F16, HalfType::Bf16] {
            let value = kind.to_f32(bits);
            assert_eq!(kind.from_f32(value), if value.is_nan() { 0x7fff } else { bits }, "{kind:?} {bits:#x}");
        }
        let peers = (f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32());
        let same = |found: f32, peer: f32| found.to_bits() == peer.to_bits() || found.is_nan() && peer.is_nan();
        assert!(same(HalfType::F16.to_f32(bits), peers.0) && same(HalfType::Bf16.to_f32(bits), peers.1), "{bits:#x}");
    }
}

#[test]
fn pairs_are_two_operations() {
    let add = |a, b| HalfType::Bf16.add(a, b, PLAIN);
    // (1, 2) + (3, -4), the first in the low half.
    assert_eq!(pairwise(0x4000_3f80, 0xc080_4040, add), 0xc000_4080);
}
