//! Integer and bit operations that Rust has no single method for (PTX ISA 9.7.1, 9.7.8).

/// Selection of `prmt` (PTX ISA 9.7.9.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PermuteMode {
    /// No mode: four selectors of four bits each, bit 3 replicates the sign of the selected byte.
    #[default]
    Index,
    /// `.f4e`: forward 4 extract.
    Forward4,
    /// `.b4e`: backward 4 extract.
    Backward4,
    /// `.rc8`: replicate 8.
    Replicate8,
    /// `.ecl`: edge clamp left.
    EdgeLeft,
    /// `.ecr`: edge clamp right.
    EdgeRight,
    /// `.rc16`: replicate 16.
    Replicate16,
}

/// `prmt.b32 d, a, b, c`: bytes of {b, a} picked by `selector`.
pub fn permute(a: u32, b: u32, selector: u32, mode: PermuteMode) -> u32 {
    unimplemented!()
}
/// `bfe.u32 d, a, position, length`.
pub fn bfe_u32(a: u32, position: u32, length: u32) -> u32 {
    unimplemented!()
}
/// `bfe.s32`.
pub fn bfe_s32(a: u32, position: u32, length: u32) -> u32 {
    unimplemented!()
}
/// `bfe.u64`.
pub fn bfe_u64(a: u64, position: u32, length: u32) -> u64 {
    unimplemented!()
}
/// `bfe.s64`.
pub fn bfe_s64(a: u64, position: u32, length: u32) -> u64 {
    unimplemented!()
}
/// `bfi.b32 f, a, b, position, length`: the low bits of `a` inserted into `b`.
pub fn bfi_32(a: u32, b: u32, position: u32, length: u32) -> u32 {
    unimplemented!()
}
/// `bfi.b64`.
pub fn bfi_64(a: u64, b: u64, position: u32, length: u32) -> u64 {
    unimplemented!()
}
/// `bfind{.shiftamt}.{u,s}{bits}`: place of the most significant non-sign bit, 0xffffffff if none. `bits` is 32
/// or 64.
pub fn bfind(a: u64, bits: u32, signed: bool, shift_amount: bool) -> u32 {
    unimplemented!()
}
/// `brev.b32`.
pub fn brev_32(a: u32) -> u32 {
    a.reverse_bits()
}
/// `brev.b64`.
pub fn brev_64(a: u64) -> u64 {
    a.reverse_bits()
}
/// `lop3.b32 d, a, b, c, table`.
pub fn lop3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    unimplemented!()
}
/// `shf.l.{clamp,wrap}.b32 d, a, b, c`: the upper half of {b, a} << c.
pub fn funnel_left(a: u32, b: u32, c: u32, wrap: bool) -> u32 {
    unimplemented!()
}
/// `shf.r.{clamp,wrap}.b32 d, a, b, c`: the lower half of {b, a} >> c.
pub fn funnel_right(a: u32, b: u32, c: u32, wrap: bool) -> u32 {
    unimplemented!()
}
/// `shl.b{bits}`: amounts above the width give 0. `bits` is 16, 32 or 64.
pub fn shift_left(a: u64, amount: u32, bits: u32) -> u64 {
    unimplemented!()
}
/// `shr.{u,s}{bits}`: amounts above the width give 0, or the sign in every bit. `bits` is 16, 32 or 64.
pub fn shift_right(a: u64, amount: u32, bits: u32, signed: bool) -> u64 {
    unimplemented!()
}
/// `dp4a d, a, b, c`: c plus the sum of four byte products, modulo 2^32.
pub fn dot_4(a: u32, a_signed: bool, b: u32, b_signed: bool, c: u32) -> u32 {
    unimplemented!()
}
/// `dp2a.{lo,hi} d, a, b, c`: c plus two products of a 16-bit half of `a` with a byte of the chosen half of `b`.
pub fn dot_2(a: u32, a_signed: bool, b: u32, b_signed: bool, high: bool, c: u32) -> u32 {
    unimplemented!()
}
/// `mul.hi.{u,s}{bits}`: the upper `bits` of the double-width product. `bits` is 16, 32 or 64; operands and result
/// are in the low bits.
pub fn mul_hi(a: u64, b: u64, bits: u32, signed: bool) -> u64 {
    unimplemented!()
}
