//! Moves, selections, conversions.

use super::address::{from_generic, to_generic};
use super::{Run, lanes};
use crate::instruction::{Combine, Op, Slot};
use crate::memory_map::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use crate::numeric::{Convert, ConvertRounding, Number, convert};
use crate::syntax::Space;
use crate::warp::Register;

impl Run<'_> {
    pub(super) fn data(&mut self, op: &Op, d: &[Slot], s: &[Slot], mask: u32) {
        match op {
            Op::Copy => {
                let value = self.warp.values[s[0].index()];
                self.warp.set(d[0], mask, &value);
            }
            Op::SetPredicateTo { value } => {
                self.warp.set_predicate(d[0], mask, if *value { u32::MAX } else { 0 });
            }
            Op::CopyPredicate => {
                let bits = self.warp.predicate(s[0]);
                self.warp.set_predicate(d[0], mask, bits);
            }
            Op::CombinePredicates(combine) => {
                let (a, b) = (self.warp.predicate(s[0]), self.warp.predicate(s[1]));
                let bits = match combine {
                    Combine::And => a & b,
                    Combine::Or => a | b,
                    Combine::Xor => a ^ b,
                };
                self.warp.set_predicate(d[0], mask, bits);
            }
            Op::Pack { bits } => self.pack(*bits, d, s, mask),
            Op::Unpack { bits } => self.unpack(*bits, d, s, mask),
            Op::Select => {
                let chosen = self.warp.predicate(s[2]);
                let (a, b) = (&self.warp.values[s[0].index()], &self.warp.values[s[1].index()]);
                let result = std::array::from_fn(|lane| if chosen >> lane & 1 != 0 { a[lane] } else { b[lane] });
                self.warp.set(d[0], mask, &result);
            }
            Op::SelectBySign { float } => {
                // `slct`: a if c >= 0, else b; a NaN is not >= 0 (PTX ISA 9.7.6.4).
                let at_least_zero =
                    |c: u64| if *float { f32::from_bits(c as u32) >= 0.0 } else { c as u32 as i32 >= 0 };
                self.map3(d, s, mask, |a, b, c| if at_least_zero(c) { a } else { b });
            }
            Op::Clock { bits } => self.broadcast(d, mask, self.time & (u64::MAX >> (64 - bits))),
            Op::GlobalTimer { bits, high } => {
                let time = if *high { self.time >> 32 } else { self.time };
                self.broadcast(d, mask, time & (u64::MAX >> (64 - bits)));
            }
            Op::Convert { convert: operation, keep } => self.convert(operation, *keep, d, s, mask),
            Op::ConvertPair(operation) => {
                self.map2(d, s, mask, |a, b| convert(operation, a) << 16 | convert(operation, b));
            }
            Op::ToGeneric(space) => self.map1(d, s, mask, |a| to_generic(*space, a)),
            Op::FromGeneric(space) => {
                let window = match space {
                    Space::Shared => SHARED_WINDOW,
                    Space::Local => LOCAL_WINDOW,
                    Space::Param => PARAMETER_WINDOW,
                    _ => 0,
                };
                self.map1(d, s, mask, |a| a.wrapping_sub(window));
            }
            Op::IsSpace(space) => {
                let a = &self.warp.values[s[0].index()];
                let inside = |lane: &usize| from_generic(a[*lane]).0 == *space;
                let bits = lanes(mask).filter(inside).fold(0, |bits, lane| bits | 1 << lane);
                self.warp.set_predicate(d[0], mask, bits);
            }
            _ => unreachable!("{op:?} is no register instruction"),
        }
    }

    fn broadcast(&mut self, d: &[Slot], mask: u32, value: u64) {
        self.warp.set(d[0], mask, &[value; 32]);
    }

    fn pack(&mut self, bits: u32, d: &[Slot], s: &[Slot], mask: u32) {
        let mut result: Register = [0; 32];
        for (part, slot) in s.iter().enumerate() {
            let value = &self.warp.values[slot.index()];
            for lane in 0..32 {
                result[lane] |= value[lane] << (part as u32 * bits);
            }
        }
        self.warp.set(d[0], mask, &result);
    }

    fn unpack(&mut self, bits: u32, d: &[Slot], s: &[Slot], mask: u32) {
        let value = self.warp.values[s[0].index()];
        for (part, &slot) in d.iter().enumerate() {
            let part = value.map(|value| value >> (part as u32 * bits) & (u64::MAX >> (64 - bits)));
            self.warp.set(slot, mask, &part);
        }
    }

    fn convert(&mut self, operation: &Convert, keep: u32, d: &[Slot], s: &[Slot], mask: u32) {
        let kept = u64::MAX >> (64 - keep);
        let plain = |to, from| *operation == Convert::new(to, from, ConvertRounding::Exact);
        // The conversions of index arithmetic, which are most of all.
        if plain(Number::S64, Number::S32) {
            return self.map1(d, s, mask, |a| a as u32 as i32 as u64 & kept);
        }
        if plain(Number::U64, Number::U32) || plain(Number::U32, Number::U64) {
            return self.map1(d, s, mask, |a| a & 0xffff_ffff);
        }
        self.map1(d, s, mask, |a| convert(operation, a) & kept);
    }
}
