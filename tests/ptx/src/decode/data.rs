//! Moves, selections, address conversions, comparisons (PTX ISA 9.7.5, 9.7.6, 9.7.7, 9.7.9).

use super::builder::Builder;
use super::half;
use super::opcode::Opcode;
use super::scope::Entity;
use crate::instruction::{Combine, Comparand, Comparison, Input, IntegerType, NumberClass, Op, Slot, Truth};
use crate::module::ParseError;
use crate::numeric::HalfType;
use crate::syntax::{Instruction, Operand, Scalar, Sort, Space};

use Scalar::{B16, B32, B64, Bf16, Bf16x2, F16, F16x2, F32, F64, Pred, S16, S32, S64, U16, U32, U64};

const WORDS: [Scalar; 11] = [B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64];
const WINDOWS: [(&str, Space); 5] = [
    ("global", Space::Global),
    ("shared", Space::Shared),
    ("local", Space::Local),
    ("const", Space::Const),
    ("param", Space::Param),
];

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    match opcode.name() {
        "mov" => mov(b, i, opcode),
        "selp" => selp(b, i, opcode),
        "slct" => slct(b, i, opcode),
        "cvta" => cvta(b, i, opcode),
        "isspacep" => isspacep(b, i, opcode),
        "setp" => setp(b, i, opcode),
        "set" => set(b, i, opcode),
        _ => testp(b, i, opcode),
    }
}

fn mov(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let scalar =
        opcode.scalar(&[B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64, Pred, F16, Bf16, F16x2, Bf16x2])?;
    opcode.finish()?;
    let [d, a] = b.operands(i)?;
    if scalar == Pred {
        let d = b.destination(d, Pred, i.line)?;
        if let Operand::Integer(value) = a {
            b.emit(Op::SetPredicateTo { value: *value != 0 }, vec![d], Vec::new());
            return Ok(());
        }
        let a = b.source_predicate(a, i.line)?;
        b.emit(Op::CopyPredicate, vec![d], vec![a]);
        return Ok(());
    }
    match (d, a) {
        (_, Operand::Vector(parts)) => {
            let part = part_type(scalar, parts.len()).ok_or_else(|| bad_vector(i))?;
            let sources = parts.iter().map(|part_operand| b.source(part_operand, part, i.line));
            let sources = sources.collect::<Result<Vec<_>, _>>()?;
            let d = b.destination(d, scalar, i.line)?;
            b.emit(Op::Pack { bits: part.bits() }, vec![d], sources);
        }
        (Operand::Vector(parts), _) => {
            let part = part_type(scalar, parts.len()).ok_or_else(|| bad_vector(i))?;
            let a = b.source(a, scalar, i.line)?;
            let destinations = parts.iter().map(|part_operand| b.destination(part_operand, part, i.line));
            let destinations = destinations.collect::<Result<Vec<_>, _>>()?;
            b.emit(Op::Unpack { bits: part.bits() }, destinations, vec![a]);
        }
        (d, a) => {
            let d = b.destination(d, scalar, i.line)?;
            return mov_single(b, i, scalar, d, a);
        }
    }
    Ok(())
}

fn bad_vector(i: &Instruction) -> ParseError {
    ParseError::new(i.line, "the vector's elements do not fill the other operand")
}

fn part_type(whole: Scalar, parts: usize) -> Option<Scalar> {
    match (whole, parts) {
        (B32 | U32 | S32 | F32, 2) | (B64 | U64 | S64 | F64, 4) => Some(B16),
        (B64 | U64 | S64 | F64, 2) => Some(B32),
        _ => None,
    }
}

fn mov_single(b: &mut Builder<'_>, i: &Instruction, scalar: Scalar, d: Slot, a: &Operand) -> Result<(), ParseError> {
    let (name, offset) = match a {
        Operand::Name(name) => (name, 0),
        Operand::Sum(name, offset) => (name, *offset),
        _ => {
            let a = b.source(a, scalar, i.line)?;
            b.emit(Op::Copy, vec![d], vec![a]);
            return Ok(());
        }
    };
    let changing = match (name.as_str(), scalar.bits()) {
        ("%clock", 32) => Some(Op::Clock { bits: 32 }),
        ("%clock64", 64) => Some(Op::Clock { bits: 64 }),
        ("%globaltimer", 64) => Some(Op::GlobalTimer { bits: 64, high: false }),
        ("%globaltimer_lo", 32) => Some(Op::GlobalTimer { bits: 32, high: false }),
        ("%globaltimer_hi", 32) => Some(Op::GlobalTimer { bits: 32, high: true }),
        _ => None,
    };
    if let Some(op) = changing.filter(|_| offset == 0) {
        b.emit(op, vec![d], Vec::new());
        return Ok(());
    }
    let a = match b.find(name) {
        Some(Entity::Variable { symbol, space, .. }) => {
            let short = matches!(space, Space::Shared | Space::Local);
            if !(scalar.bits() == 64 || short && scalar.bits() == 32) || scalar.sort() == Sort::Float {
                return Err(ParseError::new(i.line, format!("the address of `{name}` is no {scalar}")));
            }
            b.input(Input::Symbol { symbol, offset })
        }
        _ if offset != 0 => return Err(ParseError::new(i.line, format!("`{name}` is no variable"))),
        _ => b.source(a, scalar, i.line)?,
    };
    b.emit(Op::Copy, vec![d], vec![a]);
    Ok(())
}

