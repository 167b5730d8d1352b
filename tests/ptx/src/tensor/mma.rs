//! `mma.sync.aligned.m16n8k{4,8,16}.row.col`: D = A B + C on the tensor cores (PTX ISA 9.7.14.5).
//!
//! Fragments (PTX ISA 9.7.14.5.6 to 9.7.14.5.8), `r` the register, `h` the half of it, `group = lane >> 2`,
//! `thread = lane & 3`:
//!
//! | matrix | register holds | row | column |
//! |---|---|---|---|
//! | A, 16-bit | two columns | group + 8 (r & 1) | 2 thread + 8 (r >> 1) + h |
//! | A, tf32 | one element | group + 8 (r & 1) | thread + 4 (r >> 1) |
//! | B, 16-bit | two rows | 2 thread + 8 r + h | group |
//! | B, tf32 | one element | thread + 4 r | group |
//! | C and D, f32 | one element | group + 8 (r >> 1) | 2 thread + (r & 1) |
//! | C and D, f16 | two columns | group + 8 r | 2 thread + h |
//!
//! # Arithmetic
//!
//! Products are exact in f64; the k products of an element are summed in f64 in ascending k, C is added last, and
//! the sum is rounded once to nearest. Hardware adds in an order and with a truncation that PTX leaves open, so its
//! last bits differ. Infinities and NaN propagate; a NaN result is the canonical one.

use super::{Lanes, WARP};
use crate::numeric::HalfType;

/// Rows of A, C and D.
pub(super) const M: usize = 16;
/// Columns of B, C and D.
pub(super) const N: usize = 8;
/// Largest number of columns of A (16 stored) and rows of B over all shapes.
pub(super) const MAX_K: usize = 32;

/// Type of the elements of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// IEEE binary16, two per register, the lower column (A) or row (B) in the low half.
    F16,
    /// bfloat16, packed as `F16`.
    Bf16,
    /// One f32 per register whose low 13 bits are ignored.
    Tf32,
}

/// Type of the elements of C and D, which must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accumulator {
    /// Two binary16 per register, the lower column in the low half.
    F16,
    /// One f32 per register.
    F32,
}

/// One dense `mma.sync` shape and type that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        let known = match element {
            Element::F16 => matches!(k, 8 | 16),
            Element::Bf16 => matches!(k, 8 | 16) && accumulator == Accumulator::F32,
            Element::Tf32 => matches!(k, 4 | 8) && accumulator == Accumulator::F32,
        };
        known.then_some(Self { k, element, accumulator })
    }

    /// Registers per lane of A.
    pub fn a_registers(&self) -> usize {
        M * self.k / WARP / self.element.per_register()
    }

    /// Registers per lane of B.
    pub fn b_registers(&self) -> usize {
        N * self.k / WARP / self.element.per_register()
    }

    /// Registers per lane of C, and of D.
    pub fn c_registers(&self) -> usize {
        self.accumulator.registers()
    }

    /// D = A B + C for one warp. The slices hold exactly the registers counted above; anything else panics.
    pub fn run(&self, a: &[Lanes], b: &[Lanes], c: &[Lanes], d: &mut [Lanes]) {
        assert_eq!(a.len(), self.a_registers(), "registers of A");
        let mut dense = [[0.0; MAX_K]; M];
        for (register, slot) in a.iter().enumerate() {
            for lane in 0..WARP {
                let row = (lane >> 2) + 8 * (register & 1);
                let (first, values) = self.element.unpack(slot[lane], lane & 3, register >> 1);
                for (step, value) in values.iter().take(self.element.per_register()).enumerate() {
                    dense[row][first + step] = *value;
                }
            }
        }
        let b = self.element.unpack_b(b, self.k);
        self.accumulator.multiply(&dense, &b, self.k, c, d);
    }
}

impl Element {
    pub(super) fn per_register(self) -> usize {
        match self {
            Element::F16 | Element::Bf16 => 2,
            Element::Tf32 => 1,
        }
    }

    /// The index along k of the first element in a register, and the values in the register. `block` counts the
    /// steps of eight (16-bit) or four (tf32) along k.
    pub(super) fn unpack(self, bits: u32, thread: usize, block: usize) -> (usize, [f64; 2]) {
        let pair = |kind: HalfType| [kind.to_f32(bits as u16).into(), kind.to_f32((bits >> 16) as u16).into()];
        match self {
            Element::F16 => (2 * thread + 8 * block, pair(HalfType::F16)),
            Element::Bf16 => (2 * thread + 8 * block, pair(HalfType::Bf16)),
            Element::Tf32 => (thread + 4 * block, [f32::from_bits(bits & !0x1fff).into(), 0.0]),
        }
    }

    /// B as [k][N].
    pub(super) fn unpack_b(self, b: &[Lanes], k: usize) -> [[f64; N]; MAX_K] {
        assert_eq!(b.len(), N * k / WARP / self.per_register(), "registers of B");
        let mut dense = [[0.0; N]; MAX_K];
        for (register, slot) in b.iter().enumerate() {
            for lane in 0..WARP {
                let (first, values) = self.unpack(slot[lane], lane & 3, register);
                for (step, value) in values.iter().take(self.per_register()).enumerate() {
                    dense[first + step][lane >> 2] = *value;
                }
            }
        }
        dense
    }
}

impl Accumulator {
    pub(super) fn registers(self) -> usize {
        match self {
            Accumulator::F16 => 2,
            Accumulator::F32 => 4,
        }
    }

    /// D = A B + C with A as [M][k], B as [k][N] and C, D as fragments.
    pub(super) fn multiply(self, a: &[[f64; MAX_K]; M], b: &[[f64; N]; MAX_K], k: usize, c: &[Lanes], d: &mut [Lanes]) {
        assert_eq!((c.len(), d.len()), (self.registers(), self.registers()), "registers of C and D");
        let mut sums = [[0.0; N]; M];
        for (sums, a) in sums.iter_mut().zip(a) {
            // A copy of its own, so that the row stays in vector registers.
            let mut row = [0.0; N];
            for (a, b) in a[..k].iter().zip(&b[..k]) {
                for column in 0..N {
                    row[column] += a * b[column];
                }
            }
            *sums = row;
        }
        for (register, (c, d)) in c.iter().zip(d).enumerate() {
            for lane in 0..WARP {
                let (group, column) = (lane >> 2, 2 * (lane & 3));
                d[lane] = match self {
                    Accumulator::F32 => {
                        let sum = sums[group + 8 * (register >> 1)][column + (register & 1)];
                        round_f32(sum + f64::from(f32::from_bits(c[lane])))
                    }
                    Accumulator::F16 => {
                        let sums = &sums[group + 8 * register][column..column + 2];
                        let low = round_f16(sums[0] + f64::from(HalfType::F16.to_f32(c[lane] as u16)));
                        let high = round_f16(sums[1] + f64::from(HalfType::F16.to_f32((c[lane] >> 16) as u16)));
                        u32::from(high) << 16 | u32::from(low)
                    }
                };
            }
        }
    }
}

fn round_f32(sum: f64) -> u32 {
    if sum.is_nan() { 0x7fff_ffff } else { (sum as f32).to_bits() }
}

fn round_f16(sum: f64) -> u16 {
    crate::numeric::Format::F16.round(sum, crate::numeric::Rounding::NearestEven) as u16
}
