use super::harness::check;

const M1_16: u64 = 0xffff;
const M1_32: u64 = 0xffff_ffff;
const M1_64: u64 = u64::MAX;

#[test]
fn additions_and_subtractions_wrap() {
    check("add.u16 %h0, %h1, %h2;", "%h0", &[(&[0xffff, 2], 1), (&[3, 4], 7)]);
    check("add.s16 %h0, %h1, %h2;", "%h0", &[(&[0x7fff, 1], 0x8000)]);
    check("add.u32 %r0, %r1, %r2;", "%r0", &[(&[M1_32, 2], 1)]);
    check("add.s32 %r0, %r1, -5;", "%r0", &[(&[3], M1_32 - 1)]);
    check("add.s64 %d0, %d1, %d2;", "%d0", &[(&[M1_64, 2], 1)]);
    check("add.u64 %d0, %d1, 0x100000000;", "%d0", &[(&[1], (1 << 32) + 1)]);
    check("sub.s32 %r0, %r1, %r2;", "%r0", &[(&[3, 5], M1_32 - 1)]);
    check("sub.u16 %h0, %h1, %h2;", "%h0", &[(&[0, 1], M1_16)]);
    check("sub.s64 %d0, %d1, %d2;", "%d0", &[(&[0, 1], M1_64)]);
}

#[test]
fn saturating_additions_stop_at_the_ends() {
    check("add.sat.s32 %r0, %r1, %r2;", "%r0", &[(&[0x7fff_ffff, 1], 0x7fff_ffff), (&[1, 2], 3)]);
    check("sub.sat.s32 %r0, %r1, %r2;", "%r0", &[(&[0x8000_0000, 1], 0x8000_0000)]);
}

#[test]
fn pairs_do_not_carry_into_each_other() {
    check("add.u16x2 %r0, %r1, %r2;", "%r0", &[(&[0x0001_ffff, 0x0001_0001], 0x0002_0000)]);
    check("add.s16x2 %r0, %r1, %r2;", "%r0", &[(&[0x7fff_0001, 0x0001_0001], 0x8000_0002)]);
    check("min.u16x2 %r0, %r1, %r2;", "%r0", &[(&[0xffff_0001, 0x0001_0002], 0x0001_0001)]);
    check("min.s16x2 %r0, %r1, %r2;", "%r0", &[(&[0xffff_0001, 0x0001_0002], 0xffff_0001)]);
    check("max.u16x2 %r0, %r1, %r2;", "%r0", &[(&[0xffff_0001, 0x0001_0002], 0xffff_0002)]);
    check("max.s16x2 %r0, %r1, %r2;", "%r0", &[(&[0xffff_0001, 0x0001_0002], 0x0001_0002)]);
}