fn selp(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let scalar = opcode.scalar(&WORDS)?;
    opcode.finish()?;
    let [d, x, y, p] = b.operands(i)?;
    let d = b.destination(d, scalar, i.line)?;
    let sources = vec![b.source(x, scalar, i.line)?, b.source(y, scalar, i.line)?, b.source_predicate(p, i.line)?];
    b.emit(Op::Select, vec![d], sources);
    Ok(())
}

fn slct(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let scalar = opcode.scalar(&WORDS)?;
    let sign = opcode.scalar(&[S32, F32])?;
    opcode.finish()?;
    let [d, x, y, z] = b.operands(i)?;
    let d = b.destination(d, scalar, i.line)?;
    let sources = vec![b.source(x, scalar, i.line)?, b.source(y, scalar, i.line)?, b.source(z, sign, i.line)?];
    b.emit(Op::SelectBySign { float: sign == F32 }, vec![d], sources);
    Ok(())
}

fn cvta(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let from_generic = opcode.accept("to");
    let space = opcode.one_of(&WINDOWS)?;
    opcode.scalar(&[U64])?;
    opcode.finish()?;
    let [d, a] = b.operands(i)?;
    let d = b.destination(d, U64, i.line)?;
    let a = match a {
        Operand::Name(name) => match b.find(name) {
            Some(Entity::Variable { symbol, space: found, .. }) if found == space && !from_generic => {
                b.input(Input::Symbol { symbol, offset: 0 })
            }
            _ => b.source(a, U64, i.line)?,
        },
        _ => b.source(a, U64, i.line)?,
    };
    b.emit(if from_generic { Op::FromGeneric(space) } else { Op::ToGeneric(space) }, vec![d], vec![a]);
    Ok(())
}

fn isspacep(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let space = opcode.one_of(&WINDOWS)?;
    opcode.finish()?;
    let [d, a] = b.operands(i)?;
    let d = b.destination(d, Pred, i.line)?;
    let a = b.source(a, U64, i.line)?;
    b.emit(Op::IsSpace(space), vec![d], vec![a]);
    Ok(())
}

const ORDERED: [(&str, Comparison); 6] = [
    ("eq", Comparison::Equal),
    ("ne", Comparison::NotEqual),
    ("lt", Comparison::Less),
    ("le", Comparison::LessEqual),
    ("gt", Comparison::Greater),
    ("ge", Comparison::GreaterEqual),
];
/// The unsigned comparisons of older PTX.
const UNSIGNED: [(&str, Comparison); 4] = [
    ("lo", Comparison::Less),
    ("ls", Comparison::LessEqual),
    ("hi", Comparison::Greater),
    ("hs", Comparison::GreaterEqual),
];
const UNORDERED: [(&str, Comparison); 8] = [
    ("equ", Comparison::EqualOrNan),
    ("neu", Comparison::NotEqualOrNan),
    ("ltu", Comparison::LessOrNan),
    ("leu", Comparison::LessEqualOrNan),
    ("gtu", Comparison::GreaterOrNan),
    ("geu", Comparison::GreaterEqualOrNan),
    ("num", Comparison::BothNumbers),
    ("nan", Comparison::AnyNan),
];
const COMBINES: [(&str, Combine); 3] = [("and", Combine::And), ("or", Combine::Or), ("xor", Combine::Xor)];

/// `.cmp{.boolop}{.ftz}` and, after the types that `set` has before it, the type compared.
struct Compare {
    comparison: Comparison,
    combine: Option<Combine>,
    flush: bool,
    unsigned_only: bool,
}

fn compare_head(opcode: &mut Opcode<'_>) -> Result<Compare, ParseError> {
    let mut unsigned_only = false;
    let comparison = match opcode.choice(&ORDERED).or_else(|| opcode.choice(&UNORDERED)) {
        Some(comparison) => comparison,
        None => {
            unsigned_only = true;
            opcode.one_of(&UNSIGNED)?
        }
    };
    let combine = opcode.choice(&COMBINES);
    let flush = opcode.accept("ftz");
    Ok(Compare { comparison, combine, flush, unsigned_only })
}

