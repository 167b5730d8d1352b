//! A cursor over the parts of an opcode.

use crate::module::ParseError;
use crate::syntax::{Instruction, Scalar};

/// The parts of `add.rn.f32`, taken one after the other; what is left at the end is refused.
pub(super) struct Opcode<'a> {
    instruction: &'a Instruction,
    at: usize,
}

impl<'a> Opcode<'a> {
    pub fn new(instruction: &'a Instruction) -> Opcode<'a> {
        Opcode { instruction, at: 0 }
    }

    /// Takes the first part.
    pub fn name(&mut self) -> &'a str {
        self.at = 1;
        &self.instruction.opcode[0]
    }

    pub fn rewind(&mut self) {
        self.at = 0;
    }

    fn peek(&self) -> Option<&'a str> {
        self.instruction.opcode.get(self.at).map(String::as_str)
    }

    /// Whether the next part is `part`; it is not taken.
    pub fn is_next(&self, part: &str) -> bool {
        self.peek() == Some(part)
    }

    /// Takes the next part if it is `part`.
    pub fn accept(&mut self, part: &str) -> bool {
        let found = self.peek() == Some(part);
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, part: &str) -> Result<(), ParseError> {
        if self.accept(part) { Ok(()) } else { Err(self.refuse()) }
    }

    /// Takes the next part if `table` has it.
    pub fn choice<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let part = self.peek()?;
        let found = table.iter().find(|row| row.0 == part)?.1;
        self.at += 1;
        Some(found)
    }

    /// Takes the next part, which must be in `table`.
    pub fn one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Result<T, ParseError> {
        self.choice(table).ok_or_else(|| self.refuse())
    }

    /// Takes the next part, which must be one of these types.
    pub fn scalar(&mut self, allowed: &[Scalar]) -> Result<Scalar, ParseError> {
        let scalar = self.peek().and_then(Scalar::from_name).filter(|scalar| allowed.contains(scalar));
        let scalar = scalar.ok_or_else(|| self.refuse())?;
        self.at += 1;
        Ok(scalar)
    }

    /// The last type of the opcode, not taken.
    pub fn element(&self) -> Option<Scalar> {
        self.instruction.opcode.iter().rev().find_map(|part| Scalar::from_name(part))
    }

    /// All parts must have been taken.
    pub fn finish(&self) -> Result<(), ParseError> {
        if self.at == self.instruction.opcode.len() { Ok(()) } else { Err(self.refuse()) }
    }

    /// The error that the next part is not implemented here.
    pub fn refuse(&self) -> ParseError {
        let whole = self.instruction.opcode.join(".");
        let message = match self.peek() {
            Some(part) if self.at == 0 => format!("opcode `{part}` is not implemented (in `{whole}`)"),
            Some(part) => format!("`.{part}` is not implemented at this place of `{whole}`"),
            None => format!("`{whole}` lacks a modifier or type"),
        };
        self.error(message)
    }

    pub fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::new(self.instruction.line, message)
    }
}
