//! The binary formats of PTX and one exact rounding for all of them.

/// Rounding of a floating-point result (PTX ISA 9.7.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// `.rn`: to nearest, ties to even.
    #[default]
    NearestEven,
    /// `.rna`: to nearest, ties away from zero.
    NearestAway,
    /// `.rz`: towards zero.
    Zero,
    /// `.rm`: towards minus infinity.
    Down,
    /// `.rp`: towards plus infinity.
    Up,
}

/// A binary floating-point format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE binary16.
    F16,
    /// bfloat16: the upper half of an f32.
    Bf16,
    /// f32 whose low 13 bits are zero.
    Tf32,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
}

impl Format {
    /// Explicit bits of the significand and bits of the exponent.
    const fn fields(self) -> (u32, u32) {
        match self {
            Format::F16 => (10, 5),
            Format::Bf16 => (7, 8),
            Format::Tf32 => (10, 8),
            Format::F32 => (23, 8),
            Format::F64 => (52, 11),
        }
    }

    /// Zero bits below the significand: tf32 lives in the upper 19 bits of an f32.
    const fn padding(self) -> u32 {
        if matches!(self, Format::Tf32) { 13 } else { 0 }
    }

    /// The bits of plus infinity.
    pub const fn infinity(self) -> u64 {
        let (significand, exponent) = self.fields();
        ((1 << exponent) - 1) << (significand + self.padding())
    }

    /// The sign bit alone.
    pub const fn sign(self) -> u64 {
        let (significand, exponent) = self.fields();
        1 << (significand + exponent + self.padding())
    }

    /// The bits of the smallest positive normal number.
    pub const fn smallest_normal(self) -> u64 {
        1 << (self.fields().0 + self.padding())
    }

    /// The bits of one.
    pub const fn one(self) -> u64 {
        let (significand, exponent) = self.fields();
        ((1 << (exponent - 1)) - 1) << (significand + self.padding())
    }

    /// The NaN that PTX operations give: all bits but the sign (f64: the quiet NaN of the host).
    pub const fn canonical_nan(self) -> u64 {
        match self {
            Format::F64 => 0x7ff8_0000_0000_0000,
            _ => self.sign() - 1,
        }
    }

    /// Whether `bits` are a NaN.
    pub const fn is_nan(self, bits: u64) -> bool {
        bits & !self.sign() > self.infinity()
    }

    /// A zero of the sign of `bits` if they are subnormal, else `bits`: what `.ftz` does to operands and results.
    pub const fn flush(self, bits: u64) -> u64 {
        if bits & !self.sign() < self.smallest_normal() { bits & self.sign() } else { bits }
    }

    /// The value of `bits`, exactly (a NaN becomes some NaN).
    pub fn value(self, bits: u64) -> f64 {
        match self {
            Format::F16 => half_value(bits as u16).into(),
            Format::Bf16 => f32::from_bits((bits as u32) << 16).into(),
            Format::Tf32 => f32::from_bits(bits as u32 & !0x1fff).into(),
            Format::F32 => f32::from_bits(bits as u32).into(),
            Format::F64 => f64::from_bits(bits),
        }
    }

    /// `value` rounded once to this format. NaN becomes canonical.
    pub fn round(self, value: f64, rounding: Rounding) -> u64 {
        let bits = value.to_bits();
        if Format::F64.is_nan(bits) {
            return self.canonical_nan();
        }
        let negative = value.is_sign_negative();
        if value.is_infinite() {
            return self.signed(negative, self.infinity());
        }
        let (fraction, biased) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i32);
        let (significand, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
        self.round_scaled(negative, significand, exponent, rounding)
    }

    /// `integer` rounded once to this format.
    pub fn round_integer(self, negative: bool, magnitude: u64, rounding: Rounding) -> u64 {
        self.round_scaled(negative, magnitude, 0, rounding)
    }

