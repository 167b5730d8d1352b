//! f32 and f64 arithmetic (PTX ISA 9.7.3).
//!
//! f32 results in modes other than the plain one are computed exactly, or rounded to odd, in f64 and then rounded
//! once. With `.ftz` a result counts as subnormal if it is so after rounding.

use super::format::{Format, Rounding, sum_with_zero_sign, to_odd};

/// Modifiers of an f32 operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FloatMode {
    pub rounding: Rounding,
    /// `.ftz`: subnormal operands and results become zeros of the same sign.
    pub flush: bool,
    /// `.sat`: clamp the result to [0, 1]; NaN becomes +0.
    pub saturate: bool,
}

/// What `min` and `max` give when an operand is NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NanRule {
    /// The other operand; canonical NaN only if both are.
    #[default]
    Number,
    /// `.NaN`: canonical NaN.
    Nan,
}

impl FloatMode {
    /// Rounds to nearest even and has no other modifier: the host's own operation does it.
    fn is_plain(self) -> bool {
        self == Self::default()
    }

    fn operand(self, bits: u32) -> f64 {
        f32::from_bits(flush_f32(bits, self.flush)).into()
    }

    fn result(self, value: f64) -> u32 {
        let bits = flush_f32(Format::F32.round(value, self.rounding) as u32, self.flush);
        if self.saturate { saturate(Format::F32, bits.into()) as u32 } else { bits }
    }
}

pub(super) fn flush_f32(bits: u32, flush: bool) -> u32 {
    if flush { Format::F32.flush(bits.into()) as u32 } else { bits }
}

/// `.sat` on a result of `format`.
pub(super) fn saturate(format: Format, bits: u64) -> u64 {
    let one = format.one();
    if format.is_nan(bits) || bits & format.sign() != 0 { 0 } else { bits.min(one) }
}

/// The bits of `value`, NaN being canonical. The test is on the bits because rustc 1.95 drops `is_nan` of a square
/// root whose operand a caller has found to be a number.
fn canonical_f32(value: f32) -> u32 {
    let bits = value.to_bits();
    if Format::F32.is_nan(bits.into()) { Format::F32.canonical_nan() as u32 } else { bits }
}

/// a + b.
#[inline]
pub fn add_f32(a: u32, b: u32, mode: FloatMode) -> u32 {
    if mode.is_plain() {
        return canonical_f32(f32::from_bits(a) + f32::from_bits(b));
    }
    mode.result(sum_with_zero_sign(mode.operand(a), mode.operand(b), mode.rounding))
}

/// a - b.
#[inline]
pub fn sub_f32(a: u32, b: u32, mode: FloatMode) -> u32 {
    add_f32(a, b ^ 0x8000_0000, mode)
}

/// a b.
#[inline]
pub fn mul_f32(a: u32, b: u32, mode: FloatMode) -> u32 {
    if mode.is_plain() {
        return canonical_f32(f32::from_bits(a) * f32::from_bits(b));
    }
    mode.result(mode.operand(a) * mode.operand(b))
}

/// a b + c, rounded once.
#[inline]
pub fn fma_f32(a: u32, b: u32, c: u32, mode: FloatMode) -> u32 {
    if mode.is_plain() {
        return canonical_f32(f32::from_bits(a).mul_add(f32::from_bits(b), f32::from_bits(c)));
    }
    mode.result(sum_with_zero_sign(mode.operand(a) * mode.operand(b), mode.operand(c), mode.rounding))
}

/// a / b, correctly rounded: `div.rn` and its like. `.sat` does not exist here.
pub fn div_f32(a: u32, b: u32, mode: FloatMode) -> u32 {
    if mode.is_plain() {
        return canonical_f32(f32::from_bits(a) / f32::from_bits(b));
    }
    let (a, b) = (mode.operand(a), mode.operand(b));
    let quotient = a / b;
    let remainder = (-quotient).mul_add(b, a);
    mode.result(to_odd(quotient, if b < 0.0 { -remainder } else { remainder }))
}

