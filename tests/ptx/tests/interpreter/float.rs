use super::harness::{check, f32_bits as f};

const NAN: u64 = 0x7fff_ffff;
const TINY: u64 = 1;

fn g(value: f64) -> u64 {
    value.to_bits()
}

#[test]
fn single_arithmetic_rounds_as_told() {
    let third = f(1.0 / 3.0);
    check("add.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.5), f(2.25)], f(3.75))]);
    check("add.rn.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.0), 0x3300_0000], f(1.0))]);
    check("add.rz.f32 %r0, %r1, %r2;", "%r0", &[(&[f(-1.0), 0x3300_0000], 0xbf7f_ffff)]);
    check("add.rm.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.0), 0xb300_0000], 0x3f7f_ffff)]);
    check("add.rp.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.0), 0x3300_0000], 0x3f80_0001)]);
    check("add.ftz.f32 %r0, %r1, %r2;", "%r0", &[(&[TINY, TINY], 0)]);
    check("add.sat.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.0), f(2.0)], f(1.0)), (&[f(-1.0), 0], 0)]);
    check("sub.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.5), f(2.25)], f(-0.75))]);
    check("mul.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.5), f(2.0)], f(3.0))]);
    check("mul.ftz.f32 %r0, %r1, 0f3F000000;", "%r0", &[(&[0x0080_0000], 0)]);
    check("fma.rn.f32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x3f80_0003, 0x3f80_0003, f(-1.0)], 0x3540_0002)]);
    check("fma.rz.f32 %r0, %r1, %r2, %r3;", "%r0", &[(&[f(1.0), f(1.0), 0xb300_0000], 0x3f7f_ffff)]);
    check("mad.rn.f32 %r0, %r1, %r2, %r3;", "%r0", &[(&[f(2.0), f(3.0), f(4.0)], f(10.0))]);
    check("div.rn.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.0), f(3.0)], third)]);
    check("div.rz.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.0), f(3.0)], third - 1)]);
    check("div.approx.f32 %r0, %r1, %r2;", "%r0", &[(&[f(6.0), f(2.0)], f(3.0)), (&[f(1.0), f(1.5e38)], 0)]);
    check("div.full.f32 %r0, %r1, %r2;", "%r0", &[(&[f(6.0), f(2.0)], f(3.0))]);
    check("rcp.rn.f32 %r0, %r1;", "%r0", &[(&[f(3.0)], third)]);
    check("rcp.approx.ftz.f32 %r0, %r1;", "%r0", &[(&[f(4.0)], f(0.25)), (&[TINY], f(f32::INFINITY))]);
    check("sqrt.rn.f32 %r0, %r1;", "%r0", &[(&[f(2.0)], f(std::f32::consts::SQRT_2)), (&[f(-1.0)], NAN)]);
    check("sqrt.approx.f32 %r0, %r1;", "%r0", &[(&[f(9.0)], f(3.0))]);
    check("rsqrt.approx.f32 %r0, %r1;", "%r0", &[(&[f(4.0)], f(0.5)), (&[0], f(f32::INFINITY))]);
}

#[test]
fn single_functions() {
    check("ex2.approx.f32 %r0, %r1;", "%r0", &[(&[f(3.0)], f(8.0)), (&[f(f32::NEG_INFINITY)], 0)]);
    check("ex2.approx.ftz.f32 %r0, %r1;", "%r0", &[(&[f(-140.0)], 0)]);
    check("lg2.approx.f32 %r0, %r1;", "%r0", &[(&[f(8.0)], f(3.0)), (&[f(-1.0)], NAN)]);
    check("sin.approx.f32 %r0, %r1;", "%r0", &[(&[0], 0)]);
    check("cos.approx.f32 %r0, %r1;", "%r0", &[(&[0], f(1.0))]);
    check("tanh.approx.f32 %r0, %r1;", "%r0", &[(&[0], 0), (&[f(100.0)], f(1.0))]);
    check("min.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.0), NAN], f(1.0)), (&[0, 0x8000_0000], 0x8000_0000)]);
    check("min.NaN.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.0), NAN], NAN)]);
    check("max.ftz.f32 %r0, %r1, %r2;", "%r0", &[(&[TINY, 0], 0)]);
    check("max.f32 %r0, %r1, %r2;", "%r0", &[(&[f(1.0), f(2.0)], f(2.0))]);
    check("neg.f32 %r0, %r1;", "%r0", &[(&[f(1.0)], f(-1.0))]);
    check("abs.ftz.f32 %r0, %r1;", "%r0", &[(&[f(-1.0)], f(1.0)), (&[0x8000_0001], 0)]);
    check("copysign.f32 %r0, %r1, %r2;", "%r0", &[(&[f(-1.0), f(3.0)], f(-3.0))]);
}

#[test]
fn double_arithmetic() {
    check("add.f64 %d0, %d1, %d2;", "%d0", &[(&[g(1.5), g(2.0)], g(3.5))]);
    check("add.rn.f64 %d0, %d1, %d2;", "%d0", &[(&[g(1.5), g(2.0)], g(3.5))]);
    check("sub.f64 %d0, %d1, %d2;", "%d0", &[(&[g(1.5), g(2.0)], g(-0.5))]);
    check("mul.f64 %d0, %d1, 0d4000000000000000;", "%d0", &[(&[g(1.5)], g(3.0))]);
    check("fma.rn.f64 %d0, %d1, %d2, %d3;", "%d0", &[(&[g(2.0), g(3.0), g(0.5)], g(6.5))]);
    check("div.rn.f64 %d0, %d1, %d2;", "%d0", &[(&[g(1.0), g(3.0)], g(1.0 / 3.0))]);
    check("rcp.rn.f64 %d0, %d1;", "%d0", &[(&[g(3.0)], g(1.0 / 3.0))]);
    check("rcp.approx.ftz.f64 %d0, %d1;", "%d0", &[(&[g(4.0)], g(0.25)), (&[g(3.0)], 0x3fd5_5555_0000_0000)]);
    check("sqrt.rn.f64 %d0, %d1;", "%d0", &[(&[g(2.0)], g(std::f64::consts::SQRT_2))]);
    check("rsqrt.approx.ftz.f64 %d0, %d1;", "%d0", &[(&[g(4.0)], g(0.5)), (&[g(-1.0)], 0x7fff_ffff_0000_0000)]);
    check("rsqrt.approx.f64 %d0, %d1;", "%d0", &[(&[g(4.0)], g(0.5))]);
    check("min.f64 %d0, %d1, %d2;", "%d0", &[(&[g(1.5), g(2.0)], g(1.5))]);
    check("max.f64 %d0, %d1, %d2;", "%d0", &[(&[g(1.5), g(2.0)], g(2.0))]);
    check("neg.f64 %d0, %d1;", "%d0", &[(&[g(1.5)], g(-1.5))]);
    check("abs.f64 %d0, %d1;", "%d0", &[(&[g(-1.5)], g(1.5))]);
    check("copysign.f64 %d0, %d1, %d2;", "%d0", &[(&[g(-1.0), g(3.0)], g(-3.0))]);
}

#[test]
fn half_arithmetic() {
    const ONE: u64 = 0x3c00;
    const TWO: u64 = 0x4000;
    check("add.f16 %h0, %h1, %h2;", "%h0", &[(&[ONE, ONE], TWO)]);
    check("add.rn.ftz.sat.f16 %h0, %h1, %h2;", "%h0", &[(&[ONE, ONE], ONE)]);
    check("sub.f16 %h0, %h1, %h2;", "%h0", &[(&[TWO, ONE], ONE)]);
    check("mul.f16 %h0, %h1, %h2;", "%h0", &[(&[TWO, TWO], 0x4400)]);
    check("fma.rn.f16 %h0, %h1, %h2, %h3;", "%h0", &[(&[TWO, TWO, ONE], 0x4500)]);
    check("fma.rn.relu.f16 %h0, %h1, %h2, %h3;", "%h0", &[(&[TWO, 0xc000, ONE], 0)]);
    check("min.f16 %h0, %h1, %h2;", "%h0", &[(&[TWO, ONE], ONE)]);
    check("max.NaN.f16 %h0, %h1, %h2;", "%h0", &[(&[TWO, 0x7e00], 0x7fff)]);
    check("neg.f16 %h0, %h1;", "%h0", &[(&[ONE], 0xbc00)]);
    check("abs.f16 %h0, %h1;", "%h0", &[(&[0xbc00], ONE)]);
    check("ex2.approx.f16 %h0, %h1;", "%h0", &[(&[ONE], TWO)]);
    check("tanh.approx.f16 %h0, %h1;", "%h0", &[(&[0], 0)]);
    check("add.f16x2 %r0, %r1, %r2;", "%r0", &[(&[0x4000_3c00, 0x3c00_3c00], 0x4200_4000)]);
    check("mul.f16x2 %r0, %r1, %r2;", "%r0", &[(&[0x4000_3c00, 0x4000_4000], 0x4400_4000)]);
    check("fma.rn.f16x2 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x4000_3c00, 0x4000_4000, 0x3c00], 0x4400_4200)]);
    check("max.f16x2 %r0, %r1, %r2;", "%r0", &[(&[0x4000_3c00, 0x3c00_4000], 0x4000_4000)]);
    check("neg.f16x2 %r0, %r1;", "%r0", &[(&[0x4000_3c00], 0xc000_bc00)]);
    check("ex2.approx.f16x2 %r0, %r1;", "%r0", &[(&[0x3c00_0000], 0x4000_3c00)]);
}

#[test]
fn bfloat_arithmetic() {
    const ONE: u64 = 0x3f80;
    const TWO: u64 = 0x4000;
    check("add.bf16 %h0, %h1, %h2;", "%h0", &[(&[ONE, ONE], TWO)]);
    check("add.rn.bf16 %h0, %h1, %h2;", "%h0", &[(&[ONE, ONE], TWO)]);
    check("sub.bf16 %h0, %h1, %h2;", "%h0", &[(&[TWO, ONE], ONE)]);
    check("mul.bf16 %h0, %h1, %h2;", "%h0", &[(&[TWO, TWO], 0x4080)]);
    check("fma.rn.bf16 %h0, %h1, %h2, %h3;", "%h0", &[(&[TWO, TWO, ONE], 0x40a0)]);
    check("min.bf16 %h0, %h1, %h2;", "%h0", &[(&[TWO, ONE], ONE)]);
    check("max.bf16 %h0, %h1, %h2;", "%h0", &[(&[TWO, ONE], TWO)]);
    check("neg.bf16 %h0, %h1;", "%h0", &[(&[ONE], 0xbf80)]);
    check("abs.bf16 %h0, %h1;", "%h0", &[(&[0xbf80], ONE)]);
    check("ex2.approx.ftz.bf16 %h0, %h1;", "%h0", &[(&[ONE], TWO)]);
    check("fma.rn.bf16x2 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x4000_3f80, 0x4000_4000, 0x3f80], 0x4080_4040)]);
    check("fma.rn.relu.bf16x2 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x4000_3f80, 0x4000_c000, 0], 0x4080_0000)]);
    check("mul.bf16x2 %r0, %r1, %r2;", "%r0", &[(&[0x4000_3f80, 0x4000_4000], 0x4080_4000)]);
    check("add.bf16x2 %r0, %r1, %r2;", "%r0", &[(&[0x4000_3f80, 0x3f80_3f80], 0x4040_4000)]);
    check("min.NaN.bf16x2 %r0, %r1, %r2;", "%r0", &[(&[0x7fc0_3f80, 0x3f80_4000], 0x7fff_3f80)]);
}
