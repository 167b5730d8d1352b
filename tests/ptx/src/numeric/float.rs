//! f32 and f64 arithmetic (PTX ISA 9.7.3).

use super::format::Rounding;

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

/// a + b.
pub fn add_f32(a: u32, b: u32, mode: FloatMode) -> u32 {
    unimplemented!()
}
/// a - b.
pub fn sub_f32(a: u32, b: u32, mode: FloatMode) -> u32 {
    unimplemented!()
}
/// a b.
pub fn mul_f32(a: u32, b: u32, mode: FloatMode) -> u32 {
    unimplemented!()
}
/// a b + c, rounded once.
pub fn fma_f32(a: u32, b: u32, c: u32, mode: FloatMode) -> u32 {
    unimplemented!()
}
/// a / b, correctly rounded: `div.rn` and its like. `.sat` does not exist here.
pub fn div_f32(a: u32, b: u32, mode: FloatMode) -> u32 {
    unimplemented!()
}
/// 1 / a, correctly rounded.
pub fn rcp_f32(a: u32, mode: FloatMode) -> u32 {
    unimplemented!()
}
/// The square root of a, correctly rounded.
pub fn sqrt_f32(a: u32, mode: FloatMode) -> u32 {
    unimplemented!()
}
/// The smaller operand; -0 < +0.
pub fn min_f32(a: u32, b: u32, flush: bool, nan: NanRule) -> u32 {
    unimplemented!()
}
/// The larger operand; -0 < +0.
pub fn max_f32(a: u32, b: u32, flush: bool, nan: NanRule) -> u32 {
    unimplemented!()
}
/// -a. A NaN keeps its payload.
pub fn neg_f32(a: u32, flush: bool) -> u32 {
    unimplemented!()
}
/// |a|. A NaN keeps its payload.
pub fn abs_f32(a: u32, flush: bool) -> u32 {
    unimplemented!()
}

/// a + b, to nearest even (the only rounding of f64 here).
pub fn add_f64(a: u64, b: u64) -> u64 {
    unimplemented!()
}
/// a - b, to nearest even.
pub fn sub_f64(a: u64, b: u64) -> u64 {
    unimplemented!()
}
/// a b, to nearest even.
pub fn mul_f64(a: u64, b: u64) -> u64 {
    unimplemented!()
}
/// a b + c, rounded once to nearest even.
pub fn fma_f64(a: u64, b: u64, c: u64) -> u64 {
    unimplemented!()
}
/// a / b, to nearest even.
pub fn div_f64(a: u64, b: u64) -> u64 {
    unimplemented!()
}
/// 1 / a, to nearest even.
pub fn rcp_f64(a: u64) -> u64 {
    unimplemented!()
}
/// The square root of a, to nearest even.
pub fn sqrt_f64(a: u64) -> u64 {
    unimplemented!()
}
/// The smaller operand; -0 < +0; a NaN operand gives the other.
pub fn min_f64(a: u64, b: u64) -> u64 {
    unimplemented!()
}
/// The larger operand; -0 < +0; a NaN operand gives the other.
pub fn max_f64(a: u64, b: u64) -> u64 {
    unimplemented!()
}
