//! `mma.sp::ordered_metadata.sync.aligned.m16n8k{16,32}.row.col`: D = A B + C with 2:4 sparse A (PTX ISA 9.7.14.6).
//!
//! Of each four neighbouring columns of a row of A two are stored. The fragment of the stored values is that of a
//! dense A with k / 2 columns, B's that of a dense B with k rows (PTX ISA 9.7.14.6.2). Stored columns
//! 2 q and 2 q + 1 of a row belong to columns 4 q .. 4 q + 4; where, say four bits of metadata: the first index in
//! bits 0 and 1, the second in bits 2 and 3.
//!
//! The metadata register of a lane holds 16 columns of row `group` in its low half and the same columns of row
//! `group + 8` in its high half, the leftmost four columns in the lowest bits (PTX ISA 9.7.14.6.1). Which lanes of
//! each group of four are asked depends on the selector:
//!
//! | shape | columns 0..16 | columns 16..32 | selector |
//! |---|---|---|---|
//! | k = 16 | thread = selector | | 0..4 |
//! | k = 32 | thread = 2 selector | thread = 2 selector + 1 | 0..2 |
//!
//! Arithmetic as in the dense product.

use super::mma::{M, MAX_K};
use super::{Accumulator, Element, Lanes, WARP};

/// Why a sparse product is refused: two indices of one group of four columns are not ascending.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        let selectors = match k {
            16 => 4,
            32 => 2,
            _ => return None,
        };
        let known = match element {
            Element::F16 => true,
            Element::Bf16 => accumulator == Accumulator::F32,
            Element::Tf32 => false,
        };
        (known && selector < selectors).then_some(Self { k, element, accumulator, selector: selector as usize })
    }

    /// Registers per lane of A, which holds k / 2 columns.
    pub fn a_registers(&self) -> usize {
        self.k / 8
    }

    /// Registers per lane of B.
    pub fn b_registers(&self) -> usize {
        self.k / 8
    }

    /// Registers per lane of C, and of D.
    pub fn c_registers(&self) -> usize {
        self.accumulator.registers()
    }

    /// D = A B + C for one warp. `metadata` is the register that follows C in the instruction. D is untouched on
    /// an error. Indices must ascend, which PTX asks of `mma.sp::ordered_metadata` only: plain `mma.sp` with
    /// another order is refused, not run.
    pub fn run(
        &self,
        a: &[Lanes],
        b: &[Lanes],
        c: &[Lanes],
        metadata: &Lanes,
        d: &mut [Lanes],
    ) -> Result<(), MetadataError> {
        assert_eq!(a.len(), self.a_registers(), "registers of A");
        let mut dense = [[0.0; MAX_K]; M];
        for (register, slot) in a.iter().enumerate() {
            for lane in 0..WARP {
                let (group, half) = (lane >> 2, register & 1);
                let (stored, values) = self.element.unpack(slot[lane], lane & 3, register >> 1);
                let four = stored / 2;
                let (source, indices) = self.indices(metadata, group, half, four);
                let (row, column) = (group + 8 * half, 4 * four);
                if indices[0] >= indices[1] {
                    return Err(MetadataError { lane: source, row, column, indices });
                }
                for (index, value) in indices.iter().zip(values) {
                    dense[row][column + usize::from(*index)] = value;
                }
            }
        }
        let b = self.element.unpack_b(b, self.k);
        self.accumulator.multiply(&dense, &b, self.k, c, d);
        Ok(())
    }

    /// The lane that holds the metadata of columns 4 `four` .. + 4 of row `group` + 8 `half`, and the two indices.
    fn indices(&self, metadata: &Lanes, group: usize, half: usize, four: usize) -> (usize, [u8; 2]) {
        let lane = 4 * group + if self.k == 16 { self.selector } else { 2 * self.selector + four / 4 };
        let bits = metadata[lane] >> (16 * half + 4 * (four % 4));
        (lane, [(bits & 3) as u8, (bits >> 2 & 3) as u8])
    }
}
