//! `cvt`.

use half::{bf16, f16};
use obsdiff_ptx::numeric::{Convert, ConvertRounding, Format, HalfType, Number, Rounding, convert};

use crate::{EDGES, Stream, nearest_half};

const NEAREST: ConvertRounding = ConvertRounding::Float(Rounding::NearestEven);

fn run(to: Number, from: Number, rounding: ConvertRounding, a: u64) -> u64 {
    convert(&Convert::new(to, from, rounding), a)
}

#[test]
fn every_half_value_widens_exactly() {
    for bits in 0..=u16::MAX {
        for (kind, peer) in
            [(Number::F16, f16::from_bits(bits).to_f32()), (Number::Bf16, bf16::from_bits(bits).to_f32())]
        {
            let wide = f32::from_bits(run(Number::F32, kind, ConvertRounding::Exact, bits.into()) as u32);
            let wider = f64::from_bits(run(Number::F64, kind, ConvertRounding::Exact, bits.into()));
            if peer.is_nan() {
                assert!(wide.to_bits() == 0x7fff_ffff && wider.is_nan(), "{bits:#x}");
            } else {
                assert_eq!((wide.to_bits(), wider.to_bits()), (peer.to_bits(), f64::from(peer).to_bits()), "{bits:#x}");
            }
        }
    }
}

#[test]
fn rounding_to_half_precision_is_exact_between_all_neighbours() {
    // Every positive finite value and the next one up, infinity standing for the power of two it replaces.
    for (kind, format) in [(Number::F16, Format::F16), (Number::Bf16, Format::Bf16)] {
        let value = |bits: u64| {
            if bits < format.infinity() {
                return format.value(bits);
            }
            let largest = format.value(format.largest_finite());
            largest + (largest - format.value(format.largest_finite() - 1))
        };
        let sign = format.sign();
        for low in 0..format.infinity() {
            let high = low + 1;
            let (below, above) = (value(low), value(high));
            let middle = (below + above) / 2.0;
            let even = if low % 2 == 0 { low } else { high };
            // An overflow away from infinity stops at the largest finite value.
            let cases = [
                (middle.next_down(), low, low),
                (middle, even, high),
                (middle.next_up(), high, high),
                (below.next_up(), low, low),
                (above.next_down(), high, high),
            ];
            for (between, nearest, away) in cases {
                for (rounding, positive, negative) in [
                    (Rounding::NearestEven, nearest, nearest),
                    (Rounding::NearestAway, away, away),
                    (Rounding::Zero, low, low),
                    (Rounding::Down, low, high),
                    (Rounding::Up, high, low),
                ] {
                    let rounding = ConvertRounding::Float(rounding);
                    assert_eq!(
                        run(kind, Number::F64, rounding, between.to_bits()),
                        positive,
                        "{between:e} {rounding:?}"
                    );
                    let found = run(kind, Number::F64, rounding, (-between).to_bits());
                    assert_eq!(found, negative | sign, "-{between:e} {rounding:?}");
                }
            }
            let exact = run(kind, Number::F32, NEAREST, (below as f32).to_bits().into());
            assert_eq!(exact, low);
        }
    }
}

#[test]
fn f32_rounds_to_half_precision_as_the_half_crate_does() {
    let mut stream = Stream(1);
    let edges = EDGES.map(f32::to_bits).into_iter();
    for bits in edges.chain((0..1_000_000).map(|_| stream.bits_32())) {
        let value = f32::from_bits(bits);
        let (f16_bits, bf16_bits) =
            (run(Number::F16, Number::F32, NEAREST, bits.into()), run(Number::Bf16, Number::F32, NEAREST, bits.into()));
        if value.is_nan() {
            assert_eq!((f16_bits, bf16_bits), (0x7fff, 0x7fff));
        } else {
            assert_eq!(f16_bits, u64::from(f16::from_f32(value).to_bits()), "{value:e}");
            assert_eq!(bf16_bits, u64::from(bf16::from_f32(value).to_bits()), "{value:e}");
        }
    }
}

