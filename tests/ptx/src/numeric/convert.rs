//! `cvt` between all scalar types (PTX ISA 9.7.9.21).

use super::format::Rounding;

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

/// The rounding modifier of a `cvt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConvertRounding {
    /// No modifier: the conversion is exact (a widening, or between integers).
    #[default]
    Exact,
    /// `.rn`, `.rna`, `.rz`, `.rm`, `.rp`: to the precision of the destination.
    Float(Rounding),
    /// `.rni`, `.rzi`, `.rmi`, `.rpi`: to an integral value; of an integer or of a float of the source's type.
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
        unimplemented!()
    }
}

/// `cvt`: the low bits of `a` are the source. The result is sign-extended (signed integers) or zero-extended (all
/// others) to 64 bits, so that a register wider than the destination type holds what PTX puts there.
///
/// A float becomes an integer by the rounding, then is clamped to the range of the integer. NaN becomes 0, but the
/// value of the sign bit alone (0x80...0) if the source is f64 or the destination has 64 bits, as PTX ISA says.
/// The packed forms are two conversions: `cvt.rn.bf16x2.f32 d, a, b` puts `a` in the upper half of d.
pub fn convert(operation: &Convert, a: u64) -> u64 {
    unimplemented!()
}
