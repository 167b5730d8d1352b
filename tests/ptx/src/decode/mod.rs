//! Syntax to decoded instructions. Every opcode, modifier, type and operand form is either understood here or refused
//! with its line: nothing is skipped over. What is accepted and has no effect is named at its place with the reason.

mod builder;
mod collective;
mod control;
mod convert;
mod data;
mod float;
mod flow;
mod half;
mod integer;
mod matrix;
mod memory;
mod opcode;
mod operand;
mod registers;
mod scope;
mod synchronise;

use builder::Builder;
use opcode::Opcode;

use crate::kernel::Kernel;
use crate::module::ParseError;
use crate::syntax::{Function, Instruction, Tree};

/// Decodes one kernel and all that it calls.
pub(crate) fn decode_kernel(tree: &Tree, function: &Function) -> Result<Kernel, ParseError> {
    let mut builder = Builder::new(tree, function)?;
    builder.body(function)?;
    builder.finish(function)
}

/// What only a GPU can show: asynchronous units whose timing and memory proxy this interpreter does not model.
const GPU_ONLY: [&str; 7] =
    ["wgmma", "mbarrier", "tcgen05", "cp.async.bulk", "cp.async.mbarrier", "clusterlaunchcontrol", "tensormap"];

/// Decodes one instruction into `builder`.
fn decode_instruction(builder: &mut Builder<'_>, instruction: &Instruction) -> Result<(), ParseError> {
    let mut opcode = Opcode::new(instruction);
    let written = instruction.opcode.join(".");
    if let Some(name) = GPU_ONLY.iter().find(|name| written.starts_with(*name)) {
        return Err(opcode.error(format!("`{name}` is not interpreted: only a GPU can show what it does")));
    }
    let name = opcode.name();
    if instruction.used_bytes.is_some() && name != "ld" {
        return Err(opcode.error("the pragma \"used_bytes_mask\" stands before no load"));
    }
    match name {
        "bra" | "brx" | "call" | "ret" | "exit" | "trap" => control::decode(builder, instruction, opcode),
        "mov" | "selp" | "slct" | "cvta" | "isspacep" | "setp" | "set" | "testp" => {
            data::decode(builder, instruction, opcode)
        }
        "cvt" => convert::decode(builder, instruction, opcode),
        "ld" | "st" | "atom" | "red" | "prefetch" | "cp" => memory::decode(builder, instruction, opcode),
        "bar" | "barrier" | "membar" | "fence" => synchronise::decode(builder, instruction, opcode),
        "shfl" | "vote" | "match" | "redux" | "elect" | "activemask" => {
            collective::decode(builder, instruction, opcode)
        }
        "mma" | "ldmatrix" | "stmatrix" | "movmatrix" => matrix::decode(builder, instruction, opcode),
        "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "neg" | "abs" | "min" | "max" => {
            match opcode.element() {
                Some(scalar) if half::covers(scalar) => half::decode(builder, instruction, opcode),
                Some(scalar) if float::covers(scalar) => float::decode(builder, instruction, opcode),
                _ => integer::decode(builder, instruction, opcode),
            }
        }
        "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "copysign" => float::decode(builder, instruction, opcode),
        "ex2" | "tanh" => match opcode.element() {
            Some(scalar) if half::covers(scalar) => half::decode(builder, instruction, opcode),
            _ => float::decode(builder, instruction, opcode),
        },
        "and" | "or" | "xor" | "not" | "shl" | "shr" | "shf" | "bfe" | "bfi" | "bfind" | "bmsk" | "brev" | "clz"
        | "addc" | "subc" | "madc" | "popc" | "prmt" | "lop3" | "szext" | "dp4a" | "dp2a" | "sad" => {
            integer::decode(builder, instruction, opcode)
        }
        _ => {
            opcode.rewind();
            Err(opcode.refuse())
        }
    }
}
