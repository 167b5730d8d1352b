//! Floating-point arithmetic on registers; the arithmetic itself is in [`crate::numeric`].

use super::Run;
use crate::instruction::{Double1, Double2, Half1, Half2, Single1, Single2, Slot};
use crate::numeric::{
    FloatMode, HalfMode, HalfType, abs_f32, add_f32, add_f64, cos_f32, div_approx_f32, div_f32, div_f64, ex2_f32,
    ex2_half, fma_f32, lg2_f32, max_f32, max_f64, min_f32, min_f64, mul_f32, mul_f64, neg_f32, pairwise, rcp_f32,
    rcp_f32_approx, rcp_f64, rsqrt_f32, rsqrt_f64, sin_f32, sqrt_f32, sqrt_f32_approx, sqrt_f64, sub_f32, sub_f64,
    tanh_f32, tanh_half,
};

/// The mode of nearly all instructions, which gets a loop of its own.
const PLAIN: FloatMode = FloatMode { rounding: crate::numeric::Rounding::NearestEven, flush: false, saturate: false };

const SIGN: u64 = 1 << 63;

/// `rcp.approx.ftz.f64` and `rsqrt.approx.ftz.f64` (PTX ISA 9.7.3.13, 9.7.3.17): a function of the upper word, of whose
/// result the upper word is kept.
fn of_upper_word(a: u64, function: impl Fn(f64) -> f64) -> u64 {
    const UPPER: u64 = 0xffff_ffff_0000_0000;
    let flush = |bits: u64| if f64::from_bits(bits).is_subnormal() { bits & SIGN } else { bits };
    let result = function(f64::from_bits(flush(a & UPPER)));
    if result.is_nan() { 0x7fff_ffff_0000_0000 } else { flush(result.to_bits() & UPPER) }
}

