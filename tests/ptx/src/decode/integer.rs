//! Integer, logic and shift instructions (PTX ISA 9.7.1, 9.7.2, 9.7.8).

use super::builder::Builder;
use super::opcode::Opcode;
use super::operand::constant;
use crate::instruction::{Carry, CarryOp, Combine, Integer1, Integer2, Integer3, IntegerType, Op};
use crate::module::ParseError;
use crate::numeric::PermuteMode;
use crate::syntax::{Instruction, Scalar, Sort};

use Scalar::{B16, B32, B64, Pred, S16, S32, S64, U16, U32, U64};

const ARITHMETIC: [Scalar; 6] = [U16, U32, U64, S16, S32, S64];
const PAIRS: [(&str, bool); 2] = [("u16x2", false), ("s16x2", true)];
const CLAMP_OR_WRAP: [(&str, bool); 2] = [("clamp", false), ("wrap", true)];
const BYTES: [(&str, bool); 2] = [("u32", false), ("s32", true)];

fn kind(scalar: Scalar) -> IntegerType {
    IntegerType { bits: scalar.bits(), signed: scalar.sort() == Sort::Signed }
}

/// The type of twice the size.
fn doubled(scalar: Scalar) -> Scalar {
    match scalar {
        U16 => U32,
        S16 => S32,
        U32 => U64,
        _ => S64,
    }
}

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    match opcode.name() {
        "addc" => carry(b, i, opcode, CarryOp::Add, true),
        "subc" => carry(b, i, opcode, CarryOp::Subtract, true),
        "madc" => {
            let op = opcode.one_of(&[("lo", CarryOp::MultiplyAddLow), ("hi", CarryOp::MultiplyAddHigh)])?;
            carry(b, i, opcode, op, true)
        }
        name @ ("add" | "sub") => add_or_subtract(b, i, opcode, name == "add"),
        "mul" => multiply(b, i, opcode),
        "mad" => multiply_add(b, i, opcode),
        "div" => two(b, i, opcode, Integer2::Divide, &ARITHMETIC),
        "rem" => two(b, i, opcode, Integer2::Remainder, &ARITHMETIC),
        name @ ("min" | "max") => {
            if let Some(signed) = opcode.choice(&PAIRS) {
                let op = if name == "min" { Integer2::MinimumPair } else { Integer2::MaximumPair };
                return pair(b, i, opcode, op, signed);
            }
            let op = if name == "min" { Integer2::Minimum } else { Integer2::Maximum };
            two(b, i, opcode, op, &ARITHMETIC)
        }
        "neg" => one(b, i, opcode, Integer1::Negate, &[S16, S32, S64], None),
        "abs" => one(b, i, opcode, Integer1::Absolute, &[S16, S32, S64], None),
        "and" => logic(b, i, opcode, Integer2::And, Combine::And),
        "or" => logic(b, i, opcode, Integer2::Or, Combine::Or),
        "xor" => logic(b, i, opcode, Integer2::Xor, Combine::Xor),
        "not" => not(b, i, opcode),
        "shl" => shift(b, i, opcode, Integer2::ShiftLeft, &[B16, B32, B64]),
        "shr" => shift(b, i, opcode, Integer2::ShiftRight, &[B16, B32, B64, U16, U32, U64, S16, S32, S64]),
        "clz" => one(b, i, opcode, Integer1::LeadingZeros, &[B32, B64], Some(U32)),
        "popc" => one(b, i, opcode, Integer1::CountOnes, &[B32, B64], Some(U32)),
        "brev" => one(b, i, opcode, Integer1::ReverseBits, &[B32, B64], None),
        "bfind" => {
            let shift_amount = opcode.accept("shiftamt");
            one(b, i, opcode, Integer1::FindTop { shift_amount }, &[U32, S32, U64, S64], Some(U32))
        }
        "bfe" => extract(b, i, opcode),
        "bfi" => insert(b, i, opcode),
        "bmsk" => {
            let wrap = opcode.one_of(&CLAMP_OR_WRAP)?;
            bit_mask(b, i, opcode, wrap)
        }
        "szext" => sign_extend(b, i, opcode),
        "sad" => {
            let scalar = opcode.scalar(&ARITHMETIC)?;
            three(b, i, opcode, Integer3::AbsoluteDifference, scalar, [scalar; 3], scalar)
        }
        "shf" => {
            let left = opcode.one_of(&[("l", true), ("r", false)])?;
            let wrap = opcode.one_of(&CLAMP_OR_WRAP)?;
            let scalar = opcode.scalar(&[B32])?;
            let op = if left { Integer3::FunnelLeft { wrap } } else { Integer3::FunnelRight { wrap } };
            three(b, i, opcode, op, U32, [scalar, scalar, U32], scalar)
        }
        "prmt" => {
            opcode.expect("b32")?;
            let mode = opcode.choice(&PERMUTE_MODES).unwrap_or_default();
            three(b, i, opcode, Integer3::Permute(mode), U32, [B32; 3], B32)
        }
        "lop3" => lop3(b, i, opcode),
        "dp4a" => {
            let (a_signed, b_signed) = (opcode.one_of(&BYTES)?, opcode.one_of(&BYTES)?);
            three(b, i, opcode, Integer3::Dot4 { a_signed, b_signed }, U32, [B32; 3], B32)
        }
        "dp2a" => {
            let high = opcode.one_of(&[("lo", false), ("hi", true)])?;
            let (a_signed, b_signed) = (opcode.one_of(&BYTES)?, opcode.one_of(&BYTES)?);
            three(b, i, opcode, Integer3::Dot2 { a_signed, b_signed, high }, U32, [B32; 3], B32)
        }
        _ => Err(opcode.refuse()),
    }
}