fn comparand(opcode: &mut Opcode<'_>, head: &Compare) -> Result<(Comparand, Scalar), ParseError> {
    let before = opcode.refuse();
    let scalar = opcode.scalar(&[B16, B32, B64, U16, U32, U64, S16, S32, S64, F16, Bf16, F16x2, Bf16x2, F32, F64])?;
    let equality = matches!(head.comparison, Comparison::Equal | Comparison::NotEqual);
    let unordered = UNORDERED.iter().any(|row| row.1 == head.comparison);
    let fits = match scalar.sort() {
        Sort::Bits => equality,
        Sort::Unsigned => !unordered,
        Sort::Signed => !unordered && !head.unsigned_only,
        _ => !head.unsigned_only,
    };
    let flushes = matches!(scalar, F32);
    if !fits || head.flush && !flushes {
        return Err(before);
    }
    let (kind, register) = match scalar {
        F32 => (Comparand::Single { flush: head.flush }, F32),
        F64 => (Comparand::Double, F64),
        F16 => (Comparand::Half(HalfType::F16), B16),
        Bf16 => (Comparand::Half(HalfType::Bf16), B16),
        F16x2 => (Comparand::HalfPair(HalfType::F16), B32),
        Bf16x2 => (Comparand::HalfPair(HalfType::Bf16), B32),
        _ => {
            let kind = IntegerType { bits: scalar.bits(), signed: scalar.sort() == Sort::Signed };
            (Comparand::Integer(kind), scalar)
        }
    };
    Ok((kind, register))
}

fn compared(b: &mut Builder<'_>, i: &Instruction, head: &Compare, register: Scalar) -> Result<Vec<Slot>, ParseError> {
    let expected = 3 + usize::from(head.combine.is_some());
    if i.operands.len() != expected {
        return Err(ParseError::new(i.line, format!("expected {expected} operands, found {}", i.operands.len())));
    }
    let mut sources = vec![b.source(&i.operands[1], register, i.line)?, b.source(&i.operands[2], register, i.line)?];
    if head.combine.is_some() {
        sources.push(b.source_predicate(&i.operands[3], i.line)?);
    }
    Ok(sources)
}

fn setp(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let head = compare_head(&mut opcode)?;
    let (comparand, register) = comparand(&mut opcode, &head)?;
    opcode.finish()?;
    let sources = compared(b, i, &head, register)?;
    let pair = matches!(comparand, Comparand::HalfPair(_));
    let destinations = match &i.operands[0] {
        Operand::Pair(p, q) => vec![b.destination(p, Pred, i.line)?, b.destination(q, Pred, i.line)?],
        _ if pair => return Err(ParseError::new(i.line, "a comparison of pairs has two results `p|q`")),
        p => vec![b.destination(p, Pred, i.line)?],
    };
    let op = Op::SetPredicate { comparison: head.comparison, comparand, combine: head.combine };
    b.emit(op, destinations, sources);
    Ok(())
}

fn set(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let head = compare_head(&mut opcode)?;
    let result = opcode.scalar(&[U16, S16, U32, S32, F16, Bf16, F16x2, Bf16x2, F32])?;
    let (comparand, register) = comparand(&mut opcode, &head)?;
    opcode.finish()?;
    let pair = matches!(comparand, Comparand::HalfPair(_));
    let half = matches!(comparand, Comparand::Half(_));
    let truth = match result {
        U16 | S16 if half => Truth::Ones { bits: 16 },
        U32 | S32 if pair => Truth::OnesPair,
        U32 | S32 => Truth::Ones { bits: 32 },
        F32 if !pair && !half => Truth::One { bits: 0x3f80_0000 },
        F16 if half => Truth::One { bits: 0x3c00 },
        Bf16 if half => Truth::One { bits: 0x3f80 },
        F16x2 | Bf16x2 if pair => Truth::HalfPair(half::element(result).0),
        _ => return Err(opcode.error("this pair of types is not implemented for `set`")),
    };
    let sources = compared(b, i, &head, register)?;
    let written = match result {
        F16 | Bf16 | U16 | S16 => B16,
        F16x2 | Bf16x2 => B32,
        other => other,
    };
    let d = b.destination(&i.operands[0], written, i.line)?;
    let op = Op::Set { comparison: head.comparison, comparand, combine: head.combine, truth };
    b.emit(op, vec![d], sources);
    Ok(())
}

fn testp(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let class = opcode.one_of(&[
        ("finite", NumberClass::Finite),
        ("infinite", NumberClass::Infinite),
        ("number", NumberClass::Number),
        ("notanumber", NumberClass::NotNumber),
        ("normal", NumberClass::Normal),
        ("subnormal", NumberClass::Subnormal),
    ])?;
    let scalar = opcode.scalar(&[F32, F64])?;
    opcode.finish()?;
    let [d, a] = b.operands(i)?;
    let d = b.destination(d, Pred, i.line)?;
    let a = b.source(a, scalar, i.line)?;
    b.emit(if scalar == F32 { Op::TestSingle(class) } else { Op::TestDouble(class) }, vec![d], vec![a]);
    Ok(())
}