#[test]
fn f64_rounds_once_to_each_narrower_format() {
    let mut stream = Stream(2);
    for _ in 0..300_000 {
        // Few significant bits and a last one far away: where rounding twice goes wrong.
        let sparse = 1 << (stream.next() % 52) | 1 << (stream.next() % 30);
        let exponent = 1023 - 150 + stream.next() % 300;
        let value = f64::from_bits(exponent << 52 | sparse | stream.next() & 1 << 63);
        let narrow = run(Number::F32, Number::F64, NEAREST, value.to_bits());
        assert_eq!(narrow, u64::from((value as f32).to_bits()), "{value:e}");
        let half = run(Number::F16, Number::F64, NEAREST, value.to_bits());
        assert_eq!(half, u64::from(nearest_half(HalfType::F16, value)), "{value:e}");
        let half = run(Number::Bf16, Number::F64, NEAREST, value.to_bits());
        assert_eq!(half, u64::from(nearest_half(HalfType::Bf16, value)), "{value:e}");
        // Down, up and zero enclose the value as neighbours.
        let directed = |rounding| {
            f32::from_bits(run(Number::F32, Number::F64, ConvertRounding::Float(rounding), value.to_bits()) as u32)
        };
        let (down, up, zero) = (directed(Rounding::Down), directed(Rounding::Up), directed(Rounding::Zero));
        assert!(f64::from(down) <= value && value <= f64::from(up), "{down:e} <= {value:e} <= {up:e}");
        assert!(if f64::from(down) == value { up == down } else { down.next_up() == up }, "{down:e} {up:e}");
        assert_eq!(zero.to_bits(), if value > 0.0 { down } else { up }.to_bits());
    }
}

#[test]
fn tf32_keeps_ten_bits_and_rounds_ties_away() {
    let tie = 0x3f80_1000u32;
    let to_tf32 =
        |rounding, bits: u32| run(Number::Tf32, Number::F32, ConvertRounding::Float(rounding), bits.into()) as u32;
    assert_eq!(to_tf32(Rounding::NearestAway, tie), 0x3f80_2000);
    assert_eq!(to_tf32(Rounding::NearestAway, tie | 1 << 31), 0xbf80_2000);
    assert_eq!(to_tf32(Rounding::NearestAway, tie - 1), 0x3f80_0000);
    assert_eq!(to_tf32(Rounding::NearestEven, tie), 0x3f80_0000);
    assert_eq!(to_tf32(Rounding::NearestEven, tie + 0x2000), 0x3f80_4000);
    assert_eq!(to_tf32(Rounding::Zero, 0x3f80_3fff), 0x3f80_2000);
    assert_eq!(to_tf32(Rounding::NearestAway, f32::MAX.to_bits()), f32::INFINITY.to_bits());
    assert_eq!(to_tf32(Rounding::NearestAway, f32::NAN.to_bits()), 0x7fff_ffff);
    let mut stream = Stream(3);
    for _ in 0..100_000 {
        let bits = stream.bits_32();
        let value = f32::from_bits(bits);
        if value.is_finite() && value.abs() < 1e38 {
            // Adding half a last place to the magnitude's bits and cutting is rounding ties away.
            assert_eq!(to_tf32(Rounding::NearestAway, bits), (bits + 0x1000) & !0x1fff, "{value:e}");
        }
    }
}

#[test]
fn floats_become_integers_as_rust_casts_them() {
    let mut stream = Stream(4);
    let edges = EDGES.into_iter().filter(|value| !value.is_nan());
    let scaled = (0..200_000).map(|_| {
        let bits = stream.bits_32();
        f32::from_bits(bits & 0x807f_ffff | (100 + (bits >> 23 & 0xff) % 95) << 23)
    });
    for value in edges.chain(scaled) {
        let wide = f64::from(value);
        for (rounding, integral) in [
            (Rounding::NearestEven, wide.round_ties_even()),
            (Rounding::Zero, wide.trunc()),
            (Rounding::Down, wide.floor()),
            (Rounding::Up, wide.ceil()),
        ] {
            let to = |number| run(number, Number::F32, ConvertRounding::Integer(rounding), value.to_bits().into());
            assert_eq!(to(Number::S8), integral as i8 as u64, "{value:e} {rounding:?}");
            assert_eq!(to(Number::U8), u64::from(integral as u8), "{value:e} {rounding:?}");
            assert_eq!(to(Number::S16), integral as i16 as u64, "{value:e} {rounding:?}");
            assert_eq!(to(Number::U16), u64::from(integral as u16), "{value:e} {rounding:?}");
            assert_eq!(to(Number::S32), integral as i32 as u64, "{value:e} {rounding:?}");
            assert_eq!(to(Number::U32), u64::from(integral as u32), "{value:e} {rounding:?}");
            assert_eq!(to(Number::S64), integral as i64 as u64, "{value:e} {rounding:?}");
            assert_eq!(to(Number::U64), integral as u64, "{value:e} {rounding:?}");
            let from_f64 = run(Number::S64, Number::F64, ConvertRounding::Integer(rounding), wide.to_bits());
            assert_eq!(from_f64, integral as i64 as u64, "{value:e} {rounding:?}");
            let same_type = run(Number::F32, Number::F32, ConvertRounding::Integer(rounding), value.to_bits().into());
            assert_eq!(same_type as u32, (integral as f32).to_bits(), "{value:e} {rounding:?}");
        }
    }
}

