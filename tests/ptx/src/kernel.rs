//! A kernel that is ready to run.

use crate::instruction::{Input, Instruction, Note, Slot};

/// An address range of a state space that belongs to one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub name: String,
    pub start: u32,
    pub bytes: u32,
}

/// Where a symbol's address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    /// A `.global` or `.const` variable of the module, by index.
    Module(u32),
    /// An address that is the same in every launch: shared, local, param.
    Fixed(u64),
    /// `extern .shared`: starts where the static shared memory ends.
    DynamicShared,
}

/// One `.param` of the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub offset: u32,
    pub bytes: u32,
}

/// A decoded kernel with every call inlined.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub name: String,
    /// Compute capability of the module: 80 for `sm_80`.
    pub target: u32,
    pub code: Vec<Instruction>,
    pub notes: Vec<Note>,
    /// Destinations and sources of all instructions.
    pub operands: Vec<Slot>,
    /// Per instruction: where a warp that diverges here is whole again; `None` is the end of the kernel.
    pub reconvergence: Vec<Option<u32>>,
    /// Registers that hold a value from the start.
    pub inputs: Vec<(Slot, Input)>,
    pub symbols: Vec<Symbol>,
    pub values: u32,
    pub predicates: u32,
    /// Names of the registers that the code may read before writing, by their index below.
    pub asked: Vec<String>,
    /// The values and predicates among the asked: slot to index.
    pub asked_values: Vec<Option<u32>>,
    pub asked_predicates: Vec<Option<u32>>,
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: u32,
    /// Variables in shared memory, ascending, and where they end.
    pub shared: Vec<Range>,
    pub shared_end: u32,
    /// Alignment of the dynamic shared memory, if the kernel has any.
    pub dynamic_align: Option<u32>,
    /// Variables of the lanes' own memory (parameters of calls too), ascending, and where they end.
    pub local: Vec<Range>,
    pub local_end: u32,
    pub max_threads: Option<[u32; 3]>,
    pub required_threads: Option<[u32; 3]>,
    /// Whether any load goes the non-coherent way.
    pub reads_noncoherent: bool,
}

impl Kernel {
    pub fn destinations(&self, instruction: &Instruction) -> &[Slot] {
        let start = instruction.operands as usize;
        &self.operands[start..start + instruction.destinations as usize]
    }

    pub fn sources(&self, instruction: &Instruction) -> &[Slot] {
        let start = instruction.operands as usize + instruction.destinations as usize;
        &self.operands[start..start + instruction.sources as usize]
    }
}
