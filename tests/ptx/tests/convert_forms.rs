//! Every way to write `cvt` is run as written, or refused.

use obsdiff_ptx::numeric::{Convert, ConvertRounding, Number, Rounding, convert};

#[path = "support/lanes.rs"]
mod lanes;

use lanes::{Lanes, parse, run};

const NUMBERS: [(&str, Number); 13] = [
    ("u8", Number::U8),
    ("s8", Number::S8),
    ("u16", Number::U16),
    ("s16", Number::S16),
    ("u32", Number::U32),
    ("s32", Number::S32),
    ("u64", Number::U64),
    ("s64", Number::S64),
    ("f16", Number::F16),
    ("bf16", Number::Bf16),
    ("tf32", Number::Tf32),
    ("f32", Number::F32),
    ("f64", Number::F64),
];

const ROUNDINGS: [(&str, ConvertRounding); 10] = [
    ("", ConvertRounding::Exact),
    (".rn", ConvertRounding::Float(Rounding::NearestEven)),
    (".rna", ConvertRounding::Float(Rounding::NearestAway)),
    (".rz", ConvertRounding::Float(Rounding::Zero)),
    (".rm", ConvertRounding::Float(Rounding::Down)),
    (".rp", ConvertRounding::Float(Rounding::Up)),
    (".rni", ConvertRounding::Integer(Rounding::NearestEven)),
    (".rzi", ConvertRounding::Integer(Rounding::Zero)),
    (".rmi", ConvertRounding::Integer(Rounding::Down)),
    (".rpi", ConvertRounding::Integer(Rounding::Up)),
];

/// Bits of the smallest register that holds a number: there are none of eight bits.
fn register(number: Number) -> u32 {
    number.bits().max(16)
}

fn is_float(number: Number) -> bool {
    number.format().is_some()
}

/// 32 values of a type that meet its edges: signs, halves, subnormals, overflow of narrower types, NaN.
fn values(number: Number) -> Lanes {
    const FLOATS: [f64; 32] = [
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.5,
        -1.5,
        2.5,
        0.3,
        -0.7,
        1.0,
        -1.0,
        126.6,
        -128.7,
        255.5,
        300.0,
        -40000.0,
        32767.5,
        65520.0,
        1e9 + 0.25,
        -3e9,
        5e9,
        1e20,
        -1e20,
        1e-40,
        -1e-40,
        6e-8,
        1e300,
        -1e300,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        1.000_976_562_5,
    ];
    let rounded = Convert::new(number, Number::F64, ConvertRounding::Float(Rounding::NearestEven));
    std::array::from_fn(|lane| match number {
        Number::F64 => FLOATS[lane].to_bits(),
        _ if is_float(number) => convert(&rounded, FLOATS[lane].to_bits()),
        _ => {
            // Powers of two and their neighbours over the width, both signs.
            let power = 1u64 << (lane as u32 * number.bits() / 32);
            let value = [power, power - 1, power.wrapping_neg(), power + 1][lane % 4];
            value & (u64::MAX >> (64 - number.bits()))
        }
    })
}

fn expected(convert_as: &Convert, a: &Lanes, bits: u32) -> Lanes {
    a.map(|a| convert(convert_as, a) & (u64::MAX >> (64 - bits)))
}

