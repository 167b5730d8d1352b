//! `cvt` between all scalar types (PTX ISA 9.7.9.21).

use super::float::saturate;
use super::format::{Format, Rounding};
use super::half::relu;

/// A scalar type that `cvt` reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F16,
    Bf16,
    Tf32,
    F32,
    F64,
}

impl Number {
    /// Bits of a value.
    pub const fn bits(self) -> u32 {
        match self {
            Number::U8 | Number::S8 => 8,
            Number::U16 | Number::S16 | Number::F16 | Number::Bf16 => 16,
            Number::U32 | Number::S32 | Number::F32 | Number::Tf32 => 32,
            Number::U64 | Number::S64 | Number::F64 => 64,
        }
    }

    /// The format of a float.
    pub const fn format(self) -> Option<Format> {
        match self {
            Number::F16 => Some(Format::F16),
            Number::Bf16 => Some(Format::Bf16),
            Number::Tf32 => Some(Format::Tf32),
            Number::F32 => Some(Format::F32),
            Number::F64 => Some(Format::F64),
            _ => None,
        }
    }

    const fn is_signed(self) -> bool {
        matches!(self, Number::S8 | Number::S16 | Number::S32 | Number::S64)
    }

    /// Smallest and largest value of an integer type.
    fn range(self) -> (i128, i128) {
        let bits = self.bits();
        if self.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
    }

    /// The low bits of `a` as an integer of this type.
    fn integer(self, a: u64) -> i128 {
        let unused = 64 - self.bits();
        if self.is_signed() { ((a << unused) as i64 >> unused).into() } else { (a << unused >> unused).into() }
    }
}

/// The rounding modifier of a `cvt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConvertRounding {
    /// No modifier: the conversion is exact (a widening, or between integers).
    #[default]
    Exact,
    /// `.rn`, `.rna`, `.rz`, `.rm`, `.rp`: to the precision of the destination.
    Float(Rounding),
    /// `.rni`, `.rzi`, `.rmi`, `.rpi`: to an integral value, of an integer type or of the float type of the source.
    Integer(Rounding),
}

/// One `cvt` instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convert {
    /// Destination type.
    pub to: Number,
    /// Source type.
    pub from: Number,
    pub rounding: ConvertRounding,
    /// `.ftz`: subnormal f32 operands and results become zeros of the same sign.
    pub flush: bool,
    /// `.sat`: clamp to the range of an integer destination, to [0, 1] for a float one (NaN becomes +0).
    pub saturate: bool,
    /// `.satfinite`: what would overflow becomes the largest finite value of the destination.
    pub saturate_finite: bool,
    /// `.relu`: a negative result becomes +0, NaN stays NaN.
    pub relu: bool,
}

impl Convert {
    /// The plain conversion from `from` to `to` with `rounding` and no other modifier.
    pub fn new(to: Number, from: Number, rounding: ConvertRounding) -> Self {
        Self { to, from, rounding, flush: false, saturate: false, saturate_finite: false, relu: false }
    }

    /// Whether PTX has this combination; the decoder must refuse the others.
    pub fn exists(&self) -> bool {
        use ConvertRounding::{Exact, Float, Integer};
        use Rounding::{NearestAway, NearestEven, Zero};
        let (to, from) = (self.to, self.from);
        if from == Number::Tf32 || self.flush && to != Number::F32 && from != Number::F32 {
            return false;
        }
        if to == Number::Tf32 {
            let rounded = match self.rounding {
                Float(NearestAway) => !self.relu,
                Float(NearestEven | Zero) => true,
                _ => false,
            };
            return from == Number::F32 && rounded && !self.saturate && !self.flush;
        }
        if self.relu || self.saturate_finite {
            let narrows = from == Number::F32 && matches!(to, Number::F16 | Number::Bf16);
            return narrows && matches!(self.rounding, Float(NearestEven | Zero)) && !self.saturate && !self.flush;
        }
        if self.saturate && to == Number::Bf16 {
            return false;
        }
        let directed = |rounding| rounding != NearestAway;
        match (to.format(), from.format()) {
            (None, None) => self.rounding == Exact,
            (None, Some(_)) => matches!(self.rounding, Integer(rounding) if directed(rounding)),
            (Some(_), None) => matches!(self.rounding, Float(rounding) if directed(rounding)),
            (Some(to), Some(from)) if to == from => {
                matches!(self.rounding, Exact) || matches!(self.rounding, Integer(rounding) if directed(rounding))
            }
            (Some(to), Some(from)) if to.holds(from) => self.rounding == Exact,
            (Some(_), Some(_)) => matches!(self.rounding, Float(rounding) if directed(rounding)),
        }
    }