#[test]
fn nan_becomes_zero_or_the_sign_bit() {
    let nearest = ConvertRounding::Integer(Rounding::Zero);
    let f32_nan = u64::from(f32::NAN.to_bits());
    for number in [Number::U8, Number::S8, Number::U16, Number::S16, Number::U32, Number::S32] {
        assert_eq!(run(number, Number::F32, nearest, f32_nan), 0, "{number:?}");
        assert_eq!(run(number, Number::F16, nearest, 0x7e00), 0, "{number:?}");
        assert_eq!(run(number, Number::Bf16, nearest, 0x7fc0), 0, "{number:?}");
    }
    assert_eq!(run(Number::S64, Number::F32, nearest, f32_nan), 1 << 63);
    assert_eq!(run(Number::U64, Number::F16, nearest, 0x7e00), 1 << 63);
    let f64_nan = f64::NAN.to_bits();
    assert_eq!(run(Number::S32, Number::F64, nearest, f64_nan), i32::MIN as u64);
    assert_eq!(run(Number::U32, Number::F64, nearest, f64_nan), 1 << 31);
    assert_eq!(run(Number::U64, Number::F64, nearest, f64_nan), 1 << 63);
}

#[test]
fn integers_become_floats_as_rust_casts_them() {
    let mut stream = Stream(5);
    let edges = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, (1 << 24) + 1, (1 << 53) + 1, 0xffff_ff7f_ffff_ffff];
    let random = (0..200_000).map(|_| stream.next() >> (stream.next() % 64));
    for a in edges.into_iter().chain(random) {
        let to = |to, from| run(to, from, NEAREST, a);
        assert_eq!(to(Number::F32, Number::U64) as u32, (a as f32).to_bits(), "{a}");
        assert_eq!(to(Number::F32, Number::S64) as u32, (a as i64 as f32).to_bits(), "{a}");
        assert_eq!(to(Number::F64, Number::U64), (a as f64).to_bits(), "{a}");
        assert_eq!(to(Number::F64, Number::S64), (a as i64 as f64).to_bits(), "{a}");
        assert_eq!(to(Number::F32, Number::U32) as u32, (a as u32 as f32).to_bits(), "{a}");
        assert_eq!(to(Number::F32, Number::S32) as u32, (a as i32 as f32).to_bits(), "{a}");
        assert_eq!(to(Number::F32, Number::S16) as u32, (a as i16 as f32).to_bits(), "{a}");
        assert_eq!(to(Number::F32, Number::U8) as u32, (a as u8 as f32).to_bits(), "{a}");
        assert_eq!(to(Number::F16, Number::S32), u64::from(nearest_half(HalfType::F16, a as i32 as f64)), "{a}");
        assert_eq!(to(Number::Bf16, Number::U32), u64::from(nearest_half(HalfType::Bf16, a as u32 as f64)), "{a}");
        // Directed roundings of the largest integers enclose them.
        let directed = |rounding| {
            let bits = run(Number::F32, Number::U64, ConvertRounding::Float(rounding), a) as u32;
            f32::from_bits(bits) as u128
        };
        let (down, up, zero) = (directed(Rounding::Down), directed(Rounding::Up), directed(Rounding::Zero));
        assert!(down <= a.into() && u128::from(a) <= up && zero == down, "{down} <= {a} <= {up}");
        assert!(up - down <= u128::from(a) >> 23, "{down} <= {a} <= {up}");
    }
}

#[test]
fn integers_are_extended_truncated_or_clamped() {
    let exact = |to, from, a| run(to, from, ConvertRounding::Exact, a);
    let clamped =
        |to, from, a| convert(&Convert { saturate: true, ..Convert::new(to, from, ConvertRounding::Exact) }, a);
    let mut stream = Stream(6);
    let edges = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fff_ffff, 0x8000_0000, 1 << 63, u64::MAX];
    for a in edges.into_iter().chain((0..10_000).map(|_| stream.next())) {
        assert_eq!(exact(Number::S64, Number::S32, a), a as i32 as u64);
        assert_eq!(exact(Number::S64, Number::U32, a), u64::from(a as u32));
        assert_eq!(exact(Number::U64, Number::S32, a), a as i32 as u64);
        assert_eq!(exact(Number::U32, Number::U64, a), u64::from(a as u32));
        assert_eq!(exact(Number::S8, Number::S32, a), a as i8 as u64);
        assert_eq!(exact(Number::U8, Number::S64, a), u64::from(a as u8));
        assert_eq!(exact(Number::U16, Number::S8, a), u64::from(a as i8 as u16));
        assert_eq!(exact(Number::S32, Number::U16, a), u64::from(a as u16));
        assert_eq!(clamped(Number::S8, Number::S32, a), (a as i32).clamp(-128, 127) as u64);
        assert_eq!(clamped(Number::U8, Number::S32, a), (a as i32).clamp(0, 255) as u64);
        assert_eq!(clamped(Number::U16, Number::U64, a), a.min(0xffff));
        assert_eq!(clamped(Number::S32, Number::U64, a), a.min(0x7fff_ffff));
        assert_eq!(clamped(Number::U64, Number::S64, a), (a as i64).max(0) as u64);
        assert_eq!(clamped(Number::S16, Number::S64, a), (a as i64).clamp(-32768, 32767) as u64);
    }
}

