//! Scalar arithmetic against the `half` crate, the host's own operations, and exact integers.

use obsdiff_ptx::numeric::HalfType;

#[path = "numeric/convert.rs"]
mod convert;
#[path = "numeric/float.rs"]
mod float;
#[path = "numeric/half_precision.rs"]
mod half_precision;
#[path = "numeric/integer.rs"]
mod integer;

/// A reproducible stream of numbers (splitmix64).
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn bits_32(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }
}

/// The bits of the f16 or bf16 nearest to `value`, by search among all of them. The `half` crate goes by way of f32
/// and so rounds twice.
fn nearest_half(kind: HalfType, value: f64) -> u16 {
    if value.is_nan() {
        return 0x7fff;
    }
    let infinity = kind.format().infinity() as u16;
    let step = |bits: u16| f64::from(kind.to_f32(bits)) - f64::from(kind.to_f32(bits - 1));
    // Infinity stands for the power of two that follows the largest finite value.
    let place = |bits: u16| {
        if bits < infinity { kind.to_f32(bits).into() } else { f64::from(kind.to_f32(bits - 1)) + step(bits - 1) }
    };
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let middle = (low + high) / 2;
        *(if place(middle) <= value.abs() { &mut low } else { &mut high }) = middle;
    }
    let tie = (place(low) + place(high)) / 2.0;
    let up = value.abs() > tie || value.abs() == tie && low % 2 == 1;
    (if up { high } else { low }) | if value.is_sign_negative() { 0x8000 } else { 0 }
}

/// f32 values at the edges of everything.
const EDGES: [f32; 20] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    -2.5,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    f32::from_bits(1),
    f32::from_bits(0x8000_0001),
    f32::from_bits(0x007f_ffff),
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    1.0 + f32::EPSILON,
    16_777_216.0,
    -65_520.0,
];