    /// Rounds significand x 2^exponent. Subnormal results and overflow follow IEEE 754: to nearest an overflow is
    /// infinite, directed rounding away from infinity stops at the largest finite number.
    fn round_scaled(self, negative: bool, significand: u64, exponent: i32, rounding: Rounding) -> u64 {
        if significand == 0 {
            return self.signed(negative, 0);
        }
        let (explicit, exponent_bits) = self.fields();
        let explicit = explicit as i32;
        let smallest_exponent = 2 - (1 << (exponent_bits - 1));
        let leading = exponent + significand.ilog2() as i32;
        let unit = leading.max(smallest_exponent) - explicit;
        let shift = unit - exponent;
        let (mut kept, half, rest) = match shift {
            ..=0 => (significand << -shift, false, false),
            1..=63 => {
                let below = significand & ((1 << (shift - 1)) - 1);
                (significand >> shift, significand >> (shift - 1) & 1 == 1, below != 0)
            }
            64 => (0, significand >> 63 == 1, significand << 1 != 0),
            _ => (0, false, true),
        };
        kept += u64::from(match rounding {
            Rounding::NearestEven => half && (rest || kept & 1 == 1),
            Rounding::NearestAway => half,
            Rounding::Zero => false,
            Rounding::Down => negative && (half || rest),
            Rounding::Up => !negative && (half || rest),
        });
        // The implicit bit of a normal significand adds one to the exponent field, and so does a carry out of it.
        let steps = (unit - (smallest_exponent - explicit)) as u64;
        let packed = ((steps << explicit) + kept) << self.padding();
        if packed < self.infinity() {
            return self.signed(negative, packed);
        }
        let to_infinity = match rounding {
            Rounding::NearestEven | Rounding::NearestAway => true,
            Rounding::Zero => false,
            Rounding::Down => negative,
            Rounding::Up => !negative,
        };
        self.signed(negative, if to_infinity { self.infinity() } else { self.largest_finite() })
    }

    /// The bits of the largest finite number.
    pub const fn largest_finite(self) -> u64 {
        self.infinity() - (1 << self.padding())
    }

    const fn signed(self, negative: bool, bits: u64) -> u64 {
        if negative { bits | self.sign() } else { bits }
    }
}

/// The value of a binary16. The exponent is rebiased by a multiplication, which also normalises subnormals.
#[inline]
pub(super) fn half_value(bits: u16) -> f32 {
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let sign = u32::from(bits & 0x8000) << 16;
    if bits & 0x7c00 == 0x7c00 {
        return f32::from_bits(sign | magnitude | 0x7f80_0000);
    }
    f32::from_bits(sign | (f32::from_bits(magnitude) * REBIAS).to_bits())
}

/// a + b rounded to odd: the exact sum if it fits, else the neighbour of it whose last bit is set. Rounding that to
/// a format with at least two bits less gives the same as rounding the exact sum, in every mode (Boldo and
/// Melquiond, "Emulation of FMA and correctly rounded sums", 2008). Neither may be near the limits of f64.
pub(super) fn add_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    // Knuth's two-sum: what the addition lost.
    let b_seen = sum - a;
    let lost = (a - (sum - b_seen)) + (b - b_seen);
    to_odd(sum, lost)
}

/// `nearest` plus a `lost` part below half its last place, rounded to odd. Only the sign of `lost` matters.
pub(super) fn to_odd(nearest: f64, lost: f64) -> f64 {
    let bits = nearest.to_bits();
    if !nearest.is_finite() || lost == 0.0 || lost.is_nan() || bits & 1 == 1 {
        return nearest;
    }
    f64::from_bits(if (lost > 0.0) == (nearest > 0.0) { bits + 1 } else { bits - 1 })
}

/// The sign of an exact zero sum: plus, but minus towards minus infinity unless both operands are plus zeros.
pub(super) fn sum_with_zero_sign(a: f64, b: f64, rounding: Rounding) -> f64 {
    let sum = add_to_odd(a, b);
    let negative = rounding == Rounding::Down && (a.is_sign_negative() || b.is_sign_negative());
    if sum == 0.0 && negative { -0.0 } else { sum }
}