impl Run<'_> {
    pub(super) fn single1(&mut self, op: Single1, d: &[Slot], s: &[Slot], mask: u32) {
        match op {
            Single1::Reciprocal(mode) => self.map1_32(d, s, mask, |a| rcp_f32(a, mode)),
            Single1::Root(mode) => self.map1_32(d, s, mask, |a| sqrt_f32(a, mode)),
            Single1::Negate { flush } => self.map1_32(d, s, mask, |a| neg_f32(a, flush)),
            Single1::Absolute { flush } => self.map1_32(d, s, mask, |a| abs_f32(a, flush)),
            Single1::Exp2 { flush } => self.map1_32(d, s, mask, |a| ex2_f32(a, flush)),
            Single1::Log2 { flush } => self.map1_32(d, s, mask, |a| lg2_f32(a, flush)),
            Single1::Sine { flush } => self.map1_32(d, s, mask, |a| sin_f32(a, flush)),
            Single1::Cosine { flush } => self.map1_32(d, s, mask, |a| cos_f32(a, flush)),
            Single1::Tanh => self.map1_32(d, s, mask, tanh_f32),
            Single1::ReciprocalApproximate { flush } => self.map1_32(d, s, mask, |a| rcp_f32_approx(a, flush)),
            Single1::RootApproximate { flush } => self.map1_32(d, s, mask, |a| sqrt_f32_approx(a, flush)),
            Single1::InverseRoot { flush } => self.map1_32(d, s, mask, |a| rsqrt_f32(a, flush)),
        }
    }

    pub(super) fn single2(&mut self, op: Single2, d: &[Slot], s: &[Slot], mask: u32) {
        match op {
            Single2::Add(PLAIN) => self.map2_32(d, s, mask, |a, b| add_f32(a, b, PLAIN)),
            Single2::Subtract(PLAIN) => self.map2_32(d, s, mask, |a, b| sub_f32(a, b, PLAIN)),
            Single2::Multiply(PLAIN) => self.map2_32(d, s, mask, |a, b| mul_f32(a, b, PLAIN)),
            Single2::Add(mode) => self.map2_32(d, s, mask, |a, b| add_f32(a, b, mode)),
            Single2::Subtract(mode) => self.map2_32(d, s, mask, |a, b| sub_f32(a, b, mode)),
            Single2::Multiply(mode) => self.map2_32(d, s, mask, |a, b| mul_f32(a, b, mode)),
            Single2::Divide(mode) => self.map2_32(d, s, mask, |a, b| div_f32(a, b, mode)),
            Single2::DivideApproximate { flush } => self.map2_32(d, s, mask, |a, b| div_approx_f32(a, b, flush)),
            Single2::Minimum { flush, nan } => self.map2_32(d, s, mask, |a, b| min_f32(a, b, flush, nan)),
            Single2::Maximum { flush, nan } => self.map2_32(d, s, mask, |a, b| max_f32(a, b, flush, nan)),
            // `copysign d, a, b`: the sign of a, the magnitude of b (PTX ISA 9.7.3.2).
            Single2::CopySign => self.map2_32(d, s, mask, |a, b| a & 1 << 31 | b & !(1 << 31)),
        }
    }

    pub(super) fn single_fma(&mut self, mode: FloatMode, d: &[Slot], s: &[Slot], mask: u32) {
        match mode {
            PLAIN => self.map3_32(d, s, mask, |a, b, c| fma_f32(a, b, c, PLAIN)),
            _ => self.map3_32(d, s, mask, |a, b, c| fma_f32(a, b, c, mode)),
        }
    }

    pub(super) fn double1(&mut self, op: Double1, d: &[Slot], s: &[Slot], mask: u32) {
        match op {
            Double1::Reciprocal => self.map1(d, s, mask, rcp_f64),
            Double1::ReciprocalApproximate => self.map1(d, s, mask, |a| of_upper_word(a, f64::recip)),
            Double1::InverseRootUpper => self.map1(d, s, mask, |a| of_upper_word(a, |a| 1.0 / a.sqrt())),
            Double1::Root => self.map1(d, s, mask, sqrt_f64),
            Double1::InverseRoot => self.map1(d, s, mask, rsqrt_f64),
            Double1::Negate => self.map1(d, s, mask, |a| a ^ SIGN),
            Double1::Absolute => self.map1(d, s, mask, |a| a & !SIGN),
        }
    }

    pub(super) fn double2(&mut self, op: Double2, d: &[Slot], s: &[Slot], mask: u32) {
        match op {
            Double2::Add => self.map2(d, s, mask, add_f64),
            Double2::Subtract => self.map2(d, s, mask, sub_f64),
            Double2::Multiply => self.map2(d, s, mask, mul_f64),
            Double2::Divide => self.map2(d, s, mask, div_f64),
            Double2::Minimum => self.map2(d, s, mask, min_f64),
            Double2::Maximum => self.map2(d, s, mask, max_f64),
            Double2::CopySign => self.map2(d, s, mask, |a, b| a & SIGN | b & !SIGN),
        }
    }

    pub(super) fn half1(&mut self, op: Half1, kind: HalfType, pair: bool, d: &[Slot], s: &[Slot], mask: u32) {
        let one = |a: u16| match op {
            Half1::Negate { flush } => kind.neg(a, flush),
            Half1::Absolute { flush } => kind.abs(a, flush),
            Half1::Exp2 => ex2_half(kind, a),
            Half1::Tanh => tanh_half(kind, a),
        };
        match pair {
            false => self.map1(d, s, mask, |a| u64::from(one(a as u16))),
            true => self.map1_32(d, s, mask, |a| pairwise(a, 0, |a, _| one(a))),
        }
    }

    pub(super) fn half2(&mut self, op: Half2, kind: HalfType, pair: bool, d: &[Slot], s: &[Slot], mask: u32) {
        let two = |a: u16, b: u16| match op {
            Half2::Add(mode) => kind.add(a, b, mode),
            Half2::Subtract(mode) => kind.sub(a, b, mode),
            Half2::Multiply(mode) => kind.mul(a, b, mode),
            Half2::Minimum { flush, nan } => kind.min(a, b, flush, nan),
            Half2::Maximum { flush, nan } => kind.max(a, b, flush, nan),
        };
        match pair {
            false => self.map2(d, s, mask, |a, b| u64::from(two(a as u16, b as u16))),
            true => self.map2_32(d, s, mask, |a, b| pairwise(a, b, two)),
        }
    }

    pub(super) fn half_fma(&mut self, mode: HalfMode, kind: HalfType, pair: bool, d: &[Slot], s: &[Slot], mask: u32) {
        match pair {
            false => self.map3(d, s, mask, |a, b, c| u64::from(kind.fma(a as u16, b as u16, c as u16, mode))),
            true => self.map3_32(d, s, mask, |a, b, c| {
                let low = kind.fma(a as u16, b as u16, c as u16, mode);
                let high = kind.fma((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16, mode);
                u32::from(high) << 16 | u32::from(low)
            }),
        }
    }
}
