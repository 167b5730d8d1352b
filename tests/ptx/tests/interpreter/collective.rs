use super::harness::{expect_fault, run};
use obsdiff_ptx::FaultKind;

const STORE: &str = "mad.wide.u32 %d1, %r60, 4, %d61;\nst.global.u32 [%d1], %r1;";

fn lanes(body: &str) -> Vec<u32> {
    run(&format!("mul.lo.u32 %r2, %r60, 10;\n{body}\n{STORE}"), &[], 32, 32)
        .unwrap_or_else(|fault| panic!("{body}: {fault}"))
}

fn expected(f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(f).collect()
}

#[test]
fn shuffles_of_the_whole_warp() {
    assert_eq!(lanes("shfl.sync.bfly.b32 %r1, %r2, 5, 31, -1;"), expected(|lane| (lane ^ 5) * 10));
    assert_eq!(lanes("shfl.sync.idx.b32 %r1, %r2, 7, 31, -1;"), [70; 32]);
    assert_eq!(
        lanes("shfl.sync.up.b32 %r1, %r2, 3, 0, -1;"),
        expected(|lane| if lane < 3 { lane } else { lane - 3 } * 10)
    );
    assert_eq!(
        lanes("shfl.sync.down.b32 %r1, %r2, 3, 31, -1;"),
        expected(|lane| if lane > 28 { lane } else { lane + 3 } * 10)
    );
    assert_eq!(
        lanes("add.u32 %r3, %r60, 1;\nshfl.sync.idx.b32 %r1, %r2, %r3, 31, -1;"),
        expected(|lane| (lane + 1) % 32 * 10)
    );
}

#[test]
fn shuffles_within_segments_of_eight() {
    // Clamp and segment mask as __shfl_*_sync(..., 8) builds them.
    let clamp = (32 - 8) << 8 | 31;
    let up_clamp = (32 - 8) << 8;
    assert_eq!(
        lanes(&format!("shfl.sync.idx.b32 %r1, %r2, 2, {clamp}, -1;")),
        expected(|lane| (lane / 8 * 8 + 2) * 10)
    );
    let down = |lane: u32| if lane % 8 > 4 { lane } else { lane + 3 } * 10;
    assert_eq!(lanes(&format!("shfl.sync.down.b32 %r1, %r2, 3, {clamp}, -1;")), expected(down));
    let up = |lane: u32| if lane % 8 < 3 { lane } else { lane - 3 } * 10;
    assert_eq!(lanes(&format!("shfl.sync.up.b32 %r1, %r2, 3, {up_clamp}, -1;")), expected(up));
    assert_eq!(lanes(&format!("shfl.sync.bfly.b32 %r1, %r2, 1, {clamp}, -1;")), expected(|lane| (lane ^ 1) * 10));
    // Across a segment's end the predicate is false and the lane keeps its own value.
    let body = format!("shfl.sync.bfly.b32 %r3|%p1, %r2, 8, {clamp}, -1;\nselp.u32 %r1, 1, 0, %p1;");
    assert_eq!(lanes(&body), expected(|lane| u32::from(lane ^ 8 <= (lane / 8 * 8 + 7))));
    let body = "shfl.sync.down.b32 %r3|%p1, %r2, 4, 31, -1;\nselp.u32 %r1, 1, 0, %p1;";
    assert_eq!(lanes(body), expected(|lane| u32::from(lane < 28)));
}

#[test]
fn a_part_of_the_warp_shuffles_under_its_own_mask() {
    let body = "
        mov.u32 %r1, 0;
        setp.lt.u32 %p1, %r60, 16;
        @%p1 bra LOW;
        bra MEET;
        LOW:
        shfl.sync.bfly.b32 %r1, %r2, 1, 31, 0xffff;
        MEET:";
    assert_eq!(lanes(body), expected(|lane| if lane < 16 { (lane ^ 1) * 10 } else { 0 }));
    // Two groups in one instruction.
    let body = "
        setp.lt.u32 %p1, %r60, 16;
        selp.b32 %r3, 0xffff, 0xffff0000, %p1;
        redux.sync.add.u32 %r1, %r60, %r3;";
    assert_eq!(lanes(body), expected(|lane| if lane < 16 { 120 } else { 376 }));
}

#[test]
fn votes() {
    let set = "setp.lt.u32 %p1, %r60, 4;\n";
    let truth = |vote: &str| lanes(&format!("{set}vote.sync.{vote};\nselp.u32 %r1, 1, 0, %p2;"))[31];
    assert_eq!(truth("all.pred %p2, %p1, -1"), 0);
    assert_eq!(truth("any.pred %p2, %p1, -1"), 1);
    assert_eq!(truth("uni.pred %p2, %p1, -1"), 0);
    assert_eq!(truth("any.pred %p2, !%p1, -1"), 1);
    assert_eq!(lanes(&format!("{set}vote.sync.ballot.b32 %r1, %p1, -1;")), [0xf; 32]);
    assert_eq!(lanes(&format!("{set}vote.sync.ballot.b32 %r1, !%p1, -1;")), [0xffff_fff0; 32]);
    assert_eq!(
        lanes("setp.lt.u32 %p1, %r60, 32;\nvote.sync.all.pred %p2, %p1, -1;\nselp.u32 %r1, 1, 0, %p2;"),
        [1; 32]
    );
}

