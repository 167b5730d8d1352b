//! Warp-wide matrix instructions (PTX ISA 9.7.14.5, 9.7.14.6).

use super::builder::Builder;
use super::opcode::Opcode;
use super::operand::constant;
use crate::instruction::{Op, Slot};
use crate::module::ParseError;
use crate::syntax::{Instruction, Operand, Scalar, Space};
use crate::tensor::{Accumulator, Element, Mma, SparseMma};

use Scalar::{B32, F32};

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    match opcode.name() {
        "mma" => multiply(b, i, opcode),
        "movmatrix" => {
            for part in ["sync", "aligned", "m8n8", "trans", "b16"] {
                opcode.expect(part)?;
            }
            opcode.finish()?;
            let [d, a] = b.operands(i)?;
            let d = b.destination(d, B32, i.line)?;
            let a = b.source(a, B32, i.line)?;
            b.emit(Op::MoveMatrix, vec![d], vec![a]);
            Ok(())
        }
        name => transfer(b, i, opcode, name == "ldmatrix"),
    }
}

fn transfer(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>, load: bool) -> Result<(), ParseError> {
    for part in ["sync", "aligned", "m8n8"] {
        opcode.expect(part)?;
    }
    let matrices: usize = opcode.one_of(&[("x1", 1), ("x2", 2), ("x4", 4)])?;
    let transpose = opcode.accept("trans");
    let space = opcode.choice(&[("shared", Space::Shared), ("shared::cta", Space::Shared)]).unwrap_or(Space::Generic);
    opcode.expect("b16")?;
    opcode.finish()?;
    let [first, second] = b.operands(i)?;
    let (registers, address) = if load { (first, second) } else { (second, first) };
    let (base, offset) = b.address(address, space, i.line)?;
    if load {
        let destinations = b.destinations(registers, matrices, B32, i.line)?;
        b.emit(Op::LoadMatrix { matrices, transpose, space, offset }, destinations, vec![base]);
    } else {
        let mut sources = vec![base];
        sources.extend(b.sources(registers, matrices, B32, i.line)?);
        b.emit(Op::StoreMatrix { matrices, transpose, space, offset }, vec![], sources);
    }
    Ok(())
}

const ELEMENTS: [(&str, Element); 3] = [("f16", Element::F16), ("bf16", Element::Bf16), ("tf32", Element::Tf32)];
const ACCUMULATORS: [(&str, Accumulator); 2] = [("f16", Accumulator::F16), ("f32", Accumulator::F32)];

fn multiply(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    // The plain `mma.sp` has no ordered metadata in general; the product refuses metadata that is not ordered.
    let sparse = opcode.choice(&[("sp", ()), ("sp::ordered_metadata", ())]).is_some();
    opcode.expect("sync")?;
    opcode.expect("aligned")?;
    let before = opcode.refuse();
    let k = opcode.one_of(&[("m16n8k4", 4), ("m16n8k8", 8), ("m16n8k16", 16), ("m16n8k32", 32)])?;
    opcode.expect("row")?;
    opcode.expect("col")?;
    let d_type = opcode.one_of(&ACCUMULATORS)?;
    let a_type = opcode.one_of(&ELEMENTS)?;
    let b_type = opcode.one_of(&ELEMENTS)?;
    let c_type = opcode.one_of(&ACCUMULATORS)?;
    opcode.finish()?;
    if a_type != b_type || c_type != d_type {
        return Err(before);
    }
    let accumulator = if c_type == Accumulator::F32 { F32 } else { B32 };
    if sparse {
        let [d, x, y, c, metadata, selector] = b.operands(i)?;
        let selector = constant(selector, i.line)?;
        let op = SparseMma::new(k, a_type, c_type, selector).ok_or(before)?;
        let counts = [op.c_registers(), op.a_registers(), op.b_registers(), op.c_registers()];
        let (destinations, mut sources) = fragments(b, i, [d, x, y, c], counts, accumulator)?;
        sources.push(b.source(metadata, B32, i.line)?);
        b.emit(Op::SparseMma(op), destinations, sources);
    } else {
        let [d, x, y, c] = b.operands(i)?;
        let op = Mma::new(k, a_type, c_type).ok_or(before)?;
        let counts = [op.c_registers(), op.a_registers(), op.b_registers(), op.c_registers()];
        let (destinations, sources) = fragments(b, i, [d, x, y, c], counts, accumulator)?;
        b.emit(Op::Mma(op), destinations, sources);
    }
    Ok(())
}

/// The registers of D, and of A, B and C one after the other.
fn fragments(
    b: &mut Builder<'_>,
    i: &Instruction,
    [d, x, y, c]: [&Operand; 4],
    counts: [usize; 4],
    accumulator: Scalar,
) -> Result<(Vec<Slot>, Vec<Slot>), ParseError> {
    let destinations = b.destinations(d, counts[0], accumulator, i.line)?;
    let mut sources = b.sources(x, counts[1], B32, i.line)?;
    sources.extend(b.sources(y, counts[2], B32, i.line)?);
    sources.extend(b.sources(c, counts[3], accumulator, i.line)?);
    Ok((destinations, sources))
}