#[test]
fn products_have_a_low_a_high_and_a_wide_part() {
    check("mul.lo.s32 %r0, %r1, %r2;", "%r0", &[(&[0x10001, 0x10001], 0x20001)]);
    check("mul.lo.u16 %h0, %h1, %h2;", "%h0", &[(&[0x101, 0x101], 0x201)]);
    check("mul.lo.s64 %d0, %d1, %d2;", "%d0", &[(&[M1_64, 7], M1_64 - 6)]);
    check("mul.hi.u32 %r0, %r1, %r2;", "%r0", &[(&[M1_32, M1_32], 0xffff_fffe)]);
    check("mul.hi.s32 %r0, %r1, %r2;", "%r0", &[(&[M1_32, M1_32], 0), (&[M1_32, 1], M1_32)]);
    check("mul.hi.u16 %h0, %h1, %h2;", "%h0", &[(&[M1_16, M1_16], 0xfffe)]);
    check("mul.hi.u64 %d0, %d1, %d2;", "%d0", &[(&[M1_64, M1_64], M1_64 - 1)]);
    check("mul.hi.s64 %d0, %d1, %d2;", "%d0", &[(&[M1_64, 1], M1_64)]);
    check("mul.wide.u16 %r0, %h1, %h2;", "%r0", &[(&[M1_16, M1_16], 0xfffe_0001)]);
    check("mul.wide.s16 %r0, %h1, %h2;", "%r0", &[(&[M1_16, 2], 0xffff_fffe)]);
    check("mul.wide.u32 %d0, %r1, %r2;", "%d0", &[(&[M1_32, M1_32], 0xffff_fffe_0000_0001)]);
    check("mul.wide.s32 %d0, %r1, %r2;", "%d0", &[(&[M1_32, 2], M1_64 - 1)]);
    check("mad.lo.s32 %r0, %r1, %r2, %r3;", "%r0", &[(&[3, M1_32, 5], 2)]);
    check("mad.lo.u64 %d0, %d1, %d2, %d3;", "%d0", &[(&[3, 4, 5], 17)]);
    check("mad.hi.u32 %r0, %r1, %r2, %r3;", "%r0", &[(&[1 << 31, 4, 5], 7)]);
    check("mad.hi.s32 %r0, %r1, %r2, %r3;", "%r0", &[(&[M1_32, 1, 1], 0)]);
    check("mad.wide.u16 %r0, %h1, %h2, %r3;", "%r0", &[(&[M1_16, 2, 1], 0x1_ffff)]);
    check("mad.wide.s32 %d0, %r1, %r2, %d3;", "%d0", &[(&[M1_32, 2, 1], M1_64)]);
    check("mad.wide.u32 %d0, %r1, %r2, %d3;", "%d0", &[(&[M1_32, 2, 1 << 40], (1 << 40) + 0x1_ffff_fffe)]);
}

#[test]
fn quotients_are_truncated() {
    check("div.s32 %r0, %r1, %r2;", "%r0", &[(&[M1_32 - 6, 2], M1_32 - 2), (&[0x8000_0000, M1_32], 0x8000_0000)]);
    check("div.u32 %r0, %r1, %r2;", "%r0", &[(&[M1_32, 2], 0x7fff_ffff)]);
    check("div.s64 %d0, %d1, %d2;", "%d0", &[(&[M1_64 - 6, 2], M1_64 - 2)]);
    check("div.u64 %d0, %d1, %d2;", "%d0", &[(&[M1_64, 2], M1_64 >> 1)]);
    check("div.s16 %h0, %h1, %h2;", "%h0", &[(&[M1_16 - 6, 2], M1_16 - 2)]);
    check("div.u16 %h0, %h1, %h2;", "%h0", &[(&[M1_16, 2], 0x7fff)]);
    check("rem.s32 %r0, %r1, %r2;", "%r0", &[(&[M1_32 - 6, 2], M1_32), (&[7, 3], 1)]);
    check("rem.u32 %r0, %r1, %r2;", "%r0", &[(&[M1_32, 10], 5)]);
    check("rem.s64 %d0, %d1, %d2;", "%d0", &[(&[M1_64 - 6, 2], M1_64)]);
    check("rem.u64 %d0, %d1, %d2;", "%d0", &[(&[M1_64, 10], 5)]);
}

#[test]
fn signs_and_order() {
    check("neg.s32 %r0, %r1;", "%r0", &[(&[1], M1_32), (&[0x8000_0000], 0x8000_0000)]);
    check("neg.s16 %h0, %h1;", "%h0", &[(&[1], M1_16)]);
    check("neg.s64 %d0, %d1;", "%d0", &[(&[1], M1_64)]);
    check("abs.s32 %r0, %r1;", "%r0", &[(&[M1_32], 1), (&[5], 5)]);
    check("abs.s16 %h0, %h1;", "%h0", &[(&[M1_16], 1)]);
    check("abs.s64 %d0, %d1;", "%d0", &[(&[M1_64], 1)]);
    check("min.s32 %r0, %r1, %r2;", "%r0", &[(&[M1_32, 1], M1_32), (&[2, 1], 1)]);
    check("min.u32 %r0, %r1, %r2;", "%r0", &[(&[M1_32, 1], 1)]);
    check("max.s32 %r0, %r1, %r2;", "%r0", &[(&[M1_32, 1], 1)]);
    check("max.u32 %r0, %r1, %r2;", "%r0", &[(&[M1_32, 1], M1_32)]);
    check("min.s64 %d0, %d1, %d2;", "%d0", &[(&[M1_64, 1], M1_64)]);
    check("max.u64 %d0, %d1, %d2;", "%d0", &[(&[M1_64, 1], M1_64)]);
    check("min.s16 %h0, %h1, %h2;", "%h0", &[(&[M1_16, 1], M1_16)]);
    check("max.u16 %h0, %h1, %h2;", "%h0", &[(&[M1_16, 1], M1_16)]);
    check("sad.s32 %r0, %r1, %r2, %r3;", "%r0", &[(&[M1_32, 1, 10], 12)]);
    check("sad.u32 %r0, %r1, %r2, %r3;", "%r0", &[(&[3, 1, 10], 12)]);
    check("sad.u16 %h0, %h1, %h2, %h3;", "%h0", &[(&[1, 3, 10], 12)]);
}