    fn flushed(&self, number: Number, bits: u64) -> u64 {
        if self.flush && number == Number::F32 { Format::F32.flush(bits) } else { bits }
    }

    fn precision_rounding(&self) -> Rounding {
        match self.rounding {
            ConvertRounding::Float(rounding) => rounding,
            ConvertRounding::Exact | ConvertRounding::Integer(_) => Rounding::NearestEven,
        }
    }

    /// The modifiers that act on the bits of a float result.
    fn finish(&self, format: Format, bits: u64) -> u64 {
        let mut bits = self.flushed(self.to, bits);
        if self.saturate_finite && bits & !format.sign() == format.infinity() {
            bits = bits & format.sign() | format.largest_finite();
        }
        if self.relu {
            bits = relu(format, bits);
        }
        if self.saturate { saturate(format, bits) } else { bits }
    }

    fn float_to_integer(&self, value: f64) -> u64 {
        if value.is_nan() {
            let zero = self.from != Number::F64 && self.to.bits() < 64;
            let bits = if zero { 0 } else { 1 << (self.to.bits() - 1) };
            return self.to.integer(bits) as u64;
        }
        let ConvertRounding::Integer(rounding) = self.rounding else {
            panic!("a float becomes an integer by an integer rounding: {self:?}");
        };
        // The cast saturates far outside every range.
        let (lowest, highest) = self.to.range();
        (to_integral(value, rounding) as i128).clamp(lowest, highest) as u64
    }
}

impl Format {
    /// Whether every value of `other` is one of this format.
    fn holds(self, other: Format) -> bool {
        match self {
            Format::F64 => true,
            Format::F32 => other != Format::F64,
            Format::F16 | Format::Bf16 | Format::Tf32 => self == other,
        }
    }
}

fn to_integral(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::NearestEven => value.round_ties_even(),
        Rounding::NearestAway => value.round(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

/// `cvt`: the low bits of `a` are the source. The result is sign-extended (signed integers) or zero-extended (all
/// others) to 64 bits, so that a register wider than the destination type holds what PTX puts there.
///
/// A float becomes an integer by the rounding, then is clamped to the range of the integer. NaN becomes 0, but the
/// value of the sign bit alone (0x80...0) if the source is f64 or the destination has 64 bits, as PTX ISA says.
/// The packed forms are two conversions: `cvt.rn.bf16x2.f32 d, a, b` puts `a` in the upper half of d.
///
/// Panics on a float source, an integer destination and no integer rounding; see [`Convert::exists`].
pub fn convert(operation: &Convert, a: u64) -> u64 {
    match (operation.to.format(), operation.from.format()) {
        (None, None) => {
            let value = operation.from.integer(a);
            let (lowest, highest) = operation.to.range();
            if operation.saturate {
                value.clamp(lowest, highest) as u64
            } else {
                operation.to.integer(value as u64) as u64
            }
        }
        (Some(format), None) => {
            let value = operation.from.integer(a);
            let magnitude = value.unsigned_abs() as u64;
            operation.finish(format, format.round_integer(value < 0, magnitude, operation.precision_rounding()))
        }
        (None, Some(format)) => operation.float_to_integer(format.value(operation.flushed(operation.from, a))),
        (Some(to), Some(from)) => {
            let value = from.value(operation.flushed(operation.from, a));
            let value = match operation.rounding {
                ConvertRounding::Integer(rounding) => to_integral(value, rounding),
                ConvertRounding::Exact | ConvertRounding::Float(_) => value,
            };
            operation.finish(to, to.round(value, operation.precision_rounding()))
        }
    }
}