#[test]
fn matches() {
    let quarter = "and.b32 %r3, %r60, 3;\n";
    assert_eq!(
        lanes(&format!("{quarter}match.any.sync.b32 %r1, %r3, -1;")),
        expected(|lane| 0x1111_1111 << (lane % 4))
    );
    assert_eq!(lanes(&format!("{quarter}cvt.u64.u32 %d2, %r3;\nmatch.any.sync.b64 %r1, %d2, -1;"))[1], 0x2222_2222);
    assert_eq!(lanes(&format!("{quarter}match.all.sync.b32 %r1|%p1, %r3, -1;")), [0; 32]);
    assert_eq!(
        lanes("mov.u32 %r3, 4;\nmatch.all.sync.b32 %r4|%p1, %r3, -1;\nselp.u32 %r1, %r4, 0, %p1;"),
        [u32::MAX; 32]
    );
}

#[test]
fn reductions() {
    let reduce = |op: &str| lanes(&format!("sub.u32 %r3, %r60, 5;\nredux.sync.{op} %r1, %r3, -1;"))[9];
    assert_eq!(reduce("add.u32"), 496 - 160);
    assert_eq!(reduce("add.s32"), 496 - 160);
    assert_eq!(reduce("min.s32"), -5i32 as u32);
    assert_eq!(reduce("max.s32"), 26);
    assert_eq!(reduce("min.u32"), 0);
    assert_eq!(reduce("max.u32"), u32::MAX);
    assert_eq!(reduce("or.b32"), u32::MAX);
    assert_eq!(reduce("and.b32"), 0);
    assert_eq!(lanes("redux.sync.xor.b32 %r1, %r60, -1;"), [0; 32]);
}

#[test]
fn one_lane_is_elected() {
    assert_eq!(
        lanes("elect.sync %r3|%p1, -1;\nselp.u32 %r1, 7, %r3, %p1;"),
        expected(|lane| if lane == 0 { 7 } else { 0 })
    );
    assert_eq!(
        lanes("elect.sync _|%p1, -1;\nselp.u32 %r1, 7, 1, %p1;"),
        expected(|lane| if lane == 0 { 7 } else { 1 })
    );
}

#[test]
fn a_missing_lane_is_a_fault() {
    let elsewhere = "setp.lt.u32 %p1, %r60, 16;\n@!%p1 bra END;\n";
    let exited = "setp.lt.u32 %p1, %r60, 16;\n@!%p1 exit;\n";
    for collective in [
        "shfl.sync.bfly.b32 %r1, %r60, 1, 31, -1;",
        "vote.sync.any.pred %p2, %p1, -1;",
        "bar.warp.sync -1;",
        "redux.sync.add.u32 %r1, %r60, -1;",
        "match.any.sync.b32 %r1, %r60, -1;",
        "elect.sync %r1|%p2, -1;",
    ] {
        let fault = expect_fault(&format!("{elsewhere}{collective}\nEND:"), 32, FaultKind::PartialMask);
        assert!(fault.to_string().contains("names lane 16, which is elsewhere"), "{fault}");
        let fault = expect_fault(&format!("{exited}{collective}"), 32, FaultKind::PartialMask);
        assert!(fault.to_string().contains("names lane 16, which has exited"), "{fault}");
        let fault = expect_fault(
            &collective.replace("%p1", "%p2").replacen("vote", "setp.eq.u32 %p2, %r60, 0;\nvote", 1),
            8,
            FaultKind::PartialMask,
        );
        assert!(fault.to_string().contains("does not exist in this block"), "{fault}");
    }
}

#[test]
fn a_lane_must_be_in_its_own_mask() {
    let fault = expect_fault("shfl.sync.idx.b32 %r1, %r60, 0, 31, 0xffff;", 32, FaultKind::PartialMask);
    assert!(fault.to_string().contains("does not name it"), "{fault}");
    let body = "setp.eq.u32 %p1, %r60, 3;\nselp.b32 %r2, 8, -1, %p1;\nbar.warp.sync %r2;";
    let fault = expect_fault(body, 32, FaultKind::PartialMask);
    assert!(fault.to_string().contains("its mask is 0x00000008, that of lane 0"), "{fault}");
    // Reading a lane outside the mask gives an undefined value on hardware.
    let body = "setp.lt.u32 %p1, %r60, 16;\n@!%p1 bra END;\nshfl.sync.idx.b32 %r1, %r60, 20, 31, 0xffff;\nEND:";
    let fault = expect_fault(body, 32, FaultKind::PartialMask);
    assert!(fault.to_string().contains("reads lane 20"), "{fault}");
}

#[test]
fn a_guarded_collective_needs_its_lanes_too() {
    expect_fault("setp.ne.u32 %p1, %r60, 3;\n@%p1 bar.warp.sync -1;", 32, FaultKind::PartialMask);
    run("setp.ne.u32 %p1, %r60, 3;\n@%p1 bar.warp.sync 0xfffffff7;\nst.global.u32 [%d61], 1;", &[], 1, 1).unwrap_err();
}