#[test]
fn every_scalar_form_runs_as_written_or_is_refused() {
    let (mut runs, mut refusals) = (0, 0);
    for (to_name, to) in NUMBERS {
        for (from_name, from) in NUMBERS {
            for (rounding_name, rounding) in ROUNDINGS {
                for (flush, saturate) in [(false, false), (true, false), (false, true), (true, true)] {
                    let convert_as = Convert { flush, saturate, ..Convert::new(to, from, rounding) };
                    let (ftz, sat) = (if flush { ".ftz" } else { "" }, if saturate { ".sat" } else { "" });
                    let body = format!("cvt{rounding_name}{ftz}{sat}.{to_name}.{from_name} %d0, %a0;");
                    let (to_bits, from_bits) = (register(to), register(from));
                    if !convert_as.exists() {
                        assert!(parse(&body, &[from_bits], &[to_bits]).is_err(), "{body} was accepted");
                        refusals += 1;
                        continue;
                    }
                    let a = values(from);
                    let d = run(&body, &[(from_bits, a)], &[to_bits]).unwrap_or_else(|fault| panic!("{body} {fault}"));
                    assert_eq!(d[0], expected(&convert_as, &a, to_bits), "{body}");
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 500 && refusals > 3000, "{runs} forms ran and {refusals} were refused");
}

#[test]
fn integers_may_live_in_wider_registers() {
    for (to_name, to) in NUMBERS.into_iter().filter(|entry| !is_float(entry.1)) {
        for (from_name, from) in NUMBERS.into_iter().filter(|entry| !is_float(entry.1)) {
            // Bits above the source type must not count; the result fills its register.
            let a = values(from).map(|a| if from.bits() < 64 { a | 0x5a5a << from.bits() } else { a });
            let body = format!("cvt.{to_name}.{from_name} %d0, %a0;");
            let d = run(&body, &[(64, a)], &[64]).unwrap_or_else(|fault| panic!("{body} {fault}"));
            let plain = Convert::new(to, from, ConvertRounding::Exact);
            assert_eq!(d[0], expected(&plain, &a, 64), "{body}");
        }
    }
}

#[test]
fn narrow_floats_take_relu_and_finite_saturation() {
    let a = values(Number::F32);
    for (name, to) in [("f16", Number::F16), ("bf16", Number::Bf16), ("tf32", Number::Tf32)] {
        for (rounding_name, rounding) in [ROUNDINGS[1], ROUNDINGS[3]] {
            for (modifier, relu, saturate_finite) in
                [(".relu", true, false), (".satfinite", false, true), (".satfinite.relu", true, true)]
            {
                let convert_as = Convert { relu, saturate_finite, ..Convert::new(to, Number::F32, rounding) };
                let body = format!("cvt{rounding_name}{modifier}.{name}.f32 %d0, %a0;");
                let d = run(&body, &[(32, a)], &[to.bits()]).unwrap_or_else(|fault| panic!("{body} {fault}"));
                assert_eq!(d[0], expected(&convert_as, &a, to.bits()), "{body}");
            }
        }
    }
    assert!(parse("cvt.rna.relu.tf32.f32 %d0, %a0;", &[32], &[32]).is_err());
    assert!(parse("cvt.rm.relu.bf16.f32 %d0, %a0;", &[32], &[16]).is_err());
}

#[test]
fn pairs_take_their_first_operand_into_the_upper_half() {
    let (a, b) = (values(Number::F32), values(Number::F32).map(|bits| bits ^ 0x8000_0000));
    for (name, to) in [("f16x2", Number::F16), ("bf16x2", Number::Bf16)] {
        for (rounding_name, rounding) in [ROUNDINGS[1], ROUNDINGS[3]] {
            for (modifier, relu) in [("", false), (".relu", true)] {
                let convert_as = Convert { relu, ..Convert::new(to, Number::F32, rounding) };
                let body = format!("cvt{rounding_name}{modifier}.{name}.f32 %d0, %a0, %a1;");
                let d = run(&body, &[(32, a), (32, b)], &[32]).unwrap_or_else(|fault| panic!("{body} {fault}"));
                let (high, low) = (expected(&convert_as, &a, 16), expected(&convert_as, &b, 16));
                assert_eq!(d[0], std::array::from_fn(|lane| high[lane] << 16 | low[lane]), "{body}");
            }
        }
    }
    for refused in ["cvt.f16x2.f32", "cvt.rn.ftz.f16x2.f32", "cvt.rn.sat.bf16x2.f32", "cvt.rn.f16x2.f64"] {
        assert!(parse(&format!("{refused} %d0, %a0, %a1;"), &[32, 32], &[32]).is_err(), "{refused} was accepted");
    }
}
