use super::harness::{Bench, bytes_of, expect_fault, fault_of, run, run_with};
use obsdiff_ptx::FaultKind;

/// Bytes 0..64 as words.
fn ramp() -> Vec<u32> {
    (0..16u32).map(|word| 0x0302_0100 + 0x0404_0404 * word).collect()
}

#[test]
fn loads_extend_to_the_register() {
    let body = "
        ld.global.u8 %r1, [%d60+3];
        ld.global.s8 %r2, [%d60+4];
        ld.global.s8 %h3, [%d60+4];
        ld.global.u16 %r4, [%d60+4];
        ld.global.s16 %r5, [%d60+4];
        ld.global.s32 %d6, [%d60+4];
        ld.global.b8 %h7, [%d60+4];
        cvt.u32.u16 %r3, %h3;
        cvt.u32.u64 %r8, %d6;
        shr.u64 %d7, %d6, 32;
        cvt.u32.u64 %r9, %d7;
        cvt.u32.u16 %r7, %h7;
        st.global.v4.u32 [%d61], {%r1, %r2, %r3, %r4};
        st.global.v4.u32 [%d61+16], {%r5, %r7, %r8, %r9};";
    let found = run(body, &[0x0102_0304, 0x8081_8283], 1, 8).unwrap();
    assert_eq!(found, [1, 0xffff_ff83, 0xff83, 0x8283, 0xffff_8283, 0x83, 0x8081_8283, 0xffff_ffff]);
}

#[test]
fn vectors_of_all_sizes() {
    let body = "
        ld.global.v2.u8 {%h1, %h2}, [%d60];
        st.global.v2.u8 [%d61], {%h2, %h1};
        ld.global.v4.u8 {%h1, %h2, %h3, %h4}, [%d60+4];
        st.global.v2.b16 [%d61+4], {%h3, %h4};
        st.global.u16 [%d61+2], %h1;
        ld.global.v2.u64 {%d1, %d2}, [%d60+16];
        st.global.v2.b64 [%d61+16], {%d2, %d1};
        ld.global.v4.f32 {%r1, %r2, %r3, %r4}, [%d60+32];
        st.global.v4.b32 [%d61+32], {%r4, %r3, %r2, %r1};
        ld.global.v2.f32 {%r5, %r6}, [%d60+48];
        st.global.v2.f32 [%d61+48], {%r6, %r5};
        ld.global.u64 %d3, [%d60+56];
        st.global.u64 [%d61+8], %d3;
        st.global.u64 [%d61+56], %d3;";
    let x = ramp();
    let expected = [
        0x0004_0001,
        0x0007_0006,
        x[14],
        x[15],
        x[6],
        x[7],
        x[4],
        x[5],
        x[11],
        x[10],
        x[9],
        x[8],
        x[13],
        x[12],
        x[14],
        x[15],
    ];
    assert_eq!(run(body, &x, 1, 16).unwrap(), expected);
}

#[test]
fn eight_words_at_once() {
    let body = "
        ld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%d60];
        st.global.v8.b32 [%d61], {%r8, %r7, %r6, %r5, %r4, %r3, %r2, %r1};";
    let mut expected: Vec<u32> = ramp()[..8].to_vec();
    expected.reverse();
    assert_eq!(run(body, &ramp(), 1, 8).unwrap(), expected);
}

#[test]
fn modifiers_without_effect_on_values() {
    for load in [
        "ld.global.ca.u32",
        "ld.global.cg.u32",
        "ld.global.nc.u32",
        "ld.global.nc.L1::no_allocate.L2::128B.u32",
        "ld.global.L1::evict_last.u32",
        "ld.volatile.global.u32",
        "ld.relaxed.gpu.global.u32",
        "ld.acquire.sys.global.u32",
        "ld.weak.global.u32",
        "ld.global.L2::256B.b32",
        "ld.u32",
        "ld.volatile.u32",
        "ld.global.cs.f32",
    ] {
        let found = run(&format!("{load} %r1, [%d60+4];\nst.global.u32 [%d61], %r1;"), &ramp(), 1, 1);
        assert_eq!(found.unwrap(), [ramp()[1]], "{load}");
    }
    for store in [
        "st.global.wb.u32",
        "st.global.cg.u32",
        "st.volatile.global.u32",
        "st.relaxed.cta.global.u32",
        "st.release.gpu.global.u32",
        "st.weak.global.u32",
        "st.global.L1::no_allocate.b32",
        "st.u32",
        "st.global.cs.f32",
    ] {
        assert_eq!(run(&format!("{store} [%d61], %r60;"), &[], 1, 1).unwrap(), [0], "{store}");
    }
    let prefetches = "prefetch.global.L1 [%d60];\nprefetch.global.L2 [%d60+4];\nprefetch.L2 [%d60];";
    assert_eq!(run(&format!("{prefetches}\nst.global.u32 [%d61], %r60;"), &ramp(), 1, 1).unwrap(), [0]);
}