const PERMUTE_MODES: [(&str, PermuteMode); 6] = [
    ("f4e", PermuteMode::Forward4),
    ("b4e", PermuteMode::Backward4),
    ("rc8", PermuteMode::Replicate8),
    ("ecl", PermuteMode::EdgeLeft),
    ("ecr", PermuteMode::EdgeRight),
    ("rc16", PermuteMode::Replicate16),
];

fn one(
    b: &mut Builder<'_>,
    i: &Instruction,
    mut opcode: Opcode<'_>,
    op: Integer1,
    allowed: &[Scalar],
    result: Option<Scalar>,
) -> Result<(), ParseError> {
    let scalar = opcode.scalar(allowed)?;
    opcode.finish()?;
    let [d, a] = b.operands(i)?;
    let d = b.destination(d, result.unwrap_or(scalar), i.line)?;
    let a = b.source(a, scalar, i.line)?;
    b.emit(Op::Integer1(op, kind(scalar)), vec![d], vec![a]);
    Ok(())
}

fn two(
    b: &mut Builder<'_>,
    i: &Instruction,
    mut opcode: Opcode<'_>,
    op: Integer2,
    allowed: &[Scalar],
) -> Result<(), ParseError> {
    let scalar = opcode.scalar(allowed)?;
    opcode.finish()?;
    emit_two(b, i, op, kind(scalar), [scalar; 3])
}

/// Emits `op` on operands of these types: destination, then sources.
fn emit_two(
    b: &mut Builder<'_>,
    i: &Instruction,
    op: Integer2,
    kind: IntegerType,
    types: [Scalar; 3],
) -> Result<(), ParseError> {
    let [d, x, y] = b.operands(i)?;
    let d = b.destination(d, types[0], i.line)?;
    let sources = vec![b.source(x, types[1], i.line)?, b.source(y, types[2], i.line)?];
    b.emit(Op::Integer2(op, kind), vec![d], sources);
    Ok(())
}

