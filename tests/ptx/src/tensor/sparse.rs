//! `mma.sp::ordered_metadata.sync.aligned.m16n8k{16,32}.row.col`: D = A B + C with 2:4 sparse A (PTX ISA 9.7.14.6).

use super::{Accumulator, Element, Lanes};

/// Why a sparse product is undefined: two indices of one group of four columns are not ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataError {
    /// Lane whose metadata register holds the pair.
    pub lane: usize,
    /// Row of A, 0..16.
    pub row: usize,
    /// First of the four columns of A.
    pub column: usize,
    /// The two indices, the first from the lower bits.
    pub indices: [u8; 2],
}

/// One `mma.sp` shape and type that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseMma {
    k: usize,
    element: Element,
    accumulator: Accumulator,
    selector: usize,
}

impl SparseMma {
    /// The instruction `m16n8k{k}` on f16 or bf16 with C and D of type `accumulator` and the immediate sparsity
    /// `selector`; `None` where there is none: k is 16 or 32, bf16 accumulates in f32, the selector is 0..4 for
    /// k = 16 and 0..2 for k = 32.
    pub fn new(k: usize, element: Element, accumulator: Accumulator, selector: u32) -> Option<Self> {
        unimplemented!()
    }

    /// Registers per lane of A, which holds k / 2 columns.
    pub fn a_registers(&self) -> usize {
        unimplemented!()
    }

    /// Registers per lane of B.
    pub fn b_registers(&self) -> usize {
        unimplemented!()
    }

    /// Registers per lane of C, and of D.
    pub fn c_registers(&self) -> usize {
        unimplemented!()
    }

    /// D = A B + C for one warp. `metadata` is the register that follows C in the instruction. D is untouched on
    /// an error. The rule that indices ascend is that of `ordered_metadata`; it is asked of plain `mma.sp` too,
    /// since sm_90 and later give other orders no speed and no meaning that a kernel should rely on.
    pub fn run(
        &self,
        a: &[Lanes],
        b: &[Lanes],
        c: &[Lanes],
        metadata: &Lanes,
        d: &mut [Lanes],
    ) -> Result<(), MetadataError> {
        unimplemented!()
    }
}
