//! Decoded instructions: everything that is known before the launch, in a form that runs without looking at text.

use crate::numeric::{Convert, FloatMode, HalfMode, HalfType};
pub(crate) use crate::operation::{
    Atomic, AtomicOp, BarrierKind, Carry, CarryOp, Combine, Comparand, Comparison, Double1, Double2, Half1, Half2,
    Integer1, Integer2, Integer3, IntegerType, NumberClass, ReduceOp, ShuffleMode, Single1, Single2, Strength,
    Transfer, Truth, VoteMode,
};
use crate::race::Scope;
use crate::syntax::Space;
use crate::tensor::{Mma, SparseMma};

/// A register operand: a place in the warp's value file or, with [`Slot::PREDICATE`], in its predicate file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot(pub u32);

impl Slot {
    pub const PREDICATE: u32 = 1 << 31;
    const NEGATED: u32 = 1 << 30;

    pub fn value(index: u32) -> Slot {
        Slot(index)
    }

    pub fn predicate(index: u32) -> Slot {
        Slot(index | Slot::PREDICATE)
    }

    pub fn negated(self) -> Slot {
        Slot(self.0 ^ Slot::NEGATED)
    }

    pub fn is_predicate(self) -> bool {
        self.0 & Slot::PREDICATE != 0
    }

    pub fn is_negated(self) -> bool {
        self.0 & Slot::NEGATED != 0
    }

    pub fn index(self) -> usize {
        (self.0 & !(Slot::PREDICATE | Slot::NEGATED)) as usize
    }

    /// The same kind of operand at another place.
    pub fn moved_to(self, index: u32) -> Slot {
        Slot(self.0 & (Slot::PREDICATE | Slot::NEGATED) | index)
    }
}

/// What an instruction does. Its registers are in [`Instruction`], in the order of the PTX operands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Branch {
        target: u32,
        uniform: bool,
    },
    BranchIndexed {
        targets: Box<[u32]>,
        uniform: bool,
    },
    Exit,
    Trap,
    Copy,
    CopyPredicate,
    CombinePredicates(Combine),
    /// Sources of `bits` bits, lowest first, to one register.
    Pack {
        bits: u32,
    },
    Unpack {
        bits: u32,
    },
    Select,
    SelectBySign {
        float: bool,
    },
    Clock {
        bits: u32,
    },
    GlobalTimer {
        bits: u32,
        high: bool,
    },
    ActiveMask,
    Convert {
        convert: Convert,
        keep: u32,
    },
    /// Two floats to the two halves of one register, the first to the upper.
    ConvertPair(Convert),
    Integer1(Integer1, IntegerType),
    Integer2(Integer2, IntegerType),
    Integer3(Integer3, IntegerType),
    Carry(Carry),
    BitInsert {
        bits: u32,
    },
    BitMask {
        wrap: bool,
    },
    SignExtend {
        signed: bool,
        wrap: bool,
    },
    Single1(Single1),
    Single2(Single2),
    SingleFma(FloatMode),
    Double1(Double1),
    Double2(Double2),
    DoubleFma,
    Half1(Half1, HalfType, bool),
    Half2(Half2, HalfType, bool),
    HalfFma(HalfMode, HalfType, bool),
    TestSingle(NumberClass),
    TestDouble(NumberClass),
    /// `setp`: one or two predicates; a third source is combined with the comparison.
    SetPredicate {
        comparison: Comparison,
        comparand: Comparand,
        combine: Option<Combine>,
    },
    Set {
        comparison: Comparison,
        comparand: Comparand,
        combine: Option<Combine>,
        truth: Truth,
    },
    ToGeneric(Space),
    FromGeneric(Space),
    IsSpace(Space),
    Load {
        transfer: Transfer,
        noncoherent: bool,
    },
    Store(Transfer),
    Atomic(Atomic),
    /// Checks the address and does nothing else: a prefetch has no effect on values.
    Prefetch {
        space: Space,
        offset: i64,
    },
    CopyAsync {
        bytes: u32,
        to_offset: i64,
        from_offset: i64,
        size: bool,
        ignore: bool,
    },
    CommitGroup,
    /// Waits until at most this many of the newest groups are unfinished; `None` also covers uncommitted copies.
    WaitGroup(Option<u32>),
    Fence(Scope),
    Barrier {
        kind: BarrierKind,
        counted: bool,
    },
    WarpBarrier,
    Shuffle(ShuffleMode),
    Vote(VoteMode),
    MatchAny {
        bits: u32,
    },
    MatchAll {
        bits: u32,
    },
    Reduce(ReduceOp),
    Elect,
    LoadMatrix {
        matrices: usize,
        transpose: bool,
        space: Space,
        offset: i64,
    },
    StoreMatrix {
        matrices: usize,
        transpose: bool,
        space: Space,
        offset: i64,
    },
    MoveMatrix,
    Mma(Mma),
    SparseMma(SparseMma),
}

impl Op {
    /// Whether control never goes to the next instruction (of the lanes that run this one).
    pub fn leaves(&self) -> bool {
        matches!(self, Op::Branch { .. } | Op::BranchIndexed { .. } | Op::Exit | Op::Trap)
    }

    /// Whether other warps can notice when this instruction runs: a random schedule may switch warps here.
    pub fn is_visible(&self) -> bool {
        match self {
            Op::Load { transfer, .. } | Op::Store(transfer) => {
                !matches!(transfer.space, Space::Local | Space::Param | Space::Const)
            }
            Op::Atomic(_)
            | Op::CopyAsync { .. }
            | Op::CommitGroup
            | Op::WaitGroup(_)
            | Op::Fence(_)
            | Op::Barrier { .. }
            | Op::WarpBarrier
            | Op::LoadMatrix { .. }
            | Op::StoreMatrix { .. } => true,
            _ => false,
        }
    }
}

/// Bits of one instruction that a warp looks at before it runs it.
#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    pub op: Op,
    pub guard: Option<Slot>,
    /// Where this instruction's operands start in the pool, how many are destinations, and how many sources follow.
    pub operands: u32,
    pub destinations: u8,
    pub sources: u8,
    /// Some source register may be unwritten: ask before running.
    pub asks: bool,
    /// Some destination register is one that other instructions ask about.
    pub tells: bool,
}

/// What is said about an instruction when it fails.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub line: u32,
    pub text: String,
    pub source: Option<String>,
}

/// A value that is there before the first instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Immediate(u64),
    Special(Special),
    /// Address of a variable of the kernel, in its own state space.
    Symbol {
        symbol: u32,
        offset: i64,
    },
}

/// A special register with one value for the whole life of a lane (PTX ISA 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    ThreadIndex(u8),
    BlockSize(u8),
    BlockIndex(u8),
    GridSize(u8),
    Lane,
    Warp,
    WarpCount,
    Multiprocessor,
    MultiprocessorCount,
    LaneMaskEqual,
    LaneMaskLess,
    LaneMaskLessEqual,
    LaneMaskGreater,
    LaneMaskGreaterEqual,
    DynamicShared,
    TotalShared,
}