fn three(
    b: &mut Builder<'_>,
    i: &Instruction,
    opcode: Opcode<'_>,
    op: Integer3,
    scalar: Scalar,
    sources: [Scalar; 3],
    result: Scalar,
) -> Result<(), ParseError> {
    opcode.finish()?;
    let [d, x, y, z] = b.operands(i)?;
    let d = b.destination(d, result, i.line)?;
    let sources =
        vec![b.source(x, sources[0], i.line)?, b.source(y, sources[1], i.line)?, b.source(z, sources[2], i.line)?];
    b.emit(Op::Integer3(op, kind(scalar)), vec![d], sources);
    Ok(())
}

fn pair(
    b: &mut Builder<'_>,
    i: &Instruction,
    opcode: Opcode<'_>,
    op: Integer2,
    signed: bool,
) -> Result<(), ParseError> {
    opcode.finish()?;
    emit_two(b, i, op, IntegerType { bits: 16, signed }, [B32; 3])
}

fn add_or_subtract(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>, add: bool) -> Result<(), ParseError> {
    if opcode.accept("sat") {
        let op = if add { Integer2::AddSaturating } else { Integer2::SubtractSaturating };
        return two(b, i, opcode, op, &[S32]);
    }
    if opcode.is_next("cc") {
        return carry(b, i, opcode, if add { CarryOp::Add } else { CarryOp::Subtract }, false);
    }
    if add && let Some(signed) = opcode.choice(&PAIRS) {
        return pair(b, i, opcode, Integer2::AddPair, signed);
    }
    two(b, i, opcode, if add { Integer2::Add } else { Integer2::Subtract }, &ARITHMETIC)
}

fn multiply(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let op = opcode.one_of(&[
        ("lo", Integer2::MultiplyLow),
        ("hi", Integer2::MultiplyHigh),
        ("wide", Integer2::MultiplyWide),
    ])?;
    if op != Integer2::MultiplyWide {
        return two(b, i, opcode, op, &ARITHMETIC);
    }
    let scalar = opcode.scalar(&[U16, S16, U32, S32])?;
    opcode.finish()?;
    emit_two(b, i, op, kind(scalar), [doubled(scalar), scalar, scalar])
}

fn multiply_add(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let op = opcode.one_of(&[
        ("lo", Integer3::MultiplyAddLow),
        ("hi", Integer3::MultiplyAddHigh),
        ("wide", Integer3::MultiplyAddWide),
    ])?;
    if op == Integer3::MultiplyAddWide {
        let scalar = opcode.scalar(&[U16, S16, U32, S32])?;
        let wide = doubled(scalar);
        return three(b, i, opcode, op, scalar, [scalar, scalar, wide], wide);
    }
    if opcode.is_next("cc") {
        let low = op == Integer3::MultiplyAddLow;
        return carry(b, i, opcode, if low { CarryOp::MultiplyAddLow } else { CarryOp::MultiplyAddHigh }, false);
    }
    let scalar = opcode.scalar(&ARITHMETIC)?;
    three(b, i, opcode, op, scalar, [scalar; 3], scalar)
}

/// `{.cc}.type`: a step of a carry chain.
fn carry(
    b: &mut Builder<'_>,
    i: &Instruction,
    mut opcode: Opcode<'_>,
    op: CarryOp,
    comes_in: bool,
) -> Result<(), ParseError> {
    let goes_out = opcode.accept("cc");
    let scalar = opcode.scalar(&[U32, S32, U64, S64])?;
    opcode.finish()?;
    let count = if matches!(op, CarryOp::Add | CarryOp::Subtract) { 3 } else { 4 };
    if i.operands.len() != count {
        return Err(opcode.error(format!("expected {count} operands, found {}", i.operands.len())));
    }
    let mut destinations = vec![b.destination(&i.operands[0], scalar, i.line)?];
    let mut sources = Vec::new();
    for operand in &i.operands[1..] {
        sources.push(b.source(operand, scalar, i.line)?);
    }
    let flag = b.carry();
    sources.extend(comes_in.then_some(flag));
    destinations.extend(goes_out.then_some(flag));
    b.emit(Op::Carry(Carry { op, kind: kind(scalar), comes_in, goes_out }), destinations, sources);
    Ok(())
}