#[test]
fn a_prefetch_is_checked_like_an_access() {
    let fault = expect_fault("prefetch.global.L2 [%d60+5000];", 1, FaultKind::OutOfBounds);
    assert!(fault.to_string().contains("904 past the end of `in`"), "{fault}");
}

#[test]
fn local_memory_is_each_lanes_own() {
    let body = "
        .local .align 8 .b8 depot[16];
        mov.u64 %d1, depot;
        cvta.local.u64 %d2, %d1;
        st.local.u32 [%d1+4], %r60;
        st.u32 [%d2+8], 7;
        ld.u32 %r1, [%d2+4];
        ld.local.u32 %r2, [%d1+8];
        add.u32 %r3, %r1, %r2;
        mad.wide.u32 %d3, %r60, 4, %d61;
        st.global.u32 [%d3], %r3;";
    let expected: Vec<u32> = (0..64).map(|lane| lane + 7).collect();
    assert_eq!(run(body, &[], 64, 64).unwrap(), expected);
    expect_fault(".local .b8 depot[16];\nld.local.u8 %r1, [depot+3];", 1, FaultKind::UninitialisedLocal);
    expect_fault(".local .b8 depot[16];\nst.local.u8 [depot+16], %h1;\n", 1, FaultKind::UninitialisedRegister);
    expect_fault(".local .b8 depot[16];\nst.local.u8 [depot+16], %r60;", 1, FaultKind::OutOfBounds);
}

#[test]
fn variables_of_the_module_keep_their_values_between_launches() {
    let before = ".global .align 4 .u32 counter = 3;\n.global .align 8 .b8 zeros[16];\n.const .f32 table[2] = {0f3F800000, 0f40000000};";
    let body = "
        ld.global.u32 %r1, [counter];
        add.u32 %r2, %r1, 1;
        st.global.u32 [counter], %r2;
        ld.const.f32 %r3, [table+4];
        mov.u64 %d1, zeros+8;
        ld.global.u32 %r4, [%d1+4];
        st.global.u32 [%d61], %r1;
        st.global.u32 [%d61+4], %r3;
        st.global.u32 [%d61+8], %r4;";
    let mut bench = Bench::new(before, body, &[], 12);
    for round in 0..3 {
        bench.launch(1, 1, 0).unwrap();
        assert_eq!(bench.output_words(), [3 + round, 0x4000_0000, 0]);
    }
}

#[test]
fn constants_cannot_be_written() {
    let before = ".const .u32 five = 5;";
    let body = "mov.u64 %d1, five;\ncvta.const.u64 %d2, %d1;\nst.u32 [%d2], %r60;";
    assert_eq!(fault_of(before, body, 1, 1).kind, FaultKind::BadPointerSpace);
}

#[test]
fn accesses_out_of_bounds_name_the_allocation() {
    let fault = expect_fault("ld.global.u32 %r1, [%d60+4096];", 1, FaultKind::OutOfBounds);
    assert!(fault.to_string().contains("4 bytes at"), "{fault}");
    assert!(fault.to_string().contains("0 past the end of `in` (4096 bytes)"), "{fault}");
    expect_fault("ld.global.v2.u32 {%r1, %r2}, [%d60+4096];", 1, FaultKind::OutOfBounds);
    expect_fault("st.global.u32 [%d60+-4], %r60;", 1, FaultKind::OutOfBounds);
    let fault = expect_fault("mov.u64 %d1, 0;\nld.global.u8 %r1, [%d1];", 1, FaultKind::OutOfBounds);
    assert!(fault.to_string().contains("null pointer"), "{fault}");
    // Only lane 31 goes too far, and only it is named.
    let fault =
        expect_fault("mad.wide.u32 %d1, %r60, 4, %d60;\nld.global.u32 %r1, [%d1+3972];", 32, FaultKind::OutOfBounds);
    assert_eq!(fault.place.unwrap().lane, Some(31));
}

