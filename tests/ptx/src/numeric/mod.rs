//! Scalar arithmetic of PTX as pure functions on register bits.
//!
//! Every operand and result is an unsigned integer of the operation's width. Half-precision pairs (`f16x2`,
//! `bf16x2`) are a `u32` with the first element in the low half.
//!
//! NaN: where PTX names a canonical NaN this is what comes out: 0x7fffffff for f32, 0x7fff for f16 and bf16. f64
//! results keep what the host computes, since PTX promises NaN payloads for f64 only and kernels must not read
//! them.

mod approximate;
mod convert;
mod float;
mod format;
mod half;
mod integer;

pub use approximate::{
    cos_f32, div_approx_f32, ex2_f32, ex2_half, lg2_f32, rcp_f32_approx, rsqrt_f32, rsqrt_f64, sin_f32,
    sqrt_f32_approx, tanh_f32, tanh_half,
};
pub use convert::{Convert, ConvertRounding, Number, convert};
pub use float::{
    FloatMode, NanRule, abs_f32, add_f32, add_f64, div_f32, div_f64, fma_f32, fma_f64, max_f32, max_f64, min_f32,
    min_f64, mul_f32, mul_f64, neg_f32, rcp_f32, rcp_f64, sqrt_f32, sqrt_f64, sub_f32, sub_f64,
};
pub use format::{Format, Rounding};
pub use half::{HalfMode, HalfType, pairwise};
pub use integer::{
    PermuteMode, bfe_s32, bfe_s64, bfe_u32, bfe_u64, bfi_32, bfi_64, bfind, brev_32, brev_64, dot_2, dot_4,
    funnel_left, funnel_right, lop3, mul_hi, permute, shift_left, shift_right,
};