#[test]
fn modifiers_act_on_operand_and_result() {
    let f32_bits = |value: f32| u64::from(value.to_bits());
    let subnormal = f32_bits(f32::from_bits(0x8000_0003));
    let flushed = Convert { flush: true, ..Convert::new(Number::F32, Number::F32, ConvertRounding::Exact) };
    assert_eq!(convert(&flushed, subnormal), 0x8000_0000);
    // A flushed operand is no longer above zero.
    let ceiling = Convert::new(Number::S32, Number::F32, ConvertRounding::Integer(Rounding::Up));
    assert_eq!(convert(&ceiling, 3), 1);
    assert_eq!(convert(&Convert { flush: true, ..ceiling }, 3), 0);
    let narrowed = Convert { flush: true, ..Convert::new(Number::F32, Number::F64, NEAREST) };
    assert_eq!(convert(&narrowed, (-1e-40f64).to_bits()), 0x8000_0000);

    let saturated = Convert { saturate: true, ..Convert::new(Number::F32, Number::F32, ConvertRounding::Exact) };
    for (value, expected) in [(0.25, 0.25), (1.5, 1.0), (-0.5, 0.0), (-0.0, 0.0), (f32::NAN, 0.0), (f32::INFINITY, 1.0)]
    {
        assert_eq!(convert(&saturated, f32_bits(value)), f32_bits(expected), "{value}");
    }

    let relu = Convert { relu: true, ..Convert::new(Number::Bf16, Number::F32, NEAREST) };
    assert_eq!(convert(&relu, f32_bits(-3.0)), 0);
    assert_eq!(convert(&relu, f32_bits(-0.0)), 0);
    assert_eq!(convert(&relu, f32_bits(3.0)), 0x4040);
    assert_eq!(convert(&relu, f32_bits(f32::NAN)), 0x7fff);
    let finite = Convert { saturate_finite: true, ..Convert::new(Number::F16, Number::F32, NEAREST) };
    assert_eq!(convert(&finite, f32_bits(1e6)), 0x7bff);
    assert_eq!(convert(&finite, f32_bits(f32::NEG_INFINITY)), 0xfbff);
    assert_eq!(convert(&finite, f32_bits(f32::NAN)), 0x7fff);
}

#[test]
fn only_conversions_of_ptx_exist() {
    use ConvertRounding::{Exact, Float, Integer};
    use Rounding::{Down, NearestAway, NearestEven, Zero};
    for (to, from, rounding, exists) in [
        (Number::S64, Number::S32, Exact, true),
        (Number::S64, Number::S32, NEAREST, false),
        (Number::S32, Number::F32, Integer(Zero), true),
        (Number::S32, Number::F32, Float(Zero), false),
        (Number::S32, Number::F32, Exact, false),
        (Number::F32, Number::S32, NEAREST, true),
        (Number::F32, Number::S32, Exact, false),
        (Number::F32, Number::S32, Integer(Zero), false),
        (Number::F32, Number::F16, Exact, true),
        (Number::F32, Number::F16, NEAREST, false),
        (Number::F16, Number::F32, NEAREST, true),
        (Number::F16, Number::F32, Exact, false),
        (Number::Bf16, Number::F32, Float(Down), true),
        (Number::F32, Number::F64, Float(NearestEven), true),
        (Number::F32, Number::F64, Float(NearestAway), false),
        (Number::F32, Number::F32, Integer(Down), true),
        (Number::F64, Number::F32, Integer(Down), false),
        (Number::Tf32, Number::F32, Float(NearestAway), true),
        (Number::Tf32, Number::F32, Float(Down), false),
        (Number::Tf32, Number::F64, Float(NearestAway), false),
        (Number::F32, Number::Tf32, Exact, false),
    ] {
        assert_eq!(Convert::new(to, from, rounding).exists(), exists, "{to:?} {from:?} {rounding:?}");
    }
    let widening = Convert::new(Number::F64, Number::F16, Exact);
    assert!(!Convert { flush: true, ..widening }.exists());
    assert!(!Convert { relu: true, ..Convert::new(Number::S32, Number::F32, Integer(Zero)) }.exists());
    assert!(Convert { relu: true, ..Convert::new(Number::Tf32, Number::F32, NEAREST) }.exists());
}
