//! f16 and bf16 arithmetic, one value or a pair (PTX ISA 9.7.4). Rounding is to nearest even, once.

use super::float::NanRule;

/// Element type of a half-precision operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HalfType {
    F16,
    Bf16,
}

/// Modifiers of a half-precision operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HalfMode {
    /// `.ftz`: subnormal operands and results become zeros of the same sign (f16 only).
    pub flush: bool,
    /// `.sat`: clamp the result to [0, 1]; NaN becomes +0 (f16 only).
    pub saturate: bool,
    /// `.relu`: a negative result becomes +0, NaN stays NaN (fma only).
    pub relu: bool,
}

impl HalfType {
    /// a + b.
    pub fn add(self, a: u16, b: u16, mode: HalfMode) -> u16 {
        unimplemented!()
    }
    /// a - b.
    pub fn sub(self, a: u16, b: u16, mode: HalfMode) -> u16 {
        unimplemented!()
    }
    /// a b.
    pub fn mul(self, a: u16, b: u16, mode: HalfMode) -> u16 {
        unimplemented!()
    }
    /// a b + c, rounded once.
    pub fn fma(self, a: u16, b: u16, c: u16, mode: HalfMode) -> u16 {
        unimplemented!()
    }
    /// The smaller operand; -0 < +0.
    pub fn min(self, a: u16, b: u16, flush: bool, nan: NanRule) -> u16 {
        unimplemented!()
    }
    /// The larger operand; -0 < +0.
    pub fn max(self, a: u16, b: u16, flush: bool, nan: NanRule) -> u16 {
        unimplemented!()
    }
    /// -a. A NaN keeps its payload.
    pub fn neg(self, a: u16, flush: bool) -> u16 {
        unimplemented!()
    }
    /// |a|. A NaN keeps its payload.
    pub fn abs(self, a: u16, flush: bool) -> u16 {
        unimplemented!()
    }
    /// The exact value.
    pub fn to_f32(self, a: u16) -> f32 {
        unimplemented!()
    }
    /// The nearest value, ties to even; NaN becomes canonical.
    pub fn from_f32(self, a: f32) -> u16 {
        unimplemented!()
    }
}

/// Applies `operation` to the low and to the high halves: the `x2` form of an operation on one value.
pub fn pairwise(a: u32, b: u32, operation: impl Fn(u16, u16) -> u16) -> u32 {
    unimplemented!()
}
