use super::harness::{check, f32_bits as f, run, run_with};

#[test]
fn moves_pack_and_unpack() {
    check("mov.u32 %r0, %r1;", "%r0", &[(&[7], 7)]);
    check("mov.b64 %d0, {%r1, %r2};", "%d0", &[(&[1, 2], 0x2_0000_0001)]);
    check("mov.b32 %r0, {%h1, %h2};", "%r0", &[(&[1, 2], 0x2_0001)]);
    check("mov.b64 %d0, {%h1, %h2, %h3, %h4};", "%d0", &[(&[1, 2, 3, 4], 0x0004_0003_0002_0001)]);
    check("mov.b64 {%r5, %r6}, %d1;\nsub.u32 %r0, %r6, %r5;", "%r0", &[(&[0x5_0000_0002], 3)]);
    check("mov.b32 {%h5, %h6}, %r1;\nsub.u16 %h0, %h6, %h5;", "%h0", &[(&[0x5_0002], 3)]);
    check("mov.b64 {_, %r0}, %d1;", "%r0", &[(&[0x5_0000_0002], 5)]);
    check("mov.b64 {%r0, _}, %d1;", "%r0", &[(&[0x5_0000_0002], 2)]);
    // Both halves into one register: the upper one stays, and neither disturbs the source.
    check("mov.b64 %d0, {%r1, %r1};", "%d0", &[(&[3], 0x3_0000_0003)]);
}

#[test]
fn immediates_have_the_type_of_the_instruction() {
    check("mov.b32 %r0, 0f3F800000;", "%r0", &[(&[], f(1.0))]);
    check("mov.f32 %r0, 0f3F800000;", "%r0", &[(&[], f(1.0))]);
    check("mov.f64 %d0, 0d3FF0000000000000;", "%d0", &[(&[], 1f64.to_bits())]);
    check("mov.u32 %r0, -1;", "%r0", &[(&[], 0xffff_ffff)]);
    check("mov.u16 %h0, -1;", "%h0", &[(&[], 0xffff)]);
    check("mov.b64 %d0, -1;", "%d0", &[(&[], u64::MAX)]);
    check("mov.u32 %r0, 0x10U;", "%r0", &[(&[], 16)]);
    check("mov.u32 %r0, 0b101;", "%r0", &[(&[], 5)]);
    check("mov.u32 %r0, 010;", "%r0", &[(&[], 8)]);
    check("add.f32 %r0, %r1, 1.5;", "%r0", &[(&[f(1.0)], f(2.5))]);
    check("mov.u32 %r0, WARP_SZ;", "%r0", &[(&[], 32)]);
}

#[test]
fn selections() {
    let set = "setp.ne.s32 %p1, %r3, 0;\n";
    check(&format!("{set}selp.b32 %r0, %r1, %r2, %p1;"), "%r0", &[(&[1, 2, 1], 1), (&[1, 2, 0], 2)]);
    check(&format!("{set}selp.f32 %r0, 0f3F800000, %r2, !%p1;"), "%r0", &[(&[1, 2, 0], f(1.0))]);
    check(&format!("{set}selp.s64 %d0, %d1, %d2, %p1;"), "%d0", &[(&[1 << 40, 2, 1], 1 << 40)]);
    check(&format!("{set}selp.u16 %h0, 1, 0, %p1;"), "%h0", &[(&[0, 0, 1], 1)]);
    check("slct.u32.s32 %r0, %r1, %r2, %r3;", "%r0", &[(&[1, 2, 0], 1), (&[1, 2, 0xffff_ffff], 2)]);
    check(
        "slct.f32.f32 %r0, %r1, %r2, %r3;",
        "%r0",
        &[(&[1, 2, f(-1.0)], 2), (&[1, 2, f(0.5)], 1), (&[1, 2, 0x7fc0_0000], 2)],
    );
}

#[test]
fn special_registers_describe_the_thread() {
    let store = |register: &str| {
        format!("mov.u32 %r1, {register};\nmad.wide.u32 %d1, %r60, 4, %d61;\nst.global.u32 [%d1], %r1;")
    };
    let lanes = |register: &str| run(&store(register), &[], 40, 40).unwrap();
    assert_eq!(lanes("%tid.x")[39], 39);
    assert_eq!(lanes("%tid.y")[39], 0);
    assert_eq!(lanes("%ntid.x")[0], 40);
    assert_eq!(lanes("%nctaid.x")[0], 1);
    assert_eq!(lanes("%laneid")[33], 1);
    assert_eq!(lanes("%warpid")[33], 1);
    assert_eq!(lanes("%nwarpid")[33], 2);
    assert_eq!(lanes("%lanemask_eq")[3], 8);
    assert_eq!(lanes("%lanemask_lt")[3], 7);
    assert_eq!(lanes("%lanemask_le")[3], 15);
    assert_eq!(lanes("%lanemask_gt")[3], 0xffff_fff0);
    assert_eq!(lanes("%lanemask_ge")[3], 0xffff_fff8);
    assert_eq!(lanes("%lanemask_gt")[31], 0);
    assert_eq!(lanes("%lanemask_le")[31], u32::MAX);
    assert_eq!(lanes("%dynamic_smem_size")[0], 0);
    assert!(lanes("%smid")[0] < lanes("%nsmid")[0]);
}

#[test]
fn clocks_advance() {
    for (register, suffix, load) in [("%clock", "u32", "%r"), ("%clock64", "u64", "%d"), ("%globaltimer", "u64", "%d")]
    {
        let body = format!(
            "mov.{suffix} {load}5, {register};\nmov.{suffix} {load}6, {register};\nsetp.gt.{suffix} %p0, {load}6, {load}5;"
        );
        check(&body, "%p0", &[(&[], 1)]);
    }
    check(
        "mov.u32 %r5, %globaltimer_hi;\nmov.u32 %r6, %globaltimer_lo;\nsetp.le.u32 %p0, %r5, %r6;",
        "%p0",
        &[(&[], 1)],
    );
}

#[test]
fn generic_addresses_lead_back_to_their_space() {
    let before = ".shared .align 4 .b8 box[8];\n.const .align 4 .u32 five = 5;";
    let body = "
        mov.u32 %r1, box;
        st.shared.u32 [%r1+4], 9;
        mov.u64 %d1, box;
        cvta.shared.u64 %d2, %d1;
        ld.u32 %r2, [%d2+4];
        st.global.u32 [%d61], %r2;
        cvta.to.shared.u64 %d3, %d2;
        ld.shared.u32 %r3, [%d3+4];
        st.global.u32 [%d61+4], %r3;
        isspacep.shared %p1, %d2;
        isspacep.global %p2, %d2;
        isspacep.global %p3, %d61;
        selp.u32 %r4, 1, 0, %p1;
        selp.u32 %r5, 1, 0, %p2;
        selp.u32 %r6, 1, 0, %p3;
        st.global.v2.u32 [%d61+8], {%r4, %r5};
        st.u32 [%d61+16], %r6;
        cvta.const.u64 %d4, five;
        ld.u32 %r7, [%d4];
        st.global.u32 [%d61+20], %r7;
        isspacep.const %p4, %d4;
        selp.u32 %r8, 1, 0, %p4;
        st.global.u32 [%d61+24], %r8;
        cvta.to.global.u64 %d5, %d60;
        ld.global.u32 %r9, [%d5];
        st.global.u32 [%d61+28], %r9;";
    assert_eq!(run_with(before, body, &[77], 1, 8).unwrap(), [9, 9, 1, 0, 1, 5, 1, 77]);
}
