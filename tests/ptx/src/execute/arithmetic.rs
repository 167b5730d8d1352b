//! Instructions that read and write registers only.

use super::Run;
use crate::instruction::{Op, Slot};
use crate::warp::Register;

impl Run<'_> {
    pub(super) fn compute(&mut self, op: &Op, d: &[Slot], s: &[Slot], mask: u32) {
        match op {
            Op::Integer1(op, kind) => self.integer1(*op, *kind, d, s, mask),
            Op::Integer2(op, kind) => self.integer2(*op, *kind, d, s, mask),
            Op::Integer3(op, kind) => self.integer3(*op, *kind, d, s, mask),
            Op::Carry(carry) => self.carry(*carry, d, s, mask),
            Op::BitInsert { .. } | Op::BitMask { .. } | Op::SignExtend { .. } => self.bits(op, d, s, mask),
            Op::Single1(op) => self.single1(*op, d, s, mask),
            Op::Single2(op) => self.single2(*op, d, s, mask),
            Op::SingleFma(mode) => self.single_fma(*mode, d, s, mask),
            Op::Double1(op) => self.double1(*op, d, s, mask),
            Op::Double2(op) => self.double2(*op, d, s, mask),
            Op::DoubleFma => self.map3(d, s, mask, crate::numeric::fma_f64),
            Op::Half1(op, kind, pair) => self.half1(*op, *kind, *pair, d, s, mask),
            Op::Half2(op, kind, pair) => self.half2(*op, *kind, *pair, d, s, mask),
            Op::HalfFma(mode, kind, pair) => self.half_fma(*mode, *kind, *pair, d, s, mask),
            Op::TestSingle(class) => self.test_single(*class, d, s, mask),
            Op::TestDouble(class) => self.test_double(*class, d, s, mask),
            Op::SetPredicate { comparison, comparand, combine } => {
                self.set_predicate(*comparison, *comparand, *combine, d, s, mask);
            }
            Op::Set { comparison, comparand, combine, truth } => {
                self.set(*comparison, *comparand, *combine, *truth, d, s, mask);
            }
            _ => self.data(op, d, s, mask),
        }
    }

    #[inline(always)]
    pub(super) fn map1(&mut self, d: &[Slot], s: &[Slot], mask: u32, f: impl Fn(u64) -> u64) {
        let a = &self.warp.values[s[0].index()];
        let mut result: Register = [0; 32];
        for lane in 0..32 {
            result[lane] = f(a[lane]);
        }
        self.warp.set(d[0], mask, &result);
    }

    #[inline(always)]
    pub(super) fn map2(&mut self, d: &[Slot], s: &[Slot], mask: u32, f: impl Fn(u64, u64) -> u64) {
        let (a, b) = (&self.warp.values[s[0].index()], &self.warp.values[s[1].index()]);
        let mut result: Register = [0; 32];
        for lane in 0..32 {
            result[lane] = f(a[lane], b[lane]);
        }
        self.warp.set(d[0], mask, &result);
    }

    #[inline(always)]
    pub(super) fn map3(&mut self, d: &[Slot], s: &[Slot], mask: u32, f: impl Fn(u64, u64, u64) -> u64) {
        let values = &self.warp.values;
        let (a, b, c) = (&values[s[0].index()], &values[s[1].index()], &values[s[2].index()]);
        let mut result: Register = [0; 32];
        for lane in 0..32 {
            result[lane] = f(a[lane], b[lane], c[lane]);
        }
        self.warp.set(d[0], mask, &result);
    }

    /// [`Run::map2`] on 32-bit registers.
    #[inline(always)]
    pub(super) fn map2_32(&mut self, d: &[Slot], s: &[Slot], mask: u32, f: impl Fn(u32, u32) -> u32) {
        self.map2(d, s, mask, |a, b| u64::from(f(a as u32, b as u32)));
    }

    #[inline(always)]
    pub(super) fn map1_32(&mut self, d: &[Slot], s: &[Slot], mask: u32, f: impl Fn(u32) -> u32) {
        self.map1(d, s, mask, |a| u64::from(f(a as u32)));
    }

    #[inline(always)]
    pub(super) fn map3_32(&mut self, d: &[Slot], s: &[Slot], mask: u32, f: impl Fn(u32, u32, u32) -> u32) {
        self.map3(d, s, mask, |a, b, c| u64::from(f(a as u32, b as u32, c as u32)));
    }
}