#[test]
fn shared_variables_have_gaps_between_them() {
    let before = ".shared .align 4 .b8 one[16];\n.shared .align 4 .b8 two[16];";
    let fault = fault_of(before, "st.shared.u32 [one+16], %r60;\nst.shared.u32 [two], %r60;", 1, 1);
    assert_eq!(fault.kind, FaultKind::OutOfBounds);
    assert!(fault.to_string().contains("byte 16 of shared `one` (16 bytes)"), "{fault}");
}

#[test]
fn misaligned_accesses() {
    let fault = expect_fault("ld.global.u32 %r1, [%d60+2];", 1, FaultKind::Misaligned);
    assert!(fault.to_string().contains("4 bytes at byte 2 of `in`"), "{fault}");
    expect_fault("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d60+8];", 1, FaultKind::Misaligned);
    let before = ".shared .align 16 .b8 box[64];";
    assert_eq!(fault_of(before, "st.shared.u64 [box+4], %d60;", 1, 1).kind, FaultKind::Misaligned);
}

#[test]
fn uninitialised_bytes_are_found_to_the_byte() {
    let fault = expect_fault("ld.global.u32 %r1, [%d61];", 1, FaultKind::UninitialisedGlobal);
    assert!(fault.to_string().contains("byte 0 of `out`"), "{fault}");
    let body = "st.global.u8 [%d61], %r60;\nst.global.u16 [%d61+2], %r60;\nld.global.u32 %r1, [%d61];";
    let fault = expect_fault(body, 1, FaultKind::UninitialisedGlobal);
    assert!(fault.to_string().contains("byte 1 of `out`"), "{fault}");
    let before = ".shared .align 4 .b8 box[64];";
    let fault = fault_of(before, "st.shared.u8 [box+4], %r60;\nld.shared.u32 %r1, [box+4];", 1, 1);
    assert_eq!(fault.kind, FaultKind::UninitialisedShared);
    assert!(fault.to_string().contains("byte 5 of shared `box`"), "{fault}");
}

#[test]
fn shared_memory_is_fresh_in_every_block() {
    let before = ".shared .align 4 .b8 box[4];";
    let body = "setp.eq.u32 %p1, %r61, 0;\n@%p1 st.shared.u32 [box], %r60;\nld.shared.u32 %r1, [box];";
    assert_eq!(fault_of(before, body, 2, 1).kind, FaultKind::UninitialisedShared);
}

#[test]
fn registers_are_watched_lane_by_lane() {
    let body = "setp.lt.u32 %p1, %r60, 5;\n@%p1 mov.u32 %r1, 7;\nadd.u32 %r2, %r1, 1;";
    let fault = expect_fault(body, 32, FaultKind::UninitialisedRegister);
    assert!(fault.to_string().contains("`%r1`"), "{fault}");
    assert_eq!(fault.place.unwrap().lane, Some(5));
    expect_fault("@%p7 mov.u32 %r1, 7;", 1, FaultKind::UninitialisedRegister);
    // Both arms write: no complaint.
    let body = "setp.lt.u32 %p1, %r60, 5;\n@%p1 mov.u32 %r1, 7;\n@!%p1 mov.u32 %r1, 8;\nst.global.u32 [%d61], %r1;";
    assert_eq!(run(body, &[], 1, 1).unwrap(), [7]);
}

#[test]
fn pointers_of_another_space() {
    let before = ".shared .align 4 .b8 box[64];";
    let body = "mov.u64 %d1, box;\ncvta.shared.u64 %d2, %d1;\nst.global.u32 [%d2], %r60;";
    assert_eq!(fault_of(before, body, 1, 1).kind, FaultKind::BadPointerSpace);
    let body = "mov.u64 %d1, box;\ncvta.shared.u64 %d2, %d1;\nst.shared.u32 [%d2], %r60;";
    assert_eq!(fault_of(before, body, 1, 1).kind, FaultKind::BadPointerSpace);
    expect_fault("ld.shared.u32 %r1, [%d60];", 1, FaultKind::BadPointerSpace);
    expect_fault("mov.u64 %d1, in;\ncvta.param.u64 %d2, %d1;\nst.u32 [%d2], %r60;", 1, FaultKind::BadPointerSpace);
}

#[test]
fn generic_accesses_of_one_warp_may_go_to_several_spaces() {
    let before = ".shared .align 4 .b8 box[128];";
    let body = "
        mov.u64 %d1, box;
        cvta.shared.u64 %d2, %d1;
        setp.lt.u32 %p1, %r60, 16;
        selp.b64 %d3, %d2, %d61, %p1;
        mad.wide.u32 %d4, %r60, 4, %d3;
        st.u32 [%d4], %r60;
        ld.u32 %r1, [%d4];
        mad.wide.u32 %d5, %r60, 4, %d61;
        st.global.u32 [%d5], %r1;";
    let expected: Vec<u32> = (0..32).collect();
    assert_eq!(run_with(before, body, &[], 32, 32).unwrap(), expected);
}

