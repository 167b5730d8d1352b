//! Operands to registers (PTX ISA 6): types are checked as the real assembler does.

use super::builder::Builder;
use super::scope::Entity;
use crate::instruction::{Input, Slot, Special};
use crate::module::ParseError;
use crate::syntax::{Instruction, Operand, Scalar, Sort, Space};

/// How the type of a register and that of the instruction must agree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Same size, and no float in an integer instruction or the other way round.
    Same,
    /// Same size or wider: `ld`, `st`, `cvt` (PTX ISA 9.4.1).
    Wider,
}

const SPECIALS: [(&str, Special); 24] = [
    ("%tid.x", Special::ThreadIndex(0)),
    ("%tid.y", Special::ThreadIndex(1)),
    ("%tid.z", Special::ThreadIndex(2)),
    ("%ntid.x", Special::BlockSize(0)),
    ("%ntid.y", Special::BlockSize(1)),
    ("%ntid.z", Special::BlockSize(2)),
    ("%ctaid.x", Special::BlockIndex(0)),
    ("%ctaid.y", Special::BlockIndex(1)),
    ("%ctaid.z", Special::BlockIndex(2)),
    ("%nctaid.x", Special::GridSize(0)),
    ("%nctaid.y", Special::GridSize(1)),
    ("%nctaid.z", Special::GridSize(2)),
    ("%laneid", Special::Lane),
    ("%warpid", Special::Warp),
    ("%nwarpid", Special::WarpCount),
    ("%smid", Special::Multiprocessor),
    ("%nsmid", Special::MultiprocessorCount),
    ("%lanemask_eq", Special::LaneMaskEqual),
    ("%lanemask_lt", Special::LaneMaskLess),
    ("%lanemask_le", Special::LaneMaskLessEqual),
    ("%lanemask_gt", Special::LaneMaskGreater),
    ("%lanemask_ge", Special::LaneMaskGreaterEqual),
    ("%dynamic_smem_size", Special::DynamicShared),
    ("%total_smem_size", Special::TotalShared),
];

impl Builder<'_> {
    /// The operands, which must be `N`.
    pub fn operands<'i, const N: usize>(&self, instruction: &'i Instruction) -> Result<&'i [Operand; N], ParseError> {
        instruction.operands.as_slice().try_into().map_err(|_| {
            let found = instruction.operands.len();
            ParseError::new(instruction.line, format!("expected {N} operands, found {found}"))
        })
    }

    /// A source of type `scalar`: register, immediate or special register.
    pub fn source(&mut self, operand: &Operand, scalar: Scalar, line: u32) -> Result<Slot, ParseError> {
        self.source_fitting(operand, scalar, Fit::Same, line)
    }

    pub fn source_fitting(
        &mut self,
        operand: &Operand,
        scalar: Scalar,
        fit: Fit,
        line: u32,
    ) -> Result<Slot, ParseError> {
        match operand {
            Operand::Name(name) => match self.find(name) {
                Some(Entity::Register { slot, scalar: found }) => {
                    check(name, found, scalar, fit, line)?;
                    Ok(slot)
                }
                Some(_) => Err(ParseError::new(line, format!("`{name}` is no register"))),
                None => self.special(name, scalar, line),
            },
            _ => {
                let bits = immediate(operand, scalar, line)?;
                Ok(self.input(Input::Immediate(bits)))
            }
        }
    }

    fn special(&mut self, name: &str, scalar: Scalar, line: u32) -> Result<Slot, ParseError> {
        if name == "WARP_SZ" && matches!(scalar.sort(), Sort::Bits | Sort::Unsigned | Sort::Signed) {
            return Ok(self.input(Input::Immediate(32)));
        }
        let Some(&(_, special)) = SPECIALS.iter().find(|row| row.0 == name) else {
            return Err(ParseError::new(line, format!("`{name}` is not declared, and no special register known here")));
        };
        if scalar.bits() != 32 || scalar.sort() == Sort::Float {
            return Err(ParseError::new(line, format!("`{name}` is a .u32, not a {scalar}")));
        }
        Ok(self.input(Input::Special(special)))
    }

    /// A destination of type `scalar`; `_` is a register that nobody reads.
    pub fn destination(&mut self, operand: &Operand, scalar: Scalar, line: u32) -> Result<Slot, ParseError> {
        self.destination_fitting(operand, scalar, Fit::Same, line)
    }

    pub fn destination_fitting(
        &mut self,
        operand: &Operand,
        scalar: Scalar,
        fit: Fit,
        line: u32,
    ) -> Result<Slot, ParseError> {
        match operand {
            Operand::Name(name) if name == "_" => Ok(self.register("_", scalar)),
            Operand::Name(name) => match self.find(name) {
                Some(Entity::Register { slot, scalar: found }) => {
                    check(name, found, scalar, fit, line)?;
                    Ok(slot)
                }
                _ => Err(ParseError::new(line, format!("`{name}` is no register"))),
            },
            _ => Err(ParseError::new(line, "expected a register to write")),
        }
    }

    /// A predicate by its name.
    pub fn predicate_named(&mut self, name: &str, line: u32) -> Result<Slot, ParseError> {
        match self.find(name) {
            Some(Entity::Register { slot, scalar: Scalar::Pred }) => Ok(slot),
            _ => Err(ParseError::new(line, format!("`{name}` is no predicate"))),
        }
    }

    /// A source predicate, negated or not.
    pub fn source_predicate(&mut self, operand: &Operand, line: u32) -> Result<Slot, ParseError> {
        match operand {
            Operand::Name(name) => self.predicate_named(name, line),
            Operand::Negated(name) => Ok(self.predicate_named(name, line)?.negated()),
            _ => Err(ParseError::new(line, "expected a predicate")),
        }
    }

    /// `{a, b}` or a single register: `count` registers.
    pub fn vector<'o>(&self, operand: &'o Operand, count: usize, line: u32) -> Result<&'o [Operand], ParseError> {
        match operand {
            Operand::Vector(items) if items.len() == count => Ok(items),
            single if count == 1 && !matches!(single, Operand::Vector(_)) => Ok(std::slice::from_ref(single)),
            _ => Err(ParseError::new(line, format!("expected a vector of {count} registers"))),
        }
    }

    pub fn sources(
        &mut self,
        operand: &Operand,
        count: usize,
        scalar: Scalar,
        line: u32,
    ) -> Result<Vec<Slot>, ParseError> {
        self.vector(operand, count, line)?.iter().map(|item| self.source(item, scalar, line)).collect()
    }

    pub fn destinations(
        &mut self,
        operand: &Operand,
        count: usize,
        scalar: Scalar,
        line: u32,
    ) -> Result<Vec<Slot>, ParseError> {
        self.vector(operand, count, line)?.iter().map(|item| self.destination(item, scalar, line)).collect()
    }

    /// An address in `space`: base register and offset.
    pub fn address(&mut self, operand: &Operand, space: Space, line: u32) -> Result<(Slot, i64), ParseError> {
        let Operand::Address { base, offset } = operand else {
            return Err(ParseError::new(line, "expected an address in brackets"));
        };
        let slot = match &**base {
            Operand::Integer(value) => self.input(Input::Immediate(*value as u64)),
            Operand::Name(name) => match self.find(name) {
                Some(Entity::Register { slot, scalar }) => {
                    let short = matches!(space, Space::Shared | Space::Local | Space::Const | Space::Param);
                    let wide = scalar.bits() == 64 || (short && scalar.bits() == 32);
                    if !wide || scalar.sort() == Sort::Float {
                        return Err(ParseError::new(
                            line,
                            format!("`{name}` ({scalar}) is no {} address", space.name()),
                        ));
                    }
                    slot
                }
                Some(Entity::Variable { symbol, space: found, .. }) if found == space => {
                    self.input(Input::Symbol { symbol, offset: 0 })
                }
                Some(Entity::Variable { space: found, .. }) => {
                    let message = format!("`{name}` lies in .{}, not in .{}", found.name(), space.name());
                    return Err(ParseError::new(line, message));
                }
                _ => return Err(ParseError::new(line, format!("`{name}` is no register or variable"))),
            },
            _ => unreachable!("the parser makes names and integers only"),
        };
        Ok((slot, *offset))
    }
}

