//! Rounding to the dtypes of checkpoints.

/// The dtype that pruned weights are rounded to inside the sweep, so that the rounding error is compensated
/// together with the pruning error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Keep f32.
    None,
    F16,
    BF16,
}

impl Rounding {
    /// `value` rounded to the nearest number of the dtype, ties to even.
    pub fn apply(self, value: f32) -> f32 {
        match self {
            Rounding::None => value,
            Rounding::F16 => to_f16(value),
            Rounding::BF16 => to_bf16(value),
        }
    }
}

/// The nearest bf16 number, ties to even, without branches. NaN stays NaN.
#[inline(always)]
pub(crate) fn to_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    let rounded = f32::from_bits(bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000);
    if value.is_nan() { value } else { rounded }
}

/// The nearest f16 number, ties to even, without branches; infinity from 65520 on. NaN stays NaN.
#[inline(always)]
pub(crate) fn to_f16(value: f32) -> f32 {
    /// Smallest normal f16 number.
    const NORMAL: f32 = 1.0 / 16384.0;
    /// Its last place is worth 2^-24, as that of every subnormal f16 number.
    const SUBNORMAL_ROUNDER: f32 = 0.75;
    /// First number that rounds to infinity.
    const OVERFLOW: f32 = 65520.0;
    let magnitude = value.abs();
    let bits = magnitude.to_bits();
    let normal = f32::from_bits(bits.wrapping_add(0xfff + ((bits >> 13) & 1)) & !0x1fff);
    let subnormal = (magnitude + SUBNORMAL_ROUNDER) - SUBNORMAL_ROUNDER;
    let rounded = if magnitude < NORMAL { subnormal } else { normal };
    let rounded = if magnitude >= OVERFLOW { f32::INFINITY } else { rounded };
    if value.is_nan() { value } else { rounded.copysign(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_equals_the_half_crate_on_every_kind_of_number() {
        // Every exponent with mantissas around each tie, both signs.
        let low_bits = [0u32, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0x1_8000];
        for top in 0..=0x7fffu32 {
            for low in low_bits {
                let value = f32::from_bits((top << 16) ^ low);
                for value in [value, -value] {
                    let (f16, bf16) = (half::f16::from_f32(value).to_f32(), half::bf16::from_f32(value).to_f32());
                    if value.is_nan() {
                        assert!(to_f16(value).is_nan() && to_bf16(value).is_nan());
                    } else {
                        assert_eq!(to_f16(value).to_bits(), f16.to_bits(), "f16 of {value:e}");
                        assert_eq!(to_bf16(value).to_bits(), bf16.to_bits(), "bf16 of {value:e}");
                    }
                }
            }
        }
    }
}