#[test]
fn logic_works_on_all_widths() {
    check("and.b32 %r0, %r1, %r2;", "%r0", &[(&[0b1100, 0b1010], 0b1000)]);
    check("and.b64 %d0, %d1, -8;", "%d0", &[(&[0xff], 0xf8)]);
    check("and.b16 %h0, %h1, 255;", "%h0", &[(&[0x1234], 0x34)]);
    check("or.b32 %r0, %r1, %r2;", "%r0", &[(&[0b1100, 0b1010], 0b1110)]);
    check("or.b64 %d0, %d1, %d2;", "%d0", &[(&[1 << 40, 1], (1 << 40) + 1)]);
    check("or.b16 %h0, %h1, %h2;", "%h0", &[(&[1, 2], 3)]);
    check("xor.b32 %r0, %r1, %r2;", "%r0", &[(&[0b1100, 0b1010], 0b0110)]);
    check("xor.b64 %d0, %d1, %d2;", "%d0", &[(&[M1_64, 1], M1_64 - 1)]);
    check("not.b32 %r0, %r1;", "%r0", &[(&[1], M1_32 - 1)]);
    check("not.b16 %h0, %h1;", "%h0", &[(&[1], M1_16 - 1)]);
    check("not.b64 %d0, %d1;", "%d0", &[(&[1], M1_64 - 1)]);
    check("lop3.b32 %r0, %r1, %r2, %r3, 0x96;", "%r0", &[(&[0b1100, 0b1010, 0b1001], 0b1111)]);
    check("lop3.b32 %r0, %r1, %r2, %r3, 0x80;", "%r0", &[(&[0b1100, 0b1010, 0b1001], 0b1000)]);
}

