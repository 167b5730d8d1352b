//! f16 and bf16 arithmetic, one value or a pair (PTX ISA 9.7.4). Rounding is to nearest even, once.

use super::float::{NanRule, saturate, select};
use super::format::{Format, Rounding, add_to_odd, half_value};

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
    /// The format of the element.
    pub const fn format(self) -> Format {
        match self {
            HalfType::F16 => Format::F16,
            HalfType::Bf16 => Format::Bf16,
        }
    }

    /// a + b.
    pub fn add(self, a: u16, b: u16, mode: HalfMode) -> u16 {
        self.result(add_to_odd(self.operand(a, mode.flush), self.operand(b, mode.flush)), mode)
    }

    /// a - b.
    pub fn sub(self, a: u16, b: u16, mode: HalfMode) -> u16 {
        self.add(a, b ^ 0x8000, mode)
    }

    /// a b.
    pub fn mul(self, a: u16, b: u16, mode: HalfMode) -> u16 {
        self.result(self.operand(a, mode.flush) * self.operand(b, mode.flush), mode)
    }

    /// a b + c, rounded once.
    pub fn fma(self, a: u16, b: u16, c: u16, mode: HalfMode) -> u16 {
        let product = self.operand(a, mode.flush) * self.operand(b, mode.flush);
        self.result(add_to_odd(product, self.operand(c, mode.flush)), mode)
    }

    /// The smaller operand; -0 < +0.
    pub fn min(self, a: u16, b: u16, flush: bool, nan: NanRule) -> u16 {
        select(self.format(), self.flushed(a, flush).into(), self.flushed(b, flush).into(), nan, false) as u16
    }

    /// The larger operand; -0 < +0.
    pub fn max(self, a: u16, b: u16, flush: bool, nan: NanRule) -> u16 {
        select(self.format(), self.flushed(a, flush).into(), self.flushed(b, flush).into(), nan, true) as u16
    }

    /// -a. A NaN keeps its payload.
    pub fn neg(self, a: u16, flush: bool) -> u16 {
        self.flushed(a, flush) ^ 0x8000
    }

    /// |a|. A NaN keeps its payload.
    pub fn abs(self, a: u16, flush: bool) -> u16 {
        self.flushed(a, flush) & 0x7fff
    }

    /// The exact value.
    #[inline]
    pub fn to_f32(self, a: u16) -> f32 {
        match self {
            HalfType::F16 => half_value(a),
            HalfType::Bf16 => f32::from_bits(u32::from(a) << 16),
        }
    }

    /// The nearest value, ties to even; NaN becomes canonical.
    pub fn from_f32(self, a: f32) -> u16 {
        self.format().round(a.into(), Rounding::NearestEven) as u16
    }

    fn flushed(self, bits: u16, flush: bool) -> u16 {
        if flush { self.format().flush(bits.into()) as u16 } else { bits }
    }

    fn operand(self, bits: u16, flush: bool) -> f64 {
        self.to_f32(self.flushed(bits, flush)).into()
    }

    fn result(self, value: f64, mode: HalfMode) -> u16 {
        let format = self.format();
        let mut bits = self.flushed(format.round(value, Rounding::NearestEven) as u16, mode.flush);
        if mode.relu {
            bits = relu(format, bits.into()) as u16;
        }
        if mode.saturate { saturate(format, bits.into()) as u16 } else { bits }
    }
}

/// `.relu` on a result of `format`.
pub(super) fn relu(format: Format, bits: u64) -> u64 {
    if !format.is_nan(bits) && bits & format.sign() != 0 { 0 } else { bits }
}

/// Applies `operation` to the low and to the high halves: the `x2` form of an operation on one value.
#[inline]
pub fn pairwise(a: u32, b: u32, operation: impl Fn(u16, u16) -> u16) -> u32 {
    let low = operation(a as u16, b as u16);
    let high = operation((a >> 16) as u16, (b >> 16) as u16);
    u32::from(high) << 16 | u32::from(low)
}
