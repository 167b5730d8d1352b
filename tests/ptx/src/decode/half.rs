//! f16 and bf16 arithmetic, single and in pairs (PTX ISA 9.7.4).

use super::builder::Builder;
use super::opcode::Opcode;
use crate::instruction::{Half1, Half2, Op};
use crate::module::ParseError;
use crate::numeric::{HalfMode, HalfType, NanRule};
use crate::syntax::{Instruction, Scalar};

use Scalar::{B16, B32, Bf16, Bf16x2, F16, F16x2};

/// Whether arithmetic on `scalar` is decoded here.
pub(super) fn covers(scalar: Scalar) -> bool {
    matches!(scalar, F16 | F16x2 | Bf16 | Bf16x2)
}

/// Element type, and whether it is a pair.
pub(super) fn element(scalar: Scalar) -> (HalfType, bool) {
    match scalar {
        F16 => (HalfType::F16, false),
        F16x2 => (HalfType::F16, true),
        Bf16 => (HalfType::Bf16, false),
        _ => (HalfType::Bf16, true),
    }
}

/// The untyped register type of the same size.
pub(super) fn register_type(pair: bool) -> Scalar {
    if pair { B32 } else { B16 }
}

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let scalar = opcode.element().ok_or_else(|| opcode.refuse())?;
    let (kind, pair) = element(scalar);
    let f16 = kind == HalfType::F16;
    let name = opcode.name();
    let op = match name {
        "add" | "sub" | "mul" => {
            opcode.accept("rn");
            let flush = f16 && opcode.accept("ftz");
            let saturate = f16 && opcode.accept("sat");
            let mode = HalfMode { flush, saturate, relu: false };
            let op = match name {
                "add" => Half2::Add(mode),
                "sub" => Half2::Subtract(mode),
                _ => Half2::Multiply(mode),
            };
            Op::Half2(op, kind, pair)
        }
        "fma" => {
            opcode.expect("rn")?;
            let flush = f16 && opcode.accept("ftz");
            let saturate = f16 && opcode.accept("sat");
            let relu = !saturate && opcode.accept("relu");
            Op::HalfFma(HalfMode { flush, saturate, relu }, kind, pair)
        }
        "min" | "max" => {
            let flush = f16 && opcode.accept("ftz");
            let nan = if opcode.accept("NaN") { NanRule::Nan } else { NanRule::Number };
            let op = if name == "min" { Half2::Minimum { flush, nan } } else { Half2::Maximum { flush, nan } };
            Op::Half2(op, kind, pair)
        }
        "neg" => Op::Half1(Half1::Negate { flush: f16 && opcode.accept("ftz") }, kind, pair),
        "abs" => Op::Half1(Half1::Absolute { flush: f16 && opcode.accept("ftz") }, kind, pair),
        "ex2" => {
            opcode.expect("approx")?;
            // bf16 has the flushing form only, f16 the other only (PTX ISA 9.7.4.10).
            if !f16 {
                opcode.expect("ftz")?;
            }
            Op::Half1(Half1::Exp2, kind, pair)
        }
        "tanh" => {
            opcode.expect("approx")?;
            Op::Half1(Half1::Tanh, kind, pair)
        }
        _ => return Err(opcode.refuse()),
    };
    opcode.scalar(&[scalar])?;
    opcode.finish()?;
    let sources = match op {
        Op::Half1(..) => 1,
        Op::Half2(..) => 2,
        _ => 3,
    };
    if i.operands.len() != sources + 1 {
        return Err(opcode.error(format!("expected {} operands, found {}", sources + 1, i.operands.len())));
    }
    let register = register_type(pair);
    let d = b.destination(&i.operands[0], register, i.line)?;
    let sources =
        i.operands[1..].iter().map(|operand| b.source(operand, register, i.line)).collect::<Result<_, _>>()?;
    b.emit(op, vec![d], sources);
    Ok(())
}