#[test]
fn shifts_clamp_or_wrap() {
    check("shl.b32 %r0, %r1, %r2;", "%r0", &[(&[1, 31], 1 << 31), (&[1, 32], 0), (&[3, 31], 1 << 31)]);
    check("shl.b64 %d0, %d1, %r2;", "%d0", &[(&[1, 63], 1 << 63), (&[1, 64], 0)]);
    check("shl.b16 %h0, %h1, 8;", "%h0", &[(&[0x1ff], 0xff00)]);
    check("shr.u32 %r0, %r1, %r2;", "%r0", &[(&[1 << 31, 31], 1), (&[M1_32, 32], 0)]);
    check("shr.s32 %r0, %r1, %r2;", "%r0", &[(&[1 << 31, 31], M1_32), (&[1 << 31, 40], M1_32)]);
    check("shr.b32 %r0, %r1, 4;", "%r0", &[(&[0xf0], 0xf)]);
    check("shr.u64 %d0, %d1, 32;", "%d0", &[(&[1 << 40], 1 << 8)]);
    check("shr.s64 %d0, %d1, 63;", "%d0", &[(&[1 << 63], M1_64)]);
    check("shr.u16 %h0, %h1, 8;", "%h0", &[(&[0xff00], 0xff)]);
    check("shr.s16 %h0, %h1, 8;", "%h0", &[(&[0xff00], 0xffff)]);
    check("shf.l.wrap.b32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x8000_0000, 1, 1], 3), (&[7, 9, 32], 9)]);
    check("shf.l.clamp.b32 %r0, %r1, %r2, %r3;", "%r0", &[(&[7, 9, 40], 7)]);
    check("shf.r.wrap.b32 %r0, %r1, %r2, %r3;", "%r0", &[(&[2, 1, 1], 0x8000_0001), (&[7, 9, 32], 7)]);
    check("shf.r.clamp.b32 %r0, %r1, %r2, %r3;", "%r0", &[(&[7, 9, 40], 9)]);
}

#[test]
fn bits_are_counted_and_moved() {
    check("popc.b32 %r0, %r1;", "%r0", &[(&[0xf0f], 8)]);
    check("popc.b64 %r0, %d1;", "%r0", &[(&[M1_64], 64)]);
    check("clz.b32 %r0, %r1;", "%r0", &[(&[1], 31), (&[0], 32)]);
    check("clz.b64 %r0, %d1;", "%r0", &[(&[1], 63), (&[0], 64)]);
    check("brev.b32 %r0, %r1;", "%r0", &[(&[1], 1 << 31)]);
    check("brev.b64 %d0, %d1;", "%d0", &[(&[1], 1 << 63)]);
    check("bfind.u32 %r0, %r1;", "%r0", &[(&[0x100], 8), (&[0], M1_32)]);
    check("bfind.s32 %r0, %r1;", "%r0", &[(&[M1_32 - 0x100], 8)]);
    check("bfind.shiftamt.u32 %r0, %r1;", "%r0", &[(&[0x100], 23)]);
    check("bfind.u64 %r0, %d1;", "%r0", &[(&[1 << 40], 40)]);
    check("bfind.s64 %r0, %d1;", "%r0", &[(&[M1_64], M1_32)]);
    check("bfe.u32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0xabcd, 4, 8], 0xbc)]);
    check("bfe.s32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0xabcd, 4, 8], 0xffff_ffbc)]);
    check("bfe.u64 %d0, %d1, %r2, %r3;", "%d0", &[(&[0xabcd << 40, 44, 8], 0xbc)]);
    check("bfe.s64 %d0, %d1, 44, 8;", "%d0", &[(&[0xabcd << 40], M1_64 - 0x43)]);
    check("bfi.b32 %r0, %r1, %r2, %r3, %r4;", "%r0", &[(&[0xff, 0, 8, 4], 0xf00)]);
    check("bfi.b64 %d0, %d1, %d2, 40, 8;", "%d0", &[(&[0x1ff, 1], (0xff << 40) + 1)]);
    check("bmsk.clamp.b32 %r0, %r1, %r2;", "%r0", &[(&[4, 8], 0xff0), (&[4, 100], 0xffff_fff0), (&[40, 3], 0)]);
    check("bmsk.wrap.b32 %r0, %r1, %r2;", "%r0", &[(&[36, 8], 0xff0), (&[0, 32], 0)]);
    check("szext.clamp.s32 %r0, %r1, %r2;", "%r0", &[(&[0x80, 8], 0xffff_ff80), (&[0x80, 100], 0x80), (&[5, 0], 0)]);
    check("szext.wrap.u32 %r0, %r1, %r2;", "%r0", &[(&[0x1ff, 8], 0xff), (&[0x1ff, 40], 0xff)]);
}

#[test]
fn bytes_are_permuted_and_multiplied() {
    check("prmt.b32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x3322_1100, 0x7766_5544, 0x7531], 0x7755_3311)]);
    check("prmt.b32 %r0, %r1, %r2, 0x000c;", "%r0", &[(&[0x11, 0x80], 0x1111_11ff)]);
    check("prmt.b32.f4e %r0, %r1, %r2, %r3;", "%r0", &[(&[0x3322_1100, 0x7766_5544, 1], 0x4433_2211)]);
    check("prmt.b32.b4e %r0, %r1, %r2, %r3;", "%r0", &[(&[0x3322_1100, 0x7766_5544, 0], 0x5566_7700)]);
    check("prmt.b32.rc8 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x3322_1100, 0, 2], 0x2222_2222)]);
    check("prmt.b32.ecl %r0, %r1, %r2, %r3;", "%r0", &[(&[0x3322_1100, 0, 2], 0x3322_2222)]);
    check("prmt.b32.ecr %r0, %r1, %r2, %r3;", "%r0", &[(&[0x3322_1100, 0, 2], 0x2222_1100)]);
    check("prmt.b32.rc16 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x3322_1100, 0, 1], 0x3322_3322)]);
    check("dp4a.s32.s32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0xff02_0304, 0x0101_0101, 10], 18)]);
    check("dp4a.u32.u32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0xff02_0304, 0x0101_0101, 10], 274)]);
    check("dp4a.u32.s32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x0000_00ff, 0x0000_00ff, 256], 1)]);
    check("dp2a.lo.s32.s32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0xffff_0002, 0x0000_0103, 1], 6)]);
    check("dp2a.hi.u32.u32 %r0, %r1, %r2, %r3;", "%r0", &[(&[0x0001_0002, 0x0403_0000, 1], 11)]);
}

#[test]
fn narrow_results_leave_no_bits_above() {
    // The sum overflows 16 bits; the wide read of the register afterwards must not see the carry.
    check("add.u16 %h0, %h1, %h2;\ncvt.u32.u16 %r0, %h0;", "%r0", &[(&[0xffff, 1], 0)]);
    check("sub.u32 %r0, %r1, %r2;\ncvt.u64.u32 %d0, %r0;", "%d0", &[(&[0, 1], M1_32)]);
    check("mul.hi.s16 %h0, %h1, %h2;\ncvt.u32.u16 %r0, %h0;", "%r0", &[(&[M1_16, 1], M1_16)]);
}

#[test]
fn carries_go_from_word_to_word() {
    // 64-bit sums, differences and products from 32-bit halves.
    let pack = "mov.b64 %d0, {%r10, %r11};";
    let cases: [[u64; 2]; 4] =
        [[0xffff_ffff, 1], [0x1234_5678_9abc_def0, 0xfedc_ba98_7654_3210], [0, 1], [M1_64, M1_64]];
    for [a, b] in cases {
        let halves = "mov.b64 {%r5, %r6}, %d1;\nmov.b64 {%r7, %r8}, %d2;";
        let add = format!("{halves}\nadd.cc.u32 %r10, %r5, %r7;\naddc.u32 %r11, %r6, %r8;\n{pack}");
        check(&add, "%d0", &[(&[a, b], a.wrapping_add(b))]);
        let sub = format!("{halves}\nsub.cc.s32 %r10, %r5, %r7;\nsubc.s32 %r11, %r6, %r8;\n{pack}");
        check(&sub, "%d0", &[(&[a, b], a.wrapping_sub(b))]);
        // The upper half of a 128-bit product of 64-bit words, by hand.
        let mul = format!(
            "{halves}
            mul.hi.u32 %r10, %r5, %r7;
            mad.lo.cc.u32 %r10, %r5, %r8, %r10;
            madc.hi.u32 %r11, %r5, %r8, 0;
            mad.lo.cc.u32 %r10, %r6, %r7, %r10;
            madc.hi.cc.u32 %r11, %r6, %r7, %r11;
            addc.u32 %r12, 0, 0;
            mad.lo.cc.u32 %r11, %r6, %r8, %r11;
            madc.hi.u32 %r12, %r6, %r8, %r12;
            mov.b64 %d0, {{%r11, %r12}};"
        );
        check(&mul, "%d0", &[(&[a, b], ((u128::from(a) * u128::from(b)) >> 64) as u64)]);
    }
    let wide = "add.cc.u64 %d5, %d1, %d2;\naddc.cc.u64 %d6, 0, 0;\nmad.lo.cc.u64 %d7, %d1, %d2, %d1;\nmadc.hi.u64 %d8, %d1, %d2, 0;\nxor.b64 %d0, %d6, %d8;";
    check(wide, "%d0", &[(&[M1_64, M1_64], M1_64 - 1), (&[1, 2], 0)]);
}
