//! Barriers and fences (PTX ISA 9.7.13.1 to 9.7.13.4).

use super::builder::Builder;
use super::memory::SCOPES;
use super::opcode::Opcode;
use crate::instruction::{BarrierKind, Op, Slot};
use crate::module::ParseError;
use crate::race::Scope;
use crate::syntax::{Instruction, Operand, Scalar};

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    match opcode.name() {
        "membar" => {
            let scope = opcode.one_of(&[("cta", Scope::Block), ("gl", Scope::Device), ("sys", Scope::Device)])?;
            fence(b, i, opcode, scope)
        }
        "fence" => {
            // `.sc` also orders fences among each other; the detector treats it as the weaker `.acq_rel`.
            opcode.choice(&[("sc", ()), ("acq_rel", ())]);
            let scope = opcode.one_of(&SCOPES)?;
            fence(b, i, opcode, scope)
        }
        "bar" if opcode.accept("warp") => {
            opcode.expect("sync")?;
            opcode.finish()?;
            let [mask] = b.operands(i)?;
            let mask = b.source(mask, Scalar::B32, i.line)?;
            b.emit(Op::WarpBarrier, vec![], vec![mask]);
            Ok(())
        }
        name => {
            opcode.accept("cta");
            barrier(b, i, opcode, name == "barrier")
        }
    }
}

fn fence(b: &mut Builder<'_>, i: &Instruction, opcode: Opcode<'_>, scope: Scope) -> Result<(), ParseError> {
    opcode.finish()?;
    let [] = b.operands(i)?;
    b.emit(Op::Fence(scope), vec![], vec![]);
    Ok(())
}

/// `bar` is `barrier.aligned`. Without `.aligned` the lanes of a warp may arrive apart on hardware; here a warp that
/// does is refused when it runs.
fn barrier(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>, long: bool) -> Result<(), ParseError> {
    let verb = opcode.one_of(&[("sync", 0), ("arrive", 1), ("red", 2)])?;
    let mut result = None;
    let kind = match verb {
        0 => BarrierKind::Sync,
        1 => BarrierKind::Arrive,
        _ => opcode.one_of(&[
            ("popc", BarrierKind::CountTrue),
            ("and", BarrierKind::AllTrue),
            ("or", BarrierKind::AnyTrue),
        ])?,
    };
    if long {
        opcode.accept("aligned");
    }
    if verb == 2 {
        let scalar = if kind == BarrierKind::CountTrue { Scalar::U32 } else { Scalar::Pred };
        result = Some(opcode.scalar(&[scalar])?);
    }
    opcode.finish()?;
    // d, a{, b}, p for `red`; a{, b} for `sync`; a, b for `arrive`.
    let mut operands = i.operands.as_slice();
    let mut destinations = Vec::new();
    let mut predicate = None;
    if let Some(scalar) = result {
        let [d, middle @ .., p] = operands else { return Err(opcode.error("too few operands")) };
        destinations.push(b.destination(d, scalar, i.line)?);
        predicate = Some(b.source_predicate(p, i.line)?);
        operands = middle;
    }
    let counted = match (kind, operands.len()) {
        (BarrierKind::Arrive, 2) => true,
        (BarrierKind::Arrive, _) => return Err(opcode.error("expected a barrier and a thread count")),
        (_, 1) => false,
        (_, 2) => true,
        _ => return Err(opcode.error("expected a barrier and perhaps a thread count")),
    };
    let mut sources =
        operands.iter().map(|o: &Operand| b.source(o, Scalar::U32, i.line)).collect::<Result<Vec<Slot>, _>>()?;
    sources.extend(predicate);
    b.emit(Op::Barrier { kind, counted }, destinations, sources);
    Ok(())
}
