//! What distinguishes the instructions of one family.

use crate::numeric::{FloatMode, HalfMode, HalfType, NanRule, PermuteMode};
use crate::race::{Order, Scope};
use crate::syntax::Space;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IntegerType {
    pub bits: u32,
    pub signed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integer1 {
    Negate,
    Absolute,
    Not,
    CountOnes,
    LeadingZeros,
    ReverseBits,
    FindTop { shift_amount: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integer2 {
    Add,
    AddSaturating,
    Subtract,
    SubtractSaturating,
    MultiplyLow,
    MultiplyHigh,
    MultiplyWide,
    Divide,
    Remainder,
    Minimum,
    Maximum,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
    /// Two 16-bit additions in one register.
    AddPair,
    MinimumPair,
    MaximumPair,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integer3 {
    MultiplyAddLow,
    MultiplyAddHigh,
    MultiplyAddWide,
    AbsoluteDifference,
    Logic(u8),
    FunnelLeft { wrap: bool },
    FunnelRight { wrap: bool },
    Extract,
    Permute(PermuteMode),
    Dot4 { a_signed: bool, b_signed: bool },
    Dot2 { a_signed: bool, b_signed: bool, high: bool },
}

/// Extended-precision arithmetic (PTX ISA 9.7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CarryOp {
    Add,
    Subtract,
    MultiplyAddLow,
    MultiplyAddHigh,
}

/// A step of a carry chain. The carry is a predicate: the last source if it comes in, the second destination if it goes
/// out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carry {
    pub op: CarryOp,
    pub kind: IntegerType,
    pub comes_in: bool,
    pub goes_out: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Single1 {
    Reciprocal(FloatMode),
    Root(FloatMode),
    Negate { flush: bool },
    Absolute { flush: bool },
    Exp2 { flush: bool },
    Log2 { flush: bool },
    Sine { flush: bool },
    Cosine { flush: bool },
    Tanh,
    ReciprocalApproximate { flush: bool },
    RootApproximate { flush: bool },
    InverseRoot { flush: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Single2 {
    Add(FloatMode),
    Subtract(FloatMode),
    Multiply(FloatMode),
    Divide(FloatMode),
    DivideApproximate { flush: bool },
    Minimum { flush: bool, nan: NanRule },
    Maximum { flush: bool, nan: NanRule },
    CopySign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Double1 {
    Reciprocal,
    ReciprocalApproximate,
    Root,
    InverseRoot,
    /// `.ftz`: of the upper word only.
    InverseRootUpper,
    Negate,
    Absolute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Double2 {
    Add,
    Subtract,
    Multiply,
    Divide,
    Minimum,
    Maximum,
    CopySign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half1 {
    Negate { flush: bool },
    Absolute { flush: bool },
    Exp2,
    Tanh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half2 {
    Add(HalfMode),
    Subtract(HalfMode),
    Multiply(HalfMode),
    Minimum { flush: bool, nan: NanRule },
    Maximum { flush: bool, nan: NanRule },
}

/// A comparison; the unordered ones end in `OrNan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    EqualOrNan,
    NotEqualOrNan,
    LessOrNan,
    LessEqualOrNan,
    GreaterOrNan,
    GreaterEqualOrNan,
    BothNumbers,
    AnyNan,
}

/// What a comparison compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparand {
    Integer(IntegerType),
    Half(HalfType),
    HalfPair(HalfType),
    Single { flush: bool },
    Double,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combine {
    And,
    Or,
    Xor,
}

/// What `set` writes for true; false is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    Ones {
        bits: u32,
    },
    One {
        bits: u64,
    },
    /// 1.0 in each half for which the comparison holds.
    HalfPair(HalfType),
    /// All ones in each half for which the comparison holds.
    OnesPair,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberClass {
    Finite,
    Infinite,
    Number,
    NotNumber,
    Normal,
    Subnormal,
}

/// Ordering of a load, store or atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strength {
    Weak,
    Strong { order: Order, scope: Scope },
}

/// The memory side of a load or store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub space: Space,
    /// Bytes of one element.
    pub bytes: u32,
    /// A load sign-extends to `keep` bits, the size of its registers.
    pub signed: bool,
    pub keep: u32,
    /// Elements: 1, 2, 4 or 8.
    pub elements: u32,
    pub strength: Strength,
    pub offset: i64,
    /// Bytes that a load needs; the others may be unwritten, or be written by somebody else meanwhile.
    pub used: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomicOp {
    Add,
    AddSingle,
    AddDouble,
    AddHalf(HalfType),
    AddHalfPair(HalfType),
    Minimum,
    Maximum,
    And,
    Or,
    Xor,
    Exchange,
    Compare,
    Increment,
    Decrement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Atomic {
    pub op: AtomicOp,
    pub kind: IntegerType,
    pub space: Space,
    pub order: Order,
    pub scope: Scope,
    pub returns: bool,
    pub offset: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    Sync,
    Arrive,
    CountTrue,
    AllTrue,
    AnyTrue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uniform,
    Ballot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReduceOp {
    Add,
    Minimum { signed: bool },
    Maximum { signed: bool },
    And,
    Or,
    Xor,
}
