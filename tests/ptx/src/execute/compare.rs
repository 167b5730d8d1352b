//! Comparisons (PTX ISA 9.7.5, 9.7.6).

use std::cmp::Ordering;

use super::{Run, lanes};
use crate::instruction::{Combine, Comparand, Comparison, IntegerType, NumberClass, Slot, Truth};
use crate::numeric::HalfType;

fn holds(comparison: Comparison, order: Option<Ordering>) -> bool {
    let Some(order) = order else {
        return matches!(
            comparison,
            Comparison::EqualOrNan
                | Comparison::NotEqualOrNan
                | Comparison::LessOrNan
                | Comparison::LessEqualOrNan
                | Comparison::GreaterOrNan
                | Comparison::GreaterEqualOrNan
                | Comparison::AnyNan
        );
    };
    match comparison {
        Comparison::Equal | Comparison::EqualOrNan => order.is_eq(),
        Comparison::NotEqual | Comparison::NotEqualOrNan => order.is_ne(),
        Comparison::Less | Comparison::LessOrNan => order.is_lt(),
        Comparison::LessEqual | Comparison::LessEqualOrNan => order.is_le(),
        Comparison::Greater | Comparison::GreaterOrNan => order.is_gt(),
        Comparison::GreaterEqual | Comparison::GreaterEqualOrNan => order.is_ge(),
        Comparison::BothNumbers => true,
        Comparison::AnyNan => false,
    }
}

#[inline(always)]
fn compare(a: u64, b: u64, comparand: Comparand) -> Option<Ordering> {
    let half = |kind: HalfType, bits: u64| kind.to_f32(bits as u16);
    match comparand {
        Comparand::Integer(IntegerType { bits, signed: true }) => {
            let extend = |value: u64| (value << (64 - bits)) as i64;
            Some(extend(a).cmp(&extend(b)))
        }
        Comparand::Integer(_) => Some(a.cmp(&b)),
        Comparand::Half(kind) | Comparand::HalfPair(kind) => half(kind, a).partial_cmp(&half(kind, b)),
        Comparand::Single { flush } => {
            let value = |bits: u64| {
                let value = f32::from_bits(bits as u32);
                if flush && value.is_subnormal() { 0.0 } else { value }
            };
            value(a).partial_cmp(&value(b))
        }
        Comparand::Double => f64::from_bits(a).partial_cmp(&f64::from_bits(b)),
    }
}

fn combined(truth: u32, with: u32, combine: Option<Combine>) -> u32 {
    match combine {
        None => truth,
        Some(Combine::And) => truth & with,
        Some(Combine::Or) => truth | with,
        Some(Combine::Xor) => truth ^ with,
    }
}

impl Run<'_> {
    /// Lanes for which the comparison holds; of pairs, for the half that is `shift` bits up.
    fn truth(&self, comparison: Comparison, comparand: Comparand, s: &[Slot], shift: u32) -> u32 {
        let (a, b) = (&self.warp.values[s[0].index()], &self.warp.values[s[1].index()]);
        let mut truth = 0;
        for lane in 0..32 {
            let order = compare(a[lane] >> shift, b[lane] >> shift, comparand);
            truth |= u32::from(holds(comparison, order)) << lane;
        }
        truth
    }

    pub(super) fn set_predicate(
        &mut self,
        comparison: Comparison,
        comparand: Comparand,
        combine: Option<Combine>,
        d: &[Slot],
        s: &[Slot],
        mask: u32,
    ) {
        let with = s.get(2).map_or(0, |&slot| self.warp.predicate(slot));
        let truth = self.truth(comparison, comparand, s, 0);
        let second = match comparand {
            Comparand::HalfPair(_) => self.truth(comparison, comparand, s, 16),
            _ => !truth,
        };
        self.warp.set_predicate(d[0], mask, combined(truth, with, combine));
        if let Some(&q) = d.get(1) {
            self.warp.set_predicate(q, mask, combined(second, with, combine));
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn set(
        &mut self,
        comparison: Comparison,
        comparand: Comparand,
        combine: Option<Combine>,
        truth: Truth,
        d: &[Slot],
        s: &[Slot],
        mask: u32,
    ) {
        let with = s.get(2).map_or(0, |&slot| self.warp.predicate(slot));
        let low = combined(self.truth(comparison, comparand, s, 0), with, combine);
        let high = match comparand {
            Comparand::HalfPair(_) => combined(self.truth(comparison, comparand, s, 16), with, combine),
            _ => 0,
        };
        let one = match truth {
            Truth::Ones { bits } => u64::MAX >> (64 - bits),
            Truth::One { bits } => bits,
            Truth::HalfPair(HalfType::F16) => 0x3c00,
            Truth::HalfPair(HalfType::Bf16) => 0x3f80,
            Truth::OnesPair => 0xffff,
        };
        let bit = |mask: u32, lane: usize| u64::from(mask >> lane & 1);
        let result = std::array::from_fn(|lane| (one * bit(low, lane)) | (one * bit(high, lane)) << 16);
        self.warp.set(d[0], mask, &result);
    }

    pub(super) fn test_single(&mut self, class: NumberClass, d: &[Slot], s: &[Slot], mask: u32) {
        self.test(d, s, mask, |bits| in_class(class, f32::from_bits(bits as u32).classify()));
    }

    pub(super) fn test_double(&mut self, class: NumberClass, d: &[Slot], s: &[Slot], mask: u32) {
        self.test(d, s, mask, |bits| in_class(class, f64::from_bits(bits).classify()));
    }

    fn test(&mut self, d: &[Slot], s: &[Slot], mask: u32, test: impl Fn(u64) -> bool) {
        let a = &self.warp.values[s[0].index()];
        let truth = lanes(mask).fold(0, |truth, lane| truth | u32::from(test(a[lane])) << lane);
        self.warp.set_predicate(d[0], mask, truth);
    }
}

/// `testp` (PTX ISA 9.7.3.1). Zero counts as normal there.
fn in_class(class: NumberClass, category: std::num::FpCategory) -> bool {
    use std::num::FpCategory::{Infinite, Nan, Normal, Subnormal, Zero};
    match class {
        NumberClass::Finite => !matches!(category, Infinite | Nan),
        NumberClass::Infinite => category == Infinite,
        NumberClass::Number => category != Nan,
        NumberClass::NotNumber => category == Nan,
        NumberClass::Normal => matches!(category, Normal | Zero),
        NumberClass::Subnormal => category == Subnormal,
    }
}