fn logic(
    b: &mut Builder<'_>,
    i: &Instruction,
    mut opcode: Opcode<'_>,
    op: Integer2,
    combine: Combine,
) -> Result<(), ParseError> {
    let scalar = opcode.scalar(&[Pred, B16, B32, B64])?;
    opcode.finish()?;
    if scalar != Pred {
        return emit_two(b, i, op, kind(scalar), [scalar; 3]);
    }
    let [d, x, y] = b.operands(i)?;
    let d = b.destination(d, Pred, i.line)?;
    let sources = vec![b.source_predicate(x, i.line)?, b.source_predicate(y, i.line)?];
    b.emit(Op::CombinePredicates(combine), vec![d], sources);
    Ok(())
}

fn not(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    if opcode.accept("pred") {
        opcode.finish()?;
        let [d, a] = b.operands(i)?;
        let d = b.destination(d, Pred, i.line)?;
        let a = b.source_predicate(a, i.line)?.negated();
        b.emit(Op::CopyPredicate, vec![d], vec![a]);
        return Ok(());
    }
    one(b, i, opcode, Integer1::Not, &[B16, B32, B64], None)
}

fn shift(
    b: &mut Builder<'_>,
    i: &Instruction,
    mut opcode: Opcode<'_>,
    op: Integer2,
    allowed: &[Scalar],
) -> Result<(), ParseError> {
    let scalar = opcode.scalar(allowed)?;
    opcode.finish()?;
    emit_two(b, i, op, kind(scalar), [scalar, scalar, U32])
}

fn extract(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let scalar = opcode.scalar(&[U32, S32, U64, S64])?;
    three(b, i, opcode, Integer3::Extract, scalar, [scalar, U32, U32], scalar)
}

fn insert(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let scalar = opcode.scalar(&[B32, B64])?;
    opcode.finish()?;
    let [d, x, y, position, length] = b.operands(i)?;
    let d = b.destination(d, scalar, i.line)?;
    let sources = vec![
        b.source(x, scalar, i.line)?,
        b.source(y, scalar, i.line)?,
        b.source(position, U32, i.line)?,
        b.source(length, U32, i.line)?,
    ];
    b.emit(Op::BitInsert { bits: scalar.bits() }, vec![d], sources);
    Ok(())
}

fn bit_mask(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>, wrap: bool) -> Result<(), ParseError> {
    opcode.expect("b32")?;
    opcode.finish()?;
    let [d, x, y] = b.operands(i)?;
    let d = b.destination(d, B32, i.line)?;
    let sources = vec![b.source(x, U32, i.line)?, b.source(y, U32, i.line)?];
    b.emit(Op::BitMask { wrap }, vec![d], sources);
    Ok(())
}

fn sign_extend(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let wrap = opcode.one_of(&CLAMP_OR_WRAP)?;
    let scalar = opcode.scalar(&[U32, S32])?;
    opcode.finish()?;
    let [d, x, y] = b.operands(i)?;
    let d = b.destination(d, scalar, i.line)?;
    let sources = vec![b.source(x, scalar, i.line)?, b.source(y, U32, i.line)?];
    b.emit(Op::SignExtend { signed: scalar == S32, wrap }, vec![d], sources);
    Ok(())
}

fn lop3(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    opcode.expect("b32")?;
    opcode.finish()?;
    let [d, x, y, z, table] = b.operands(i)?;
    let table = u8::try_from(constant(table, i.line)?)
        .map_err(|_| ParseError::new(i.line, "the table of lop3 is a constant from 0 to 255"))?;
    let d = b.destination(d, B32, i.line)?;
    let sources = vec![b.source(x, B32, i.line)?, b.source(y, B32, i.line)?, b.source(z, B32, i.line)?];
    b.emit(Op::Integer3(Integer3::Logic(table), kind(U32)), vec![d], sources);
    Ok(())
}
