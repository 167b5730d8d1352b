//! `cvt` (PTX ISA 9.7.9.21).

use super::builder::Builder;
use super::opcode::Opcode;
use super::operand::Fit;
use crate::instruction::Op;
use crate::module::ParseError;
use crate::numeric::{Convert, ConvertRounding, Number, Rounding};
use crate::syntax::{Instruction, Scalar};

const ROUNDINGS: [(&str, ConvertRounding); 9] = [
    ("rn", ConvertRounding::Float(Rounding::NearestEven)),
    ("rna", ConvertRounding::Float(Rounding::NearestAway)),
    ("rz", ConvertRounding::Float(Rounding::Zero)),
    ("rm", ConvertRounding::Float(Rounding::Down)),
    ("rp", ConvertRounding::Float(Rounding::Up)),
    ("rni", ConvertRounding::Integer(Rounding::NearestEven)),
    ("rzi", ConvertRounding::Integer(Rounding::Zero)),
    ("rmi", ConvertRounding::Integer(Rounding::Down)),
    ("rpi", ConvertRounding::Integer(Rounding::Up)),
];

const NUMBERS: [(Scalar, Number); 13] = [
    (Scalar::U8, Number::U8),
    (Scalar::S8, Number::S8),
    (Scalar::U16, Number::U16),
    (Scalar::S16, Number::S16),
    (Scalar::U32, Number::U32),
    (Scalar::S32, Number::S32),
    (Scalar::U64, Number::U64),
    (Scalar::S64, Number::S64),
    (Scalar::F16, Number::F16),
    (Scalar::Bf16, Number::Bf16),
    (Scalar::Tf32, Number::Tf32),
    (Scalar::F32, Number::F32),
    (Scalar::F64, Number::F64),
];

const TYPES: [Scalar; 13] = [
    Scalar::U8,
    Scalar::S8,
    Scalar::U16,
    Scalar::S16,
    Scalar::U32,
    Scalar::S32,
    Scalar::U64,
    Scalar::S64,
    Scalar::F16,
    Scalar::Bf16,
    Scalar::Tf32,
    Scalar::F32,
    Scalar::F64,
];

fn number(scalar: Scalar) -> Number {
    NUMBERS.iter().find(|row| row.0 == scalar).expect("the types of cvt are in the table").1
}

/// What a register that holds `scalar` is called: halves and tf32 live in untyped registers.
fn register(scalar: Scalar) -> Scalar {
    match scalar {
        Scalar::F16 | Scalar::Bf16 => Scalar::B16,
        Scalar::Tf32 => Scalar::B32,
        other => other,
    }
}

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    opcode.name();
    let mut convert = Convert::new(Number::F32, Number::F32, opcode.choice(&ROUNDINGS).unwrap_or_default());
    // Only in this order: `.ftz` and `.sat` for scalars, `.satfinite` and `.relu` for narrow floats.
    convert.saturate_finite = opcode.accept("satfinite");
    convert.relu = opcode.accept("relu");
    convert.saturate_finite |= !convert.saturate_finite && opcode.accept("satfinite");
    convert.flush = opcode.accept("ftz");
    convert.saturate = opcode.accept("sat");
    if let Some(to) = opcode.choice(&[("f16x2", Number::F16), ("bf16x2", Number::Bf16)]) {
        return pair(b, i, opcode, Convert { to, ..convert });
    }
    let before = opcode.refuse();
    let to = opcode.scalar(&TYPES)?;
    let from = opcode.scalar(&TYPES)?;
    opcode.finish()?;
    (convert.to, convert.from) = (number(to), number(from));
    if !convert.exists() {
        return Err(before);
    }
    let [d, a] = b.operands(i)?;
    let d_register = b.destination_fitting(d, register(to), Fit::Wider, i.line)?;
    let keep = b.bits_of(d, to);
    let a = b.source_fitting(a, register(from), Fit::Wider, i.line)?;
    b.emit(Op::Convert { convert, keep }, vec![d_register], vec![a]);
    Ok(())
}

/// `cvt.rn{.relu}.{f16x2,bf16x2}.f32 d, a, b`
fn pair(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>, convert: Convert) -> Result<(), ParseError> {
    let before = opcode.refuse();
    opcode.scalar(&[Scalar::F32])?;
    opcode.finish()?;
    if !convert.exists() || convert.flush || convert.saturate {
        return Err(before);
    }
    let [d, x, y] = b.operands(i)?;
    let d = b.destination(d, Scalar::B32, i.line)?;
    let sources = vec![b.source(x, Scalar::F32, i.line)?, b.source(y, Scalar::F32, i.line)?];
    b.emit(Op::ConvertPair(convert), vec![d], sources);
    Ok(())
}
