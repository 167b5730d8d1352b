use super::harness::{Bench, expect_fault, fault_of, run_with};
use obsdiff_ptx::{FaultKind, Schedule};

const BOX: &str = ".shared .align 4 .b8 box[4096];";
const STORE: &str = "mad.wide.u32 %d1, %r60, 4, %d61;\nst.global.u32 [%d1], %r1;";

/// Each thread writes its slot, then reads the one of the thread half a block away, around `barrier`.
fn exchange(barrier: &str) -> String {
    format!(
        "mov.u32 %r5, box;
        mov.u32 %r7, %ntid.x;
        mad.lo.u32 %r2, %r60, 4, %r5;
        st.shared.u32 [%r2], %r60;
        {barrier}
        shr.u32 %r8, %r7, 1;
        add.u32 %r3, %r60, %r8;
        rem.u32 %r3, %r3, %r7;
        mad.lo.u32 %r4, %r3, 4, %r5;
        ld.shared.u32 %r1, [%r4];
        {STORE}"
    )
}

#[test]
fn barriers_order_shared_memory() {
    for barrier in [
        "bar.sync 0;",
        "barrier.sync 0;",
        "barrier.sync.aligned 0;",
        "bar.cta.sync 0;",
        "barrier.cta.sync.aligned 3;",
        "bar.sync 5, 128;",
        "mov.u32 %r9, 2;\nbar.sync %r9;",
        "bar.red.popc.u32 %r9, 0, %p1;",
    ] {
        let body = format!("setp.lt.u32 %p1, %r60, 3;\n{}", exchange(barrier));
        for schedule in [Schedule::RoundRobin, Schedule::Random(3), Schedule::Random(4)] {
            let mut bench = Bench::new(BOX, &body, &[], 512);
            bench.machine.set_schedule(schedule);
            bench.launch(1, 128, 0).unwrap_or_else(|fault| panic!("{barrier}: {fault}"));
            let expected: Vec<u32> = (0..128).map(|thread| (thread + 64) % 128).collect();
            assert_eq!(bench.output_words(), expected, "{barrier}");
        }
    }
    // Without one the reader comes first, and finds nothing written, or the detector sees both.
    for schedule in [Schedule::RoundRobin, Schedule::Random(3), Schedule::Random(4)] {
        let mut bench = Bench::new(BOX, &exchange(""), &[], 512);
        bench.machine.set_schedule(schedule);
        let fault = bench.launch(1, 128, 0).unwrap_err();
        assert!(matches!(fault.kind, FaultKind::Race | FaultKind::UninitialisedShared), "{fault}");
    }
}

#[test]
fn reductions_count_the_whole_block() {
    let all = |red: &str| run_with(BOX, &format!("setp.lt.u32 %p1, %r60, 70;\n{red}\n{STORE}"), &[], 96, 96).unwrap();
    assert_eq!(all("bar.red.popc.u32 %r1, 0, %p1;"), [70; 96]);
    assert_eq!(all("barrier.red.popc.aligned.u32 %r1, 1, 96, %p1;"), [70; 96]);
    assert_eq!(all("bar.red.and.pred %p2, 0, %p1;\nselp.u32 %r1, 1, 0, %p2;"), [0; 96]);
    assert_eq!(all("bar.red.or.pred %p2, 0, %p1;\nselp.u32 %r1, 1, 0, %p2;"), [1; 96]);
    assert_eq!(all("setp.lt.u32 %p3, %r60, 99;\n@%p3 bar.red.popc.u32 %r1, 0, %p1;"), [70; 96]);
    assert_eq!(all("bar.red.or.pred %p2, 0, !%p1;\nselp.u32 %r1, 1, 0, %p2;"), [1; 96]);
    assert_eq!(all("setp.lt.u32 %p3, %r60, 1000;\nbar.red.and.pred %p2, 0, %p3;\nselp.u32 %r1, 1, 0, %p2;"), [1; 96]);
}

#[test]
fn the_last_warp_may_be_a_part() {
    let expected: Vec<u32> = (0..40).map(|thread| (thread + 20) % 40).collect();
    assert_eq!(run_with(BOX, &exchange("bar.sync 0;"), &[], 40, 40).unwrap(), expected);
}

#[test]
fn producers_arrive_and_consumers_wait() {
    let body = format!(
        "mov.u32 %r5, box;
        mov.u32 %r1, 0;
        and.b32 %r6, %r60, 31;
        mad.lo.u32 %r2, %r6, 4, %r5;
        setp.ge.u32 %p1, %r60, 32;
        @%p1 bra CONSUMER;
        st.shared.u32 [%r2], %r60;
        bar.arrive 1, 64;
        bra END;
        CONSUMER:
        bar.sync 1, 64;
        ld.shared.u32 %r1, [%r2];
        END:
        {STORE}"
    );
    let expected: Vec<u32> = (0..64).map(|thread: u32| thread.saturating_sub(32)).collect();
    assert_eq!(run_with(BOX, &body, &[], 64, 64).unwrap(), expected);
}