#[test]
fn races_between_lanes_warps_and_blocks() {
    let race = |body: &str, blocks, threads| {
        let fault = fault_of(".shared .align 4 .b8 box[1024];", body, blocks, threads);
        assert_eq!(fault.kind, FaultKind::Race, "{body}: {fault}");
        fault
    };
    race("st.shared.u32 [box], %r60;", 1, 2);
    race("st.global.u32 [%d61], %r61;", 2, 1);
    race("st.global.u32 [%d61], %r60;\nld.global.u32 %r1, [%d61];", 1, 64);
    let neighbour = "
        mov.u32 %r1, box;
        mad.lo.u32 %r2, %r60, 4, %r1;
        st.shared.u32 [%r2], %r60;
        xor.b32 %r3, %r60, 1;
        mad.lo.u32 %r4, %r3, 4, %r1;";
    let fault = race(&format!("{neighbour}\nld.shared.u32 %r5, [%r4];"), 1, 32);
    assert!(fault.to_string().contains("which nothing orders"), "{fault}");
    // A shuffle does not order memory; a warp barrier does.
    race(&format!("{neighbour}\nshfl.sync.idx.b32 %r6, %r3, 0, 31, -1;\nld.shared.u32 %r5, [%r4];"), 1, 32);
    let synchronised = format!(
        "{neighbour}\nbar.warp.sync -1;\nld.shared.u32 %r5, [%r4];\nmad.wide.u32 %d1, %r60, 4, %d61;\nst.global.u32 [%d1], %r5;"
    );
    let expected: Vec<u32> = (0..32).map(|lane| lane ^ 1).collect();
    assert_eq!(run_with(".shared .align 4 .b8 box[1024];", &synchronised, &[], 32, 32).unwrap(), expected);
    // Neighbouring bytes are no conflict.
    run("mad.wide.u32 %d1, %r60, 1, %d61;\nst.global.u8 [%d1], %r60;", &[], 64, 16).unwrap();
}

#[test]
fn the_noncoherent_path_must_not_see_writes_of_the_launch() {
    let write_first = "st.global.u32 [%d60], %r60;\nld.global.nc.u32 %r1, [%d60];";
    expect_fault(write_first, 1, FaultKind::NonCoherent);
    expect_fault("ld.global.nc.u32 %r1, [%d60];\nst.global.u32 [%d60], %r1;", 1, FaultKind::NonCoherent);
    // Other bytes of the same buffer may be written.
    assert_eq!(
        run("ld.global.nc.u32 %r1, [%d60];\nst.global.u32 [%d60+4], %r1;\nst.global.u32 [%d61], %r1;", &[5, 6], 1, 1)
            .unwrap(),
        [5]
    );
}

#[test]
fn launches_are_ordered() {
    let body = "mad.wide.u32 %d1, %r61, 4, %d61;\nst.global.u32 [%d1], %r61;";
    let mut bench = Bench::new("", body, &bytes_of(&[0]), 16);
    bench.launch(4, 1, 0).unwrap();
    bench.launch(4, 1, 0).unwrap();
    assert_eq!(bench.output_words(), [0, 1, 2, 3]);
}

#[test]
fn bytes_that_a_load_does_not_need_may_be_unwritten() {
    let body = |mask: &str| {
        format!(
            "st.global.u32 [%d61], 1;
            st.global.u32 [%d61+12], 4;
            .pragma \"used_bytes_mask {mask}\";
            ld.global.v4.u32 {{%r1, %r2, %r3, %r4}}, [%d61];
            add.u32 %r5, %r1, %r4;
            st.global.u32 [%d61+4], %r5;
            st.global.u32 [%d61+8], 0;"
        )
    };
    assert_eq!(run(&body("61455"), &[], 1, 4).unwrap(), [1, 5, 0, 4]);
    assert_eq!(run(&body("0xf001"), &[], 1, 4).unwrap(), [1, 5, 0, 4]);
    let fault = run(&body("0xf01f"), &[], 1, 4).unwrap_err();
    assert_eq!(fault.kind, FaultKind::UninitialisedGlobal);
    assert!(fault.to_string().contains("byte 4 of `out`"), "{fault}");
}
