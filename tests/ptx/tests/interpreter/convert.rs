use super::harness::{check, f32_bits as f};

#[test]
fn integers_extend_and_truncate() {
    check("cvt.s64.s32 %d0, %r1;", "%d0", &[(&[0xffff_ffff], u64::MAX), (&[7], 7)]);
    check("cvt.u64.u32 %d0, %r1;", "%d0", &[(&[0xffff_ffff], 0xffff_ffff)]);
    check("cvt.u32.u64 %r0, %d1;", "%r0", &[(&[0x1_0000_0005], 5)]);
    check("cvt.u16.u32 %h0, %r1;", "%h0", &[(&[0x12345], 0x2345)]);
    check("cvt.s32.s16 %r0, %h1;", "%r0", &[(&[0x8000], 0xffff_8000)]);
    check("cvt.u32.u16 %r0, %h1;", "%r0", &[(&[0x8000], 0x8000)]);
    check("cvt.s32.s8 %r0, %r1;", "%r0", &[(&[0x180], 0xffff_ff80)]);
    check("cvt.u32.u8 %r0, %r1;", "%r0", &[(&[0x180], 0x80)]);
    check("cvt.s16.s8 %h0, %h1;", "%h0", &[(&[0x80], 0xff80)]);
    check("cvt.u8.u32 %h0, %r1;", "%h0", &[(&[0x1ff], 0xff)]);
    check("cvt.s8.s32 %h0, %r1;", "%h0", &[(&[0x180], 0xff80)]);
    check("cvt.sat.s16.s32 %h0, %r1;", "%h0", &[(&[0x12345], 0x7fff)]);
    check("cvt.sat.u32.s32 %r0, %r1;", "%r0", &[(&[0xffff_ffff], 0)]);
    check("cvt.sat.u8.s32 %r0, %r1;", "%r0", &[(&[300], 255)]);
}

#[test]
fn floats_and_integers() {
    check("cvt.rn.f32.s32 %r0, %r1;", "%r0", &[(&[0xffff_ffff], f(-1.0)), (&[16_777_217], f(16_777_216.0))]);
    check("cvt.rz.f32.u32 %r0, %r1;", "%r0", &[(&[0xffff_ffff], 0x4f7f_ffff)]);
    check("cvt.rn.f32.u64 %r0, %d1;", "%r0", &[(&[1 << 40], f(1.099_511_6e12))]);
    check("cvt.rn.f64.s64 %d0, %d1;", "%d0", &[(&[u64::MAX], (-1f64).to_bits())]);
    check("cvt.rn.f64.s32 %d0, %r1;", "%d0", &[(&[0xffff_fffe], (-2f64).to_bits())]);
    check("cvt.rn.f16.s32 %h0, %r1;", "%h0", &[(&[2], 0x4000)]);
    check("cvt.rzi.s32.f32 %r0, %r1;", "%r0", &[(&[f(-1.9)], 0xffff_ffff), (&[f(1e30)], 0x7fff_ffff)]);
    check("cvt.rni.s32.f32 %r0, %r1;", "%r0", &[(&[f(2.5)], 2), (&[f(3.5)], 4)]);
    check("cvt.rmi.s32.f32 %r0, %r1;", "%r0", &[(&[f(-1.1)], 0xffff_fffe)]);
    check("cvt.rpi.s32.f32 %r0, %r1;", "%r0", &[(&[f(1.1)], 2)]);
    check("cvt.rzi.u32.f32 %r0, %r1;", "%r0", &[(&[f(-1.0)], 0), (&[f(3e9)], 3_000_000_000)]);
    check("cvt.rzi.ftz.u32.f32 %r0, %r1;", "%r0", &[(&[f(3.7)], 3)]);
    check("cvt.rzi.s64.f32 %d0, %r1;", "%d0", &[(&[f(-3.0)], u64::MAX - 2)]);
    check("cvt.rzi.s32.f64 %r0, %d1;", "%r0", &[(&[3.9f64.to_bits()], 3)]);
    check("cvt.rni.s64.f64 %d0, %d1;", "%d0", &[(&[2.5f64.to_bits()], 2)]);
    check("cvt.rzi.s32.f16 %r0, %h1;", "%r0", &[(&[0xc100], 0xffff_fffe)]);
}

#[test]
fn floats_among_each_other() {
    check("cvt.rni.f32.f32 %r0, %r1;", "%r0", &[(&[f(2.5)], f(2.0))]);
    check("cvt.rzi.f32.f32 %r0, %r1;", "%r0", &[(&[f(-2.5)], f(-2.0))]);
    check("cvt.rmi.f32.f32 %r0, %r1;", "%r0", &[(&[f(-2.5)], f(-3.0))]);
    check("cvt.rpi.f64.f64 %d0, %d1;", "%d0", &[(&[2.1f64.to_bits()], 3f64.to_bits())]);
    check("cvt.sat.f32.f32 %r0, %r1;", "%r0", &[(&[f(2.5)], f(1.0)), (&[f(-1.0)], 0)]);
    check("cvt.f64.f32 %d0, %r1;", "%d0", &[(&[f(0.1)], f64::from(0.1f32).to_bits())]);
    check("cvt.rn.f32.f64 %r0, %d1;", "%r0", &[(&[0.1f64.to_bits()], f(0.1))]);
    check("cvt.f32.f16 %r0, %h1;", "%r0", &[(&[0x3c00], f(1.0)), (&[1], f(5.960_464_5e-8))]);
    check("cvt.rn.f16.f32 %h0, %r1;", "%h0", &[(&[f(1.0)], 0x3c00), (&[f(65520.0)], 0x7c00)]);
    check("cvt.rz.f16.f32 %h0, %r1;", "%h0", &[(&[f(65520.0)], 0x7bff)]);
    check("cvt.f32.bf16 %r0, %h1;", "%r0", &[(&[0x3f80], f(1.0))]);
    check("cvt.rn.bf16.f32 %h0, %r1;", "%h0", &[(&[0x3f80_8000], 0x3f80), (&[0x3f81_8000], 0x3f82)]);
    check("cvt.rz.bf16.f32 %h0, %r1;", "%h0", &[(&[0x3f80_ffff], 0x3f80)]);
    check("cvt.rn.relu.bf16.f32 %h0, %r1;", "%h0", &[(&[f(-1.0)], 0)]);
    check("cvt.rna.tf32.f32 %r0, %r1;", "%r0", &[(&[0x3f80_1000], 0x3f80_2000)]);
    check("cvt.f64.f16 %d0, %h1;", "%d0", &[(&[0x3c00], 1f64.to_bits())]);
}

#[test]
fn pairs_put_the_first_operand_above() {
    check("cvt.rn.bf16x2.f32 %r0, %r1, %r2;", "%r0", &[(&[f(2.0), f(1.0)], 0x4000_3f80)]);
    check("cvt.rn.f16x2.f32 %r0, %r1, %r2;", "%r0", &[(&[f(2.0), f(1.0)], 0x4000_3c00)]);
    check("cvt.rz.bf16x2.f32 %r0, %r1, %r2;", "%r0", &[(&[0x3f80_ffff, 0x3f80_ffff], 0x3f80_3f80)]);
    check("cvt.rn.relu.bf16x2.f32 %r0, %r1, %r2;", "%r0", &[(&[f(-2.0), f(1.0)], 0x3f80)]);
}