#[test]
fn warps_that_have_left_are_not_waited_for() {
    let body = format!("setp.ge.u32 %p1, %r60, 32;\n@%p1 exit;\nbar.sync 0;\nmov.u32 %r1, 4;\n{STORE}");
    assert_eq!(run_with(BOX, &body, &[], 96, 32).unwrap(), [4; 32]);
}

#[test]
fn a_part_of_a_warp_cannot_arrive() {
    let fault = expect_fault("setp.lt.u32 %p1, %r60, 16;\n@%p1 bar.sync 0;", 32, FaultKind::DivergentBarrier);
    assert!(fault.to_string().contains("lane 16 is elsewhere"), "{fault}");
    let fault = expect_fault("setp.lt.u32 %p1, %r60, 16;\n@!%p1 exit;\nbar.sync 0;", 32, FaultKind::DivergentBarrier);
    assert!(fault.to_string().contains("lane 16 has exited"), "{fault}");
    let two = "setp.lt.u32 %p1, %r60, 16;\n@%p1 bra A;\nbar.sync 0;\nbra END;\nA: bar.sync 0;\nEND:";
    expect_fault(two, 32, FaultKind::DivergentBarrier);
}

#[test]
fn terms_must_agree() {
    let by_warp = |low: &str, high: &str| {
        format!("setp.lt.u32 %p1, %r60, 32;\n@%p1 bra LOW;\n{high}\nbra END;\nLOW: {low}\nEND:")
    };
    expect_fault(&by_warp("bar.sync 0, 64;", "bar.sync 0, 96;"), 64, FaultKind::DivergentBarrier);
    expect_fault(&by_warp("bar.sync 0;", "bar.sync 0, 64;"), 64, FaultKind::DivergentBarrier);
    expect_fault(&by_warp("bar.sync 0;", "bar.red.popc.u32 %r1, 0, %p1;"), 64, FaultKind::DivergentBarrier);
    expect_fault("bar.sync 0, 40;", 64, FaultKind::DivergentBarrier);
    expect_fault("mov.u32 %r1, 16;\nbar.sync %r1;", 32, FaultKind::Unsupported);
    expect_fault("and.b32 %r1, %r60, 1;\nbar.sync %r1;", 32, FaultKind::DivergentBarrier);
}

#[test]
fn a_deadlock_names_who_waits_where() {
    let body = "setp.lt.u32 %p1, %r60, 32;\n@%p1 bra LOW;\nbar.sync 1;\nbra END;\nLOW: bar.sync 2;\nEND:";
    let fault = expect_fault(body, 64, FaultKind::BarrierDeadlock);
    let text = fault.to_string();
    assert!(text.contains("warp 1 at barrier 1") && text.contains("warp 0 at barrier 2"), "{text}");
    let fault = expect_fault("bar.sync 0, 96;", 64, FaultKind::BarrierDeadlock);
    assert!(fault.to_string().contains("warp 0 at barrier 0"), "{fault}");
}

#[test]
fn a_fence_and_a_flag_order_two_blocks() {
    let body = |fence: &str| {
        format!(
            "setp.eq.u32 %p1, %r61, 0;
            @%p1 bra WRITE;
            SPIN:
            ld.volatile.global.u32 %r1, [%d60];
            setp.eq.u32 %p2, %r1, 0;
            @%p2 bra SPIN;
            {fence}
            ld.global.u32 %r2, [%d60+4];
            st.global.u32 [%d61], %r2;
            bra END;
            WRITE:
            st.global.u32 [%d60+4], 42;
            {fence}
            st.volatile.global.u32 [%d60], 1;
            END:"
        )
    };
    for fence in ["membar.gl;", "membar.sys;", "fence.acq_rel.gpu;", "fence.sc.gpu;", "fence.acq_rel.sys;"] {
        for schedule in [Schedule::RoundRobin, Schedule::Random(1), Schedule::Random(2)] {
            let mut bench = Bench::new("", &body(fence), &[0; 8], 4);
            bench.machine.set_schedule(schedule);
            bench.launch(2, 1, 0).unwrap_or_else(|fault| panic!("{fence}: {fault}"));
            assert_eq!(bench.output_words(), [42]);
        }
    }
    for fence in ["", "membar.cta;", "fence.acq_rel.cta;"] {
        assert_eq!(fault_of("", &body(fence), 2, 1).kind, FaultKind::Race, "{fence}");
    }
}
