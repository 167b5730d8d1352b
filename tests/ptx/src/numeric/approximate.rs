//! The `.approx` functions (PTX ISA 9.7.3 and 9.7.4).
//!
//! The hardware's results differ from the mathematical ones in the last bits (PTX ISA bounds the error) and are not
//! published bit by bit. Here the function is computed in f64 and rounded to nearest: a kernel whose result depends
//! on more than the bound is wrong on hardware too, and tests compare with a tolerance. Special values (zeros,
//! infinities, NaN, the range where `div.approx` gives 0) are those of PTX ISA.
//!
//! `flush` is `.ftz`.

use super::half::HalfType;

/// `ex2.approx.f32`: 2^a.
pub fn ex2_f32(a: u32, flush: bool) -> u32 {
    unimplemented!()
}
/// `lg2.approx.f32`: log2 a.
pub fn lg2_f32(a: u32, flush: bool) -> u32 {
    unimplemented!()
}
/// `sin.approx.f32`.
pub fn sin_f32(a: u32, flush: bool) -> u32 {
    unimplemented!()
}
/// `cos.approx.f32`.
pub fn cos_f32(a: u32, flush: bool) -> u32 {
    unimplemented!()
}
/// `tanh.approx.f32`.
pub fn tanh_f32(a: u32) -> u32 {
    unimplemented!()
}
/// `rcp.approx.f32`: 1 / a.
pub fn rcp_f32_approx(a: u32, flush: bool) -> u32 {
    unimplemented!()
}
/// `rsqrt.approx.f32`: 1 / sqrt a.
pub fn rsqrt_f32(a: u32, flush: bool) -> u32 {
    unimplemented!()
}
/// `rsqrt.approx.f64`.
pub fn rsqrt_f64(a: u64) -> u64 {
    unimplemented!()
}
/// `sqrt.approx.f32`.
pub fn sqrt_f32_approx(a: u32, flush: bool) -> u32 {
    unimplemented!()
}
/// `div.approx.f32`: a (1 / b), which is 0 for 2^126 < |b| < 2^128 (NaN if a is infinite). `div.full.f32` has no
/// such range: use `div_f32`.
pub fn div_approx_f32(a: u32, b: u32, flush: bool) -> u32 {
    unimplemented!()
}
/// `ex2.approx{.ftz}.{f16,bf16}`: 2^a.
pub fn ex2_half(kind: HalfType, a: u16) -> u16 {
    unimplemented!()
}
/// `tanh.approx.{f16,bf16}`.
pub fn tanh_half(kind: HalfType, a: u16) -> u16 {
    unimplemented!()
}
