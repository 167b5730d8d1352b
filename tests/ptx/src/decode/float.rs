//! f32 and f64 arithmetic (PTX ISA 9.7.3).

use super::builder::Builder;
use super::opcode::Opcode;
use crate::instruction::{Double1, Double2, Op, Single1, Single2};
use crate::module::ParseError;
use crate::numeric::{FloatMode, NanRule, Rounding};
use crate::syntax::{Instruction, Scalar};

use Scalar::{F32, F64};

/// Whether arithmetic on `scalar` is decoded here.
pub(super) fn covers(scalar: Scalar) -> bool {
    matches!(scalar, F32 | F64)
}

const ROUNDINGS: [(&str, Rounding); 4] =
    [("rn", Rounding::NearestEven), ("rz", Rounding::Zero), ("rm", Rounding::Down), ("rp", Rounding::Up)];

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let double = opcode.element() == Some(F64);
    let name = opcode.name();
    match (name, double) {
        ("add" | "sub" | "mul", false) => {
            let mode = mode(&mut opcode, false, true)?;
            let op = match name {
                "add" => Single2::Add(mode),
                "sub" => Single2::Subtract(mode),
                _ => Single2::Multiply(mode),
            };
            emit(b, i, opcode, Op::Single2(op), F32, 2)
        }
        ("add" | "sub" | "mul", true) => {
            opcode.accept("rn");
            let op = match name {
                "add" => Double2::Add,
                "sub" => Double2::Subtract,
                _ => Double2::Multiply,
            };
            emit(b, i, opcode, Op::Double2(op), F64, 2)
        }
        // `mad` of sm_20 and later is `fma` (PTX ISA 9.7.3.7).
        ("fma" | "mad", false) => {
            let mode = mode(&mut opcode, true, true)?;
            emit(b, i, opcode, Op::SingleFma(mode), F32, 3)
        }
        ("fma" | "mad", true) => {
            opcode.expect("rn")?;
            emit(b, i, opcode, Op::DoubleFma, F64, 3)
        }
        ("div", _) => divide(b, i, opcode, double),
        ("rcp" | "sqrt" | "rsqrt", _) => root(b, i, opcode, name, double),
        ("min" | "max", false) => {
            let flush = opcode.accept("ftz");
            let nan = if opcode.accept("NaN") { NanRule::Nan } else { NanRule::Number };
            let op = if name == "min" { Single2::Minimum { flush, nan } } else { Single2::Maximum { flush, nan } };
            emit(b, i, opcode, Op::Single2(op), F32, 2)
        }
        ("min", true) => emit(b, i, opcode, Op::Double2(Double2::Minimum), F64, 2),
        ("max", true) => emit(b, i, opcode, Op::Double2(Double2::Maximum), F64, 2),
        ("neg" | "abs", false) => {
            let flush = opcode.accept("ftz");
            let op = if name == "neg" { Single1::Negate { flush } } else { Single1::Absolute { flush } };
            emit(b, i, opcode, Op::Single1(op), F32, 1)
        }
        ("neg", true) => emit(b, i, opcode, Op::Double1(Double1::Negate), F64, 1),
        ("abs", true) => emit(b, i, opcode, Op::Double1(Double1::Absolute), F64, 1),
        ("copysign", false) => emit(b, i, opcode, Op::Single2(Single2::CopySign), F32, 2),
        ("copysign", true) => emit(b, i, opcode, Op::Double2(Double2::CopySign), F64, 2),
        ("sin" | "cos" | "lg2" | "ex2" | "tanh", false) => {
            opcode.expect("approx")?;
            let flush = name != "tanh" && opcode.accept("ftz");
            let op = match name {
                "sin" => Single1::Sine { flush },
                "cos" => Single1::Cosine { flush },
                "lg2" => Single1::Log2 { flush },
                "ex2" => Single1::Exp2 { flush },
                _ => Single1::Tanh,
            };
            emit(b, i, opcode, Op::Single1(op), F32, 1)
        }
        _ => Err(opcode.refuse()),
    }
}

/// `{.rnd}{.ftz}{.sat}`
fn mode(opcode: &mut Opcode<'_>, needs_rounding: bool, may_saturate: bool) -> Result<FloatMode, ParseError> {
    let rounding = if needs_rounding { Some(opcode.one_of(&ROUNDINGS)?) } else { opcode.choice(&ROUNDINGS) };
    let flush = opcode.accept("ftz");
    let saturate = may_saturate && opcode.accept("sat");
    Ok(FloatMode { rounding: rounding.unwrap_or_default(), flush, saturate })
}

/// `d` and `sources` operands, all of type `scalar`.
fn emit(
    b: &mut Builder<'_>,
    i: &Instruction,
    mut opcode: Opcode<'_>,
    op: Op,
    scalar: Scalar,
    sources: usize,
) -> Result<(), ParseError> {
    opcode.scalar(&[scalar])?;
    opcode.finish()?;
    if i.operands.len() != sources + 1 {
        return Err(opcode.error(format!("expected {} operands, found {}", sources + 1, i.operands.len())));
    }
    let d = b.destination(&i.operands[0], scalar, i.line)?;
    let sources = i.operands[1..].iter().map(|operand| b.source(operand, scalar, i.line)).collect::<Result<_, _>>()?;
    b.emit(op, vec![d], sources);
    Ok(())
}

fn divide(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>, double: bool) -> Result<(), ParseError> {
    if double {
        opcode.expect("rn")?;
        return emit(b, i, opcode, Op::Double2(Double2::Divide), F64, 2);
    }
    let op = if opcode.accept("approx") {
        Single2::DivideApproximate { flush: opcode.accept("ftz") }
    } else if opcode.accept("full") {
        // Within 2 ulp over the full range (PTX ISA 9.7.3.8); computed exactly here.
        Single2::Divide(FloatMode { flush: opcode.accept("ftz"), ..FloatMode::default() })
    } else {
        Single2::Divide(mode(&mut opcode, true, false)?)
    };
    emit(b, i, opcode, Op::Single2(op), F32, 2)
}

fn root(
    b: &mut Builder<'_>,
    i: &Instruction,
    mut opcode: Opcode<'_>,
    name: &str,
    double: bool,
) -> Result<(), ParseError> {
    let approximate = opcode.accept("approx");
    if double {
        let op = match (name, approximate) {
            ("rcp", false) => Double1::Reciprocal,
            ("sqrt", false) => Double1::Root,
            ("rcp", true) => Double1::ReciprocalApproximate,
            ("rsqrt", true) if opcode.is_next("ftz") => Double1::InverseRootUpper,
            ("rsqrt", true) => Double1::InverseRoot,
            _ => return Err(opcode.refuse()),
        };
        if matches!(op, Double1::ReciprocalApproximate | Double1::InverseRootUpper) {
            opcode.expect("ftz")?;
        } else if !approximate {
            opcode.expect("rn")?;
        }
        return emit(b, i, opcode, Op::Double1(op), F64, 1);
    }
    let op = if approximate {
        let flush = opcode.accept("ftz");
        match name {
            "rcp" => Single1::ReciprocalApproximate { flush },
            "sqrt" => Single1::RootApproximate { flush },
            _ => Single1::InverseRoot { flush },
        }
    } else {
        match name {
            "rcp" => Single1::Reciprocal(mode(&mut opcode, true, false)?),
            "sqrt" => Single1::Root(mode(&mut opcode, true, false)?),
            _ => return Err(opcode.refuse()),
        }
    };
    emit(b, i, opcode, Op::Single1(op), F32, 1)
}
