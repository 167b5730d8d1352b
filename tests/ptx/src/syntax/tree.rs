//! The syntax tree of a module.

use std::collections::HashMap;
use std::fmt;

/// A fundamental type (PTX ISA 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scalar {
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F64,
    Pred,
}

/// What the bits of a [`Scalar`] stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Bits,
    Unsigned,
    Signed,
    Float,
    Predicate,
}

const SCALARS: [(&str, Scalar, u32, Sort); 21] = [
    ("b8", Scalar::B8, 8, Sort::Bits),
    ("b16", Scalar::B16, 16, Sort::Bits),
    ("b32", Scalar::B32, 32, Sort::Bits),
    ("b64", Scalar::B64, 64, Sort::Bits),
    ("b128", Scalar::B128, 128, Sort::Bits),
    ("u8", Scalar::U8, 8, Sort::Unsigned),
    ("u16", Scalar::U16, 16, Sort::Unsigned),
    ("u32", Scalar::U32, 32, Sort::Unsigned),
    ("u64", Scalar::U64, 64, Sort::Unsigned),
    ("s8", Scalar::S8, 8, Sort::Signed),
    ("s16", Scalar::S16, 16, Sort::Signed),
    ("s32", Scalar::S32, 32, Sort::Signed),
    ("s64", Scalar::S64, 64, Sort::Signed),
    ("f16", Scalar::F16, 16, Sort::Float),
    ("f16x2", Scalar::F16x2, 32, Sort::Float),
    ("bf16", Scalar::Bf16, 16, Sort::Float),
    ("bf16x2", Scalar::Bf16x2, 32, Sort::Float),
    ("tf32", Scalar::Tf32, 32, Sort::Float),
    ("f32", Scalar::F32, 32, Sort::Float),
    ("f64", Scalar::F64, 64, Sort::Float),
    ("pred", Scalar::Pred, 1, Sort::Predicate),
];

impl Scalar {
    /// The type called `name` (without the dot).
    pub(crate) fn from_name(name: &str) -> Option<Scalar> {
        SCALARS.iter().find(|row| row.0 == name).map(|row| row.1)
    }

    fn row(self) -> &'static (&'static str, Scalar, u32, Sort) {
        SCALARS.iter().find(|row| row.1 == self).expect("every scalar has a row")
    }

    pub(crate) fn bits(self) -> u32 {
        self.row().2
    }

    pub(crate) fn bytes(self) -> u32 {
        self.bits() / 8
    }

    pub(crate) fn sort(self) -> Sort {
        self.row().3
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ".{}", self.row().0)
    }
}

/// A state space (PTX ISA 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Const,
    Param,
}

impl Space {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Space::Generic => "generic",
            Space::Global => "global",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Const => "const",
            Space::Param => "param",
        }
    }
}

/// What a variable starts with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Initialiser {
    None,
    /// The first bytes; the rest is zero.
    Bytes(Vec<u8>),
}

/// A variable or parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Variable {
    pub space: Space,
    pub name: String,
    pub align: u32,
    /// Size in bytes; `None` for `extern .shared x[]`, whose size the launch gives.
    pub bytes: Option<u32>,
    pub external: bool,
    pub initialiser: Initialiser,
    pub line: u32,
}

/// Index of a `.loc` of the module.
pub(crate) type LocationIndex = u32;

/// A `.loc`: place in the CUDA source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    pub file: u32,
    pub line: u32,
    /// Where the function that holds this line was inlined: file and line.
    pub inlined_at: Option<(u32, u32)>,
}

/// `@p` or `@!p`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Guard {
    pub negate: bool,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// A register, variable, label, function or special register.
    Name(String),
    /// `variable+4`
    Sum(String, i64),
    /// `!p`
    Negated(String),
    Integer(i128),
    /// `0f...`, or a decimal number.
    Single(u32),
    /// `0d...`
    Double(u64),
    /// `{a, b}`
    Vector(Vec<Operand>),
    /// `[base + offset]`; the base is a `Name` or an `Integer`.
    Address {
        base: Box<Operand>,
        offset: i64,
    },
    /// `d|p`
    Pair(Box<Operand>, Box<Operand>),
    /// `(a, b)` of a call.
    Group(Vec<Operand>),
}

/// One instruction as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instruction {
    pub guard: Option<Guard>,
    /// The opcode cut at its dots.
    pub opcode: Vec<String>,
    pub operands: Vec<Operand>,
    pub line: u32,
    pub location: Option<LocationIndex>,
    /// The text from the guard to the semicolon.
    pub text: String,
    /// Bytes of the loaded vector that anybody looks at, from `.pragma "used_bytes_mask n"` before it.
    pub used_bytes: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Statement {
    Label {
        name: String,
    },
    Variable(Variable),
    /// `.reg .type name` or `name<count>`.
    Registers {
        scalar: Scalar,
        name: String,
        count: Option<u32>,
        line: u32,
    },
    Instruction(Instruction),
    /// `name: .branchtargets a, b;`
    BranchTargets {
        name: String,
        labels: Vec<String>,
    },
    Block(Vec<Statement>),
}

/// A `.entry` or `.func`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Function {
    pub name: String,
    pub entry: bool,
    pub returns: Vec<Variable>,
    pub parameters: Vec<Variable>,
    pub max_threads: Option<[u32; 3]>,
    pub required_threads: Option<[u32; 3]>,
    /// `None` for a declaration.
    pub body: Option<Vec<Statement>>,
    pub line: u32,
}

/// A module as written.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Compute capability: 80 for `sm_80`.
    pub target: u32,
    pub files: HashMap<u32, String>,
    pub locations: Vec<Location>,
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
}
