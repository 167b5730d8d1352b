//! Control flow (PTX ISA 9.7.12). Calls are inlined, so that a kernel is one flow graph.

use super::builder::Builder;
use super::opcode::Opcode;
use super::scope::{Entity, Scope};
use crate::instruction::Op;
use crate::module::ParseError;
use crate::syntax::{Function, Instruction, Operand, Scalar};

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    match opcode.name() {
        "bra" => {
            let uniform = opcode.accept("uni");
            opcode.finish()?;
            let [label] = b.operands(i)?;
            let target = label_of(b, label, i.line)?;
            b.emit(Op::Branch { target, uniform }, vec![], vec![]);
            Ok(())
        }
        "brx" => branch_indexed(b, i, opcode),
        "call" => call(b, i, opcode),
        "ret" => {
            // `.uni` promises that the warp returns as a whole; leaving in parts is correct as well.
            opcode.accept("uni");
            opcode.finish()?;
            let [] = b.operands(i)?;
            let op = match b.return_label {
                None => Op::Exit,
                Some(target) => Op::Branch { target, uniform: false },
            };
            b.emit(op, vec![], vec![]);
            Ok(())
        }
        name => {
            opcode.finish()?;
            let [] = b.operands(i)?;
            b.emit(if name == "exit" { Op::Exit } else { Op::Trap }, vec![], vec![]);
            Ok(())
        }
    }
}

fn label_of(b: &mut Builder<'_>, operand: &Operand, line: u32) -> Result<u32, ParseError> {
    if let Operand::Name(name) = operand
        && let Some(Entity::Label(label)) = b.find(name)
    {
        return Ok(label);
    }
    Err(ParseError::new(line, "expected a label of this function"))
}

fn branch_indexed(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    opcode.expect("idx")?;
    let uniform = opcode.accept("uni");
    opcode.finish()?;
    let [index, list] = b.operands(i)?;
    let index = b.source(index, Scalar::U32, i.line)?;
    let names = match list {
        Operand::Name(name) => b.find(name),
        _ => None,
    };
    let Some(Entity::Targets(names)) = names else {
        return Err(ParseError::new(i.line, "expected the name of a .branchtargets list"));
    };
    let targets = names.into_iter().map(|name| label_of(b, &Operand::Name(name), i.line));
    let targets = targets.collect::<Result<Box<[u32]>, _>>()?;
    b.emit(Op::BranchIndexed { targets, uniform }, vec![], vec![index]);
    Ok(())
}

fn call(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    // `.uni` promises that the whole warp calls; nothing depends on it once the call is inlined.
    opcode.accept("uni");
    opcode.finish()?;
    let (results, rest) = match i.operands.as_slice() {
        [Operand::Group(results), rest @ ..] => (results.as_slice(), rest),
        rest => (&[][..], rest),
    };
    let (name, arguments) = match rest {
        [Operand::Name(name)] => (name, &[][..]),
        [Operand::Name(name), Operand::Group(arguments)] => (name, arguments.as_slice()),
        _ => {
            return Err(
                opcode.error("expected `call (results), function, (arguments)`; indirect calls are not supported")
            );
        }
    };
    if name == "__assertfail" {
        b.emit(Op::Trap, vec![], vec![]);
        return Ok(());
    }
    let tree = b.tree;
    let function = tree.functions.iter().find(|function| function.name == *name && !function.entry);
    let Some(function) = function.filter(|function| function.body.is_some()) else {
        return Err(opcode.error(format!("function `{name}` has no body in this module")));
    };
    if b.calls.contains(name) {
        return Err(opcode.error(format!("`{name}` is recursive; calls are inlined")));
    }
    let after = b.new_label();
    if let Some(guard) = b.guard() {
        b.emit_under(Some(guard.negated()), Op::Branch { target: after, uniform: false }, vec![], vec![]);
        b.drop_guard();
    }
    let bound = bind(b, function, results, arguments, &opcode)?;
    let outer_scopes = std::mem::replace(&mut b.scopes, vec![bound]);
    let outer_return = b.return_label.replace(after);
    b.calls.push(name.clone());
    b.body(function)?;
    b.calls.pop();
    b.return_label = outer_return;
    b.scopes = outer_scopes;
    b.place_label(after);
    Ok(())
}

/// The scope of an inlined call: each formal parameter is the `.param` variable that the caller passes.
fn bind(
    b: &mut Builder<'_>,
    function: &Function,
    results: &[Operand],
    arguments: &[Operand],
    opcode: &Opcode<'_>,
) -> Result<Scope, ParseError> {
    let formals = || function.returns.iter().chain(&function.parameters);
    if results.len() != function.returns.len() || arguments.len() != function.parameters.len() {
        return Err(opcode.error(format!("the call does not fit `{}`", function.name)));
    }
    let mut scope = Scope::default();
    for (formal, actual) in formals().zip(results.iter().chain(arguments)) {
        let entity = match actual {
            Operand::Name(name) => b.find(name),
            _ => None,
        };
        match entity {
            Some(Entity::Variable { bytes, .. }) if bytes == formal.bytes => {
                scope.names.insert(formal.name.clone(), entity.expect("matched above"));
            }
            _ => return Err(opcode.error(format!("argument `{}` is no .param variable of its size", formal.name))),
        }
    }
    Ok(scope)
}
