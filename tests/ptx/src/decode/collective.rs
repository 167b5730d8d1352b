//! Warp-wide exchange (PTX ISA 9.7.9.6, 9.7.13.9 to 9.7.13.13).

use super::builder::Builder;
use super::opcode::Opcode;
use crate::instruction::{Op, ReduceOp, ShuffleMode, Slot, VoteMode};
use crate::module::ParseError;
use crate::syntax::{Instruction, Operand, Scalar};

use Scalar::{B32, B64, Pred, S32, U32};

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    match opcode.name() {
        "shfl" => shuffle(b, i, opcode),
        "vote" => vote(b, i, opcode),
        "match" => matching(b, i, opcode),
        "redux" => reduce(b, i, opcode),
        "elect" => elect(b, i, opcode),
        _ => {
            opcode.expect("b32")?;
            opcode.finish()?;
            let [d] = b.operands(i)?;
            let d = b.destination(d, B32, i.line)?;
            b.emit(Op::ActiveMask, vec![d], vec![]);
            Ok(())
        }
    }
}

/// `d` or `d|p`
fn with_predicate(b: &mut Builder<'_>, operand: &Operand, line: u32) -> Result<Vec<Slot>, ParseError> {
    match operand {
        Operand::Pair(d, p) => Ok(vec![b.destination(d, B32, line)?, b.destination(p, Pred, line)?]),
        d => Ok(vec![b.destination(d, B32, line)?]),
    }
}

fn shuffle(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    opcode.expect("sync")?;
    let mode = opcode.one_of(&[
        ("up", ShuffleMode::Up),
        ("down", ShuffleMode::Down),
        ("bfly", ShuffleMode::Butterfly),
        ("idx", ShuffleMode::Index),
    ])?;
    opcode.expect("b32")?;
    opcode.finish()?;
    let [d, a, lane, clamp, mask] = b.operands(i)?;
    let destinations = with_predicate(b, d, i.line)?;
    let sources = vec![
        b.source(a, B32, i.line)?,
        b.source(lane, B32, i.line)?,
        b.source(clamp, B32, i.line)?,
        b.source(mask, B32, i.line)?,
    ];
    b.emit(Op::Shuffle(mode), destinations, sources);
    Ok(())
}

fn vote(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    opcode.expect("sync")?;
    let mode = opcode.one_of(&[
        ("all", VoteMode::All),
        ("any", VoteMode::Any),
        ("uni", VoteMode::Uniform),
        ("ballot", VoteMode::Ballot),
    ])?;
    let scalar = opcode.scalar(&[if mode == VoteMode::Ballot { B32 } else { Pred }])?;
    opcode.finish()?;
    let [d, a, mask] = b.operands(i)?;
    let d = b.destination(d, scalar, i.line)?;
    let sources = vec![b.source_predicate(a, i.line)?, b.source(mask, B32, i.line)?];
    b.emit(Op::Vote(mode), vec![d], sources);
    Ok(())
}

fn matching(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let all = opcode.one_of(&[("any", false), ("all", true)])?;
    opcode.expect("sync")?;
    let scalar = opcode.scalar(&[B32, B64])?;
    opcode.finish()?;
    let [d, a, mask] = b.operands(i)?;
    let destinations = if all { with_predicate(b, d, i.line)? } else { vec![b.destination(d, B32, i.line)?] };
    let sources = vec![b.source(a, scalar, i.line)?, b.source(mask, B32, i.line)?];
    let bits = scalar.bits();
    b.emit(if all { Op::MatchAll { bits } } else { Op::MatchAny { bits } }, destinations, sources);
    Ok(())
}

fn reduce(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    opcode.expect("sync")?;
    let name = opcode.one_of(&[
        ("add", "add"),
        ("min", "min"),
        ("max", "max"),
        ("and", "and"),
        ("or", "or"),
        ("xor", "xor"),
    ])?;
    let bitwise = matches!(name, "and" | "or" | "xor");
    let scalar = opcode.scalar(if bitwise { &[B32] } else { &[U32, S32] })?;
    opcode.finish()?;
    let signed = scalar == S32;
    let op = match name {
        "add" => ReduceOp::Add,
        "min" => ReduceOp::Minimum { signed },
        "max" => ReduceOp::Maximum { signed },
        "and" => ReduceOp::And,
        "or" => ReduceOp::Or,
        _ => ReduceOp::Xor,
    };
    let [d, a, mask] = b.operands(i)?;
    let d = b.destination(d, scalar, i.line)?;
    let sources = vec![b.source(a, scalar, i.line)?, b.source(mask, B32, i.line)?];
    b.emit(Op::Reduce(op), vec![d], sources);
    Ok(())
}

fn elect(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    opcode.expect("sync")?;
    opcode.finish()?;
    let [d, mask] = b.operands(i)?;
    let destinations = with_predicate(b, d, i.line)?;
    if destinations.len() != 2 {
        return Err(opcode.error("expected `d|p`"));
    }
    let mask = b.source(mask, B32, i.line)?;
    b.emit(Op::Elect, destinations, vec![mask]);
    Ok(())
}
