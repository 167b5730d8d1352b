//! The `.approx` functions (PTX ISA 9.7.3 and 9.7.4).
//!
//! The hardware's results differ from the mathematical ones in the last bits (PTX ISA bounds the error) and are not
//! published bit by bit. Here the function is computed in f64 and rounded to nearest: a kernel whose result depends
//! on more than the bound is wrong on hardware too, and tests compare with a tolerance. Special values (zeros,
//! infinities, NaN, the range where `div.approx` gives 0) are those of PTX ISA.
//!
//! `flush` is `.ftz`.

use super::float::{FloatMode, div_f32, flush_f32};
use super::format::{Format, Rounding};
use super::half::HalfType;

fn apply_f32(a: u32, flush: bool, function: impl Fn(f64) -> f64) -> u32 {
    let value = function(f32::from_bits(flush_f32(a, flush)).into());
    flush_f32(Format::F32.round(value, Rounding::NearestEven) as u32, flush)
}

fn apply_half(kind: HalfType, a: u16, function: impl Fn(f64) -> f64) -> u16 {
    kind.format().round(function(kind.to_f32(a).into()), Rounding::NearestEven) as u16
}

/// `ex2.approx.f32`: 2^a.
pub fn ex2_f32(a: u32, flush: bool) -> u32 {
    apply_f32(a, flush, f64::exp2)
}

/// `lg2.approx.f32`: log2 a.
pub fn lg2_f32(a: u32, flush: bool) -> u32 {
    apply_f32(a, flush, f64::log2)
}

/// `sin.approx.f32`.
pub fn sin_f32(a: u32, flush: bool) -> u32 {
    apply_f32(a, flush, f64::sin)
}

/// `cos.approx.f32`.
pub fn cos_f32(a: u32, flush: bool) -> u32 {
    apply_f32(a, flush, f64::cos)
}

/// `tanh.approx.f32`.
pub fn tanh_f32(a: u32) -> u32 {
    apply_f32(a, false, f64::tanh)
}

/// `rcp.approx.f32`: 1 / a.
pub fn rcp_f32_approx(a: u32, flush: bool) -> u32 {
    apply_f32(a, flush, f64::recip)
}

/// `rsqrt.approx.f32`: 1 / sqrt a.
pub fn rsqrt_f32(a: u32, flush: bool) -> u32 {
    apply_f32(a, flush, |a| a.sqrt().recip())
}

/// `rsqrt.approx.f64`.
pub fn rsqrt_f64(a: u64) -> u64 {
    f64::from_bits(a).sqrt().recip().to_bits()
}

/// `sqrt.approx.f32`.
pub fn sqrt_f32_approx(a: u32, flush: bool) -> u32 {
    apply_f32(a, flush, f64::sqrt)
}

/// `div.approx.f32`: a (1 / b), which is 0 for 2^126 < |b| < 2^128 (NaN if a is infinite). `div.full.f32` has no
/// such range: use `div_f32`.
pub fn div_approx_f32(a: u32, b: u32, flush: bool) -> u32 {
    const LARGEST_DIVISOR: f32 = f32::from_bits((127 + 126) << 23);
    let (dividend, divisor) = (f32::from_bits(a), f32::from_bits(b));
    if divisor.is_finite() && divisor.abs() > LARGEST_DIVISOR && !dividend.is_nan() {
        let sign = (a ^ b) & 0x8000_0000;
        return if dividend.is_infinite() { Format::F32.canonical_nan() as u32 } else { sign };
    }
    div_f32(a, b, FloatMode { flush, ..FloatMode::default() })
}

/// `ex2.approx.f16` and `ex2.approx.ftz.bf16`: 2^a. The bf16 form flushes a subnormal result, the f16 form does not.
pub fn ex2_half(kind: HalfType, a: u16) -> u16 {
    let bits = apply_half(kind, a, f64::exp2);
    match kind {
        HalfType::F16 => bits,
        HalfType::Bf16 => Format::Bf16.flush(bits.into()) as u16,
    }
}

/// `tanh.approx.{f16,bf16}`.
pub fn tanh_half(kind: HalfType, a: u16) -> u16 {
    apply_half(kind, a, f64::tanh)
}