/// 1 / a, correctly rounded.
pub fn rcp_f32(a: u32, mode: FloatMode) -> u32 {
    div_f32(1f32.to_bits(), a, mode)
}

/// The square root of a, correctly rounded.
pub fn sqrt_f32(a: u32, mode: FloatMode) -> u32 {
    if mode.is_plain() {
        return canonical_f32(f32::from_bits(a).sqrt());
    }
    let a = mode.operand(a);
    let root = a.sqrt();
    mode.result(to_odd(root, (-root).mul_add(root, a)))
}

/// The smaller operand; -0 < +0.
pub fn min_f32(a: u32, b: u32, flush: bool, nan: NanRule) -> u32 {
    select(Format::F32, flush_f32(a, flush).into(), flush_f32(b, flush).into(), nan, false) as u32
}

/// The larger operand; -0 < +0.
pub fn max_f32(a: u32, b: u32, flush: bool, nan: NanRule) -> u32 {
    select(Format::F32, flush_f32(a, flush).into(), flush_f32(b, flush).into(), nan, true) as u32
}

/// The larger or the smaller of two values of one format.
pub(super) fn select(format: Format, a: u64, b: u64, nan: NanRule, larger: bool) -> u64 {
    match (format.is_nan(a), format.is_nan(b), nan) {
        (true, true, _) | (true, _, NanRule::Nan) | (_, true, NanRule::Nan) => format.canonical_nan(),
        (true, false, NanRule::Number) => b,
        (false, true, NanRule::Number) => a,
        (false, false, _) => {
            // Sign and magnitude as a two's complement number, -0 just below +0.
            let key = |bits: u64| {
                let magnitude = (bits & !format.sign()) as i64;
                if bits & format.sign() != 0 { -1 - magnitude } else { magnitude }
            };
            if (key(a) > key(b)) == larger { a } else { b }
        }
    }
}

/// -a. A NaN keeps its payload.
pub fn neg_f32(a: u32, flush: bool) -> u32 {
    flush_f32(a, flush) ^ 0x8000_0000
}

/// |a|. A NaN keeps its payload.
pub fn abs_f32(a: u32, flush: bool) -> u32 {
    flush_f32(a, flush) & 0x7fff_ffff
}

/// a + b, to nearest even (the only rounding of f64 here).
pub fn add_f64(a: u64, b: u64) -> u64 {
    (f64::from_bits(a) + f64::from_bits(b)).to_bits()
}

/// a - b, to nearest even.
pub fn sub_f64(a: u64, b: u64) -> u64 {
    (f64::from_bits(a) - f64::from_bits(b)).to_bits()
}

/// a b, to nearest even.
pub fn mul_f64(a: u64, b: u64) -> u64 {
    (f64::from_bits(a) * f64::from_bits(b)).to_bits()
}

/// a b + c, rounded once to nearest even.
pub fn fma_f64(a: u64, b: u64, c: u64) -> u64 {
    f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c)).to_bits()
}

/// a / b, to nearest even.
pub fn div_f64(a: u64, b: u64) -> u64 {
    (f64::from_bits(a) / f64::from_bits(b)).to_bits()
}

/// 1 / a, to nearest even.
pub fn rcp_f64(a: u64) -> u64 {
    (1.0 / f64::from_bits(a)).to_bits()
}

/// The square root of a, to nearest even.
pub fn sqrt_f64(a: u64) -> u64 {
    f64::from_bits(a).sqrt().to_bits()
}

/// The smaller operand; -0 < +0; a NaN operand gives the other.
pub fn min_f64(a: u64, b: u64) -> u64 {
    select(Format::F64, a, b, NanRule::Number, false)
}

/// The larger operand; -0 < +0; a NaN operand gives the other.
pub fn max_f64(a: u64, b: u64) -> u64 {
    select(Format::F64, a, b, NanRule::Number, true)
}