fn check(name: &str, found: Scalar, wanted: Scalar, fit: Fit, line: u32) -> Result<(), ParseError> {
    let sizes = match fit {
        Fit::Same => found.bits() == wanted.bits(),
        Fit::Wider => found.bits() >= wanted.bits() && found != Scalar::Pred,
    };
    let integer = |sort| matches!(sort, Sort::Unsigned | Sort::Signed);
    let clash = match (found.sort(), wanted.sort()) {
        (Sort::Float, sort) | (sort, Sort::Float) => integer(sort),
        (Sort::Predicate, sort) | (sort, Sort::Predicate) => sort != Sort::Predicate,
        _ => false,
    };
    if sizes && !clash {
        return Ok(());
    }
    Err(ParseError::new(line, format!("`{name}` is a {found} register, which is no {wanted} operand")))
}

/// The bits of an immediate of type `scalar`.
pub(super) fn immediate(operand: &Operand, scalar: Scalar, line: u32) -> Result<u64, ParseError> {
    let wrong = || ParseError::new(line, format!("this operand is no {scalar} immediate"));
    match (operand, scalar.sort()) {
        (Operand::Integer(value), Sort::Bits | Sort::Unsigned | Sort::Signed) => {
            let bits = scalar.bits();
            let range = -(1i128 << (bits - 1))..1i128 << bits;
            if !range.contains(value) {
                return Err(ParseError::new(line, format!("{value} does not fit a {scalar}")));
            }
            Ok(*value as u64 & (u64::MAX >> (64 - bits)))
        }
        (Operand::Single(bits), Sort::Float | Sort::Bits) if scalar.bits() == 32 => Ok(u64::from(*bits)),
        (Operand::Double(bits), Sort::Float | Sort::Bits) if scalar.bits() == 64 => Ok(*bits),
        (Operand::Double(bits), Sort::Float) if scalar == Scalar::F32 => {
            Ok(u64::from((f64::from_bits(*bits) as f32).to_bits()))
        }
        (Operand::Single(bits), Sort::Float) if scalar == Scalar::F64 => Ok(f64::from(f32::from_bits(*bits)).to_bits()),
        _ => Err(wrong()),
    }
}

/// An immediate that the instruction needs while it is decoded.
pub(super) fn constant(operand: &Operand, line: u32) -> Result<u32, ParseError> {
    match operand {
        Operand::Integer(value) if u32::try_from(*value).is_ok() => Ok(*value as u32),
        _ => Err(ParseError::new(line, "expected an integer constant")),
    }
}

impl Builder<'_> {
    /// Size of the register that `operand` names, or of `scalar` if it names none.
    pub fn bits_of(&mut self, operand: &Operand, scalar: Scalar) -> u32 {
        match operand {
            Operand::Name(name) => match self.find(name) {
                Some(Entity::Register { scalar, .. }) => scalar.bits(),
                _ => scalar.bits(),
            },
            _ => scalar.bits(),
        }
    }
}
