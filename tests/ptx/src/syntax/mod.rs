//! PTX text to a syntax tree (PTX ISA 4). Nothing here knows what an instruction means.

mod body;
mod lexer;
mod parser;
mod tree;

pub(crate) use parser::parse;
pub(crate) use tree::{Function, Initialiser, Instruction, Operand, Scalar, Sort, Space, Statement, Tree, Variable};
