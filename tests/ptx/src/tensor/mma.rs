//! `mma.sync.aligned.m16n8k{4,8,16}.row.col`: D = A B + C on the tensor cores (PTX ISA 9.7.14.5).

use super::Lanes;

/// Type of the elements of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE binary16, two per register, the lower column (A) or row (B) in the low half.
    F16,
    /// bfloat16, packed as `F16`.
    Bf16,
    /// One f32 per register whose low 13 bits are ignored.
    Tf32,
}

/// Type of the elements of C and D, which must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulator {
    /// Two binary16 per register, the lower column in the low half.
    F16,
    /// One f32 per register.
    F32,
}

/// One dense `mma.sync` shape and type that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mma {
    k: usize,
    element: Element,
    accumulator: Accumulator,
}

impl Mma {
    /// The instruction `m16n8k{k}` on `element` with C and D of type `accumulator`; `None` where PTX has none or
    /// this interpreter does not run it. Known: f16 with k = 8, 16 and either accumulator; bf16 with k = 8, 16 and
    /// f32; tf32 with k = 4, 8 and f32.
    pub fn new(k: usize, element: Element, accumulator: Accumulator) -> Option<Self> {
        unimplemented!()
    }

    /// Registers per lane of A.
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

    /// D = A B + C for one warp. The slices hold exactly the registers counted above; anything else panics.
    pub fn run(&self, a: &[Lanes], b: &[Lanes], c: &[Lanes], d: &mut [Lanes]) {
        unimplemented!()
    }
}
