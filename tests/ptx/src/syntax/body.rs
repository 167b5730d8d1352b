//! Function bodies: blocks, labels, declarations, instructions (PTX ISA 4.3).

use super::lexer::Kind;
use super::parser::Parser;
use super::tree::{Guard, Instruction, Operand, Scalar, Statement};
use crate::module::ParseError;

impl Parser<'_> {
    /// `{ ... }`
    pub fn block(&mut self) -> Result<Vec<Statement>, ParseError> {
        self.expect(b'{')?;
        let mut statements = Vec::new();
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Mark(b'}') => {
                    self.next();
                    return Ok(statements);
                }
                Kind::Mark(b'{') => statements.push(Statement::Block(self.block()?)),
                // An empty statement: inline assembly ends its lines with one semicolon more.
                Kind::Mark(b';') => {
                    self.next();
                }
                Kind::Word(".reg") => self.registers(&mut statements)?,
                Kind::Word(".shared" | ".local" | ".param") => {
                    statements.extend(self.variables(false)?.into_iter().map(Statement::Variable));
                }
                Kind::Word(".file" | ".loc" | ".pragma" | ".section") => self.debug_directive()?,
                Kind::Word(word) if !word.starts_with('.') => self.label_or_instruction(&mut statements)?,
                Kind::Mark(b'@') => statements.push(self.instruction()?),
                _ => return self.error(token, "a statement"),
            }
        }
    }

    fn registers(&mut self, statements: &mut Vec<Statement>) -> Result<(), ParseError> {
        self.next();
        let token = self.next();
        let scalar = match token.kind {
            Kind::Word(word) => word.strip_prefix('.').and_then(Scalar::from_name),
            _ => None,
        };
        let Some(scalar) = scalar.filter(|&scalar| scalar != Scalar::B128) else {
            return self.error(token, "a register type of at most 64 bits");
        };
        loop {
            let line = self.peek().line;
            let name = self.word("a register name")?.to_owned();
            let count = if self.accept(b'<') {
                let count = self.integer()?;
                self.expect(b'>')?;
                Some(count)
            } else {
                None
            };
            statements.push(Statement::Registers { scalar, name, count, line });
            if !self.accept(b',') {
                return self.expect(b';');
            }
        }
    }

    fn label_or_instruction(&mut self, statements: &mut Vec<Statement>) -> Result<(), ParseError> {
        let token = self.next();
        let Kind::Word(word) = token.kind else { return self.error(token, "a label or an opcode") };
        if self.peek().kind != Kind::Mark(b':') {
            statements.push(self.instruction_from(None, word, token.start, token.line)?);
            return Ok(());
        }
        self.next();
        match self.peek().kind {
            Kind::Word(".branchtargets") => {
                self.next();
                let mut labels = vec![self.word("a label")?.to_owned()];
                while self.accept(b',') {
                    labels.push(self.word("a label")?.to_owned());
                }
                self.expect(b';')?;
                statements.push(Statement::BranchTargets { name: word.to_owned(), labels });
            }
            Kind::Word(directive @ (".callprototype" | ".calltargets")) => {
                return self.error(self.peek(), &format!("no `{directive}`: indirect calls are not supported"));
            }
            _ => statements.push(Statement::Label { name: word.to_owned() }),
        }
        Ok(())
    }

    fn instruction(&mut self) -> Result<Statement, ParseError> {
        let start = self.peek();
        self.expect(b'@')?;
        let negate = self.accept(b'!');
        let name = self.word("a predicate")?.to_owned();
        let opcode = self.word("an opcode")?;
        self.instruction_from(Some(Guard { negate, name }), opcode, start.start, start.line)
    }

    fn instruction_from(
        &mut self,
        guard: Option<Guard>,
        opcode: &str,
        start: usize,
        line: u32,
    ) -> Result<Statement, ParseError> {
        let mut operands = Vec::new();
        if !self.accept(b';') {
            loop {
                operands.push(self.operand()?);
                // `mov.b64 {a, b}, c` and the groups of a call have commas between operands; so has all else.
                if self.accept(b';') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        let text = self.text[start..self.end_of_previous()].split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Statement::Instruction(Instruction {
            guard,
            opcode: opcode.split('.').map(str::to_owned).collect(),
            operands,
            line,
            location: self.location,
            text,
            used_bytes: self.used_bytes.take(),
        }))
    }

    fn operand(&mut self) -> Result<Operand, ParseError> {
        let first = self.simple_operand()?;
        if self.accept(b'|') {
            let second = self.simple_operand()?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn simple_operand(&mut self) -> Result<Operand, ParseError> {
        let token = self.next();
        match token.kind {
            Kind::Word(word) if self.accept(b'+') => Ok(Operand::Sum(word.to_owned(), i64::from(self.integer()?))),
            Kind::Word(word) => Ok(Operand::Name(word.to_owned())),
            Kind::Integer(value) => Ok(Operand::Integer(i128::from(value))),
            Kind::Single(bits) => Ok(Operand::Single(bits)),
            Kind::Double(bits) => Ok(Operand::Double(bits)),
            Kind::Mark(b'-') => {
                let number = self.next();
                match number.kind {
                    Kind::Integer(value) => Ok(Operand::Integer(-i128::from(value))),
                    _ => self.error(number, "an integer"),
                }
            }
            Kind::Mark(b'!') => Ok(Operand::Negated(self.word("a predicate")?.to_owned())),
            Kind::Mark(b'{') => Ok(Operand::Vector(self.operands_until(b'}')?)),
            Kind::Mark(b'(') => Ok(Operand::Group(self.operands_until(b')')?)),
            Kind::Mark(b'[') => self.address(),
            _ => self.error(token, "an operand"),
        }
    }

    fn operands_until(&mut self, close: u8) -> Result<Vec<Operand>, ParseError> {
        let mut operands = Vec::new();
        if self.accept(close) {
            return Ok(operands);
        }
        loop {
            operands.push(self.simple_operand()?);
            if self.accept(close) {
                return Ok(operands);
            }
            self.expect(b',')?;
        }
    }

    fn address(&mut self) -> Result<Operand, ParseError> {
        let token = self.next();
        let base = match token.kind {
            Kind::Word(word) => Operand::Name(word.to_owned()),
            Kind::Integer(value) => Operand::Integer(i128::from(value)),
            _ => return self.error(token, "a register, a variable or a number"),
        };
        let mut offset = 0;
        if self.peek().kind == Kind::Mark(b'+') || self.peek().kind == Kind::Mark(b'-') {
            // nvcc writes `+-4`; a bare `-4` is accepted as well.
            let plus = self.accept(b'+');
            let negative = self.accept(b'-');
            if !plus && !negative {
                return self.error(self.peek(), "an offset");
            }
            let token = self.next();
            let Kind::Integer(value) = token.kind else { return self.error(token, "an offset") };
            offset = i64::try_from(value).or_else(|_| self.error(token, "an offset below 2^63"))?;
            if negative {
                offset = -offset;
            }
        }
        self.expect(b']')?;
        Ok(Operand::Address { base: Box::new(base), offset })
    }
}
