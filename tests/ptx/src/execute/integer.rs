//! Integer arithmetic (PTX ISA 9.7.1, 9.7.2, 9.7.8).

use super::Run;
use crate::instruction::{Carry, CarryOp, Integer1, Integer2, Integer3, IntegerType, Op, Slot};
use crate::numeric::{
    bfe_s32, bfe_s64, bfe_u32, bfe_u64, bfi_32, bfi_64, bfind, brev_32, brev_64, dot_2, dot_4, funnel_left,
    funnel_right, lop3, mul_hi, permute, shift_left, shift_right,
};

/// All ones in the low `bits` bits.
fn ones(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// The low `bits` bits as a signed number.
#[inline(always)]
fn signed(a: u64, bits: u32) -> i64 {
    (a << (64 - bits)) as i64 >> (64 - bits)
}

/// Quotient and remainder. Division by zero gives all ones and the dividend, as NVIDIA GPUs do (PTX leaves it open).
fn divide(a: u64, b: u64, kind: IntegerType) -> (u64, u64) {
    if b == 0 {
        return (u64::MAX, a);
    }
    if kind.signed {
        let (a, b) = (signed(a, kind.bits), signed(b, kind.bits));
        (a.wrapping_div(b) as u64, a.wrapping_rem(b) as u64)
    } else {
        (a / b, a % b)
    }
}

/// Applies `f` to both 16-bit halves.
fn halves(a: u64, b: u64, f: impl Fn(u64, u64) -> u64) -> u64 {
    let low = f(a & 0xffff, b & 0xffff) & 0xffff;
    let high = f(a >> 16 & 0xffff, b >> 16 & 0xffff) & 0xffff;
    high << 16 | low
}

impl Run<'_> {
    pub(super) fn integer1(&mut self, op: Integer1, kind: IntegerType, d: &[Slot], s: &[Slot], mask: u32) {
        let IntegerType { bits, signed: is_signed } = kind;
        let keep = ones(bits);
        match op {
            Integer1::Negate => self.map1(d, s, mask, |a| a.wrapping_neg() & keep),
            Integer1::Absolute => self.map1(d, s, mask, |a| signed(a, bits).wrapping_abs() as u64 & keep),
            Integer1::Not => self.map1(d, s, mask, |a| !a & keep),
            Integer1::CountOnes => self.map1(d, s, mask, |a| u64::from(a.count_ones())),
            Integer1::LeadingZeros => self.map1(d, s, mask, |a| u64::from(a.leading_zeros() - (64 - bits))),
            Integer1::ReverseBits if bits == 32 => self.map1_32(d, s, mask, brev_32),
            Integer1::ReverseBits => self.map1(d, s, mask, brev_64),
            Integer1::FindTop { shift_amount } => {
                self.map1(d, s, mask, |a| u64::from(bfind(a, bits, is_signed, shift_amount)));
            }
        }
    }

    pub(super) fn integer2(&mut self, op: Integer2, kind: IntegerType, d: &[Slot], s: &[Slot], mask: u32) {
        let IntegerType { bits, signed: is_signed } = kind;
        let keep = ones(bits);
        let order = move |a: u64, b: u64| if is_signed { signed(a, bits) < signed(b, bits) } else { a < b };
        match op {
            Integer2::Add => self.map2(d, s, mask, |a, b| a.wrapping_add(b) & keep),
            Integer2::Subtract => self.map2(d, s, mask, |a, b| a.wrapping_sub(b) & keep),
            Integer2::AddSaturating => {
                self.map2_32(d, s, mask, |a, b| (a as i32).saturating_add(b as i32) as u32);
            }
            Integer2::SubtractSaturating => {
                self.map2_32(d, s, mask, |a, b| (a as i32).saturating_sub(b as i32) as u32);
            }
            Integer2::MultiplyLow => self.map2(d, s, mask, |a, b| a.wrapping_mul(b) & keep),
            Integer2::MultiplyHigh => self.map2(d, s, mask, |a, b| mul_hi(a, b, bits, is_signed)),
            Integer2::MultiplyWide => self.map2(d, s, mask, |a, b| wide(a, b, kind)),
            Integer2::Divide => self.map2(d, s, mask, |a, b| divide(a, b, kind).0 & keep),
            Integer2::Remainder => self.map2(d, s, mask, |a, b| divide(a, b, kind).1 & keep),
            Integer2::Minimum => self.map2(d, s, mask, |a, b| if order(b, a) { b } else { a }),
            Integer2::Maximum => self.map2(d, s, mask, |a, b| if order(a, b) { b } else { a }),
            Integer2::And => self.map2(d, s, mask, |a, b| a & b),
            Integer2::Or => self.map2(d, s, mask, |a, b| a | b),
            Integer2::Xor => self.map2(d, s, mask, |a, b| a ^ b),
            Integer2::ShiftLeft => self.map2(d, s, mask, |a, b| shift_left(a, b as u32, bits)),
            Integer2::ShiftRight => self.map2(d, s, mask, |a, b| shift_right(a, b as u32, bits, is_signed)),
            Integer2::AddPair => self.map2(d, s, mask, |a, b| halves(a, b, |a, b| a + b)),
            Integer2::MinimumPair => {
                self.map2(d, s, mask, |a, b| halves(a, b, |a, b| if order(b, a) { b } else { a }));
            }
            Integer2::MaximumPair => {
                self.map2(d, s, mask, |a, b| halves(a, b, |a, b| if order(a, b) { b } else { a }));
            }
        }
    }

    pub(super) fn integer3(&mut self, op: Integer3, kind: IntegerType, d: &[Slot], s: &[Slot], mask: u32) {
        let IntegerType { bits, signed: is_signed } = kind;
        let keep = ones(bits);
        match op {
            Integer3::MultiplyAddLow => self.map3(d, s, mask, |a, b, c| a.wrapping_mul(b).wrapping_add(c) & keep),
            Integer3::MultiplyAddHigh => {
                self.map3(d, s, mask, |a, b, c| mul_hi(a, b, bits, is_signed).wrapping_add(c) & keep);
            }
            Integer3::MultiplyAddWide => {
                self.map3(d, s, mask, |a, b, c| wide(a, b, kind).wrapping_add(c) & ones(2 * bits));
            }
            Integer3::AbsoluteDifference => self.map3(d, s, mask, |a, b, c| {
                let difference = if is_signed { signed(a, bits).abs_diff(signed(b, bits)) } else { a.abs_diff(b) };
                difference.wrapping_add(c) & keep
            }),
            Integer3::Logic(table) => self.map3_32(d, s, mask, |a, b, c| lop3(a, b, c, table)),
            Integer3::FunnelLeft { wrap } => self.map3_32(d, s, mask, |a, b, c| funnel_left(a, b, c, wrap)),
            Integer3::FunnelRight { wrap } => self.map3_32(d, s, mask, |a, b, c| funnel_right(a, b, c, wrap)),
            Integer3::Extract => self.map3(d, s, mask, |a, b, c| {
                let (position, length) = (b as u32, c as u32);
                match (bits, is_signed) {
                    (32, false) => u64::from(bfe_u32(a as u32, position, length)),
                    (32, true) => u64::from(bfe_s32(a as u32, position, length)),
                    (_, false) => bfe_u64(a, position, length),
                    (_, true) => bfe_s64(a, position, length),
                }
            }),
            Integer3::Permute(mode) => self.map3_32(d, s, mask, |a, b, c| permute(a, b, c, mode)),
            Integer3::Dot4 { a_signed, b_signed } => {
                self.map3_32(d, s, mask, |a, b, c| dot_4(a, a_signed, b, b_signed, c));
            }
            Integer3::Dot2 { a_signed, b_signed, high } => {
                self.map3_32(d, s, mask, |a, b, c| dot_2(a, a_signed, b, b_signed, high, c));
            }
        }
    }

    /// `add.cc`, `addc`, `sub.cc`, `subc`, `mad.cc`, `madc`
    pub(super) fn carry(&mut self, carry: Carry, d: &[Slot], s: &[Slot], mask: u32) {
        let IntegerType { bits, signed: is_signed } = carry.kind;
        let keep = ones(bits);
        let flag = if carry.comes_in { self.warp.predicate(s[s.len() - 1]) } else { 0 };
        let values = &self.warp.values;
        let (mut result, mut out) = ([0; 32], 0);
        for lane in 0..32 {
            let operand = |at: usize| values[s[at].index()][lane];
            let (a, b) = (u128::from(operand(0)), u128::from(operand(1)));
            let carried = u128::from(flag >> lane & 1);
            let sum = match carry.op {
                CarryOp::Add => a + b + carried,
                CarryOp::Subtract => a.wrapping_sub(b).wrapping_sub(carried),
                CarryOp::MultiplyAddLow => {
                    u128::from(operand(0).wrapping_mul(operand(1)) & keep) + u128::from(operand(2)) + carried
                }
                CarryOp::MultiplyAddHigh => {
                    u128::from(mul_hi(operand(0), operand(1), bits, is_signed)) + u128::from(operand(2)) + carried
                }
            };
            result[lane] = sum as u64 & keep;
            // Of a difference, the bits above are all ones if it borrows.
            out |= u32::from(sum >> bits & 1 != 0) << lane;
        }
        self.warp.set(d[0], mask, &result);
        if carry.goes_out {
            self.warp.set_predicate(d[1], mask, out);
        }
    }

    /// `bfi`, `bmsk`, `szext`
    pub(super) fn bits(&mut self, op: &Op, d: &[Slot], s: &[Slot], mask: u32) {
        match *op {
            Op::BitInsert { bits } => {
                let values = &self.warp.values;
                let [a, b, c, e] = std::array::from_fn(|at| &values[s[at].index()]);
                let result = std::array::from_fn(|lane| {
                    let (position, length) = (c[lane] as u32, e[lane] as u32);
                    match bits {
                        32 => u64::from(bfi_32(a[lane] as u32, b[lane] as u32, position, length)),
                        _ => bfi_64(a[lane], b[lane], position, length),
                    }
                });
                self.warp.set(d[0], mask, &result);
            }
            Op::BitMask { wrap } => self.map2(d, s, mask, |a, b| {
                let (start, length) = if wrap { (a & 31, b & 31) } else { (a.min(32), b.min(32)) };
                ((1u64 << length) - 1) << start & 0xffff_ffff
            }),
            Op::SignExtend { signed: is_signed, wrap } => self.map2_32(d, s, mask, |a, b| {
                let length = if wrap { b & 31 } else { b };
                match (length, is_signed) {
                    (0, _) => 0,
                    (32.., _) => a,
                    (_, false) => a & (u32::MAX >> (32 - length)),
                    (_, true) => ((a << (32 - length)) as i32 >> (32 - length)) as u32,
                }
            }),
            _ => unreachable!("only bit-field instructions come here"),
        }
    }
}

/// The product of twice the size.
#[inline(always)]
fn wide(a: u64, b: u64, kind: IntegerType) -> u64 {
    let product =
        if kind.signed { signed(a, kind.bits).wrapping_mul(signed(b, kind.bits)) as u64 } else { a.wrapping_mul(b) };
    product & ones(2 * kind.bits)
}
