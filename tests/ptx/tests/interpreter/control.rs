use super::harness::{Bench, expect_fault, run, run_with};
use obsdiff_ptx::{FaultKind, Schedule};

const STORE: &str = "mad.wide.u32 %d1, %r60, 4, %d61;\nst.global.u32 [%d1], %r1;";

fn lanes(body: &str) -> Vec<u32> {
    run(&format!("{body}\n{STORE}"), &[], 32, 32).unwrap()
}

#[test]
fn both_sides_of_a_branch_run_and_meet_again() {
    let body = "
        setp.lt.u32 %p1, %r60, 10;
        @%p1 bra LOW;
        add.u32 %r1, %r60, 100;
        bra.uni MEET;
        LOW:
        add.u32 %r1, %r60, 200;
        MEET:
        activemask.b32 %r2;
        sub.u32 %r1, %r1, %r2;";
    let expected: Vec<u32> = (0..32).map(|lane| lane + if lane < 10 { 201 } else { 101 }).collect();
    assert_eq!(lanes(body), expected);
}

#[test]
fn lanes_leave_a_loop_one_by_one_and_meet_behind_it() {
    let body = "
        mov.u32 %r1, 0;
        mov.u32 %r2, 0;
        LOOP:
        add.u32 %r1, %r1, %r2;
        add.u32 %r2, %r2, 1;
        setp.le.u32 %p1, %r2, %r60;
        @%p1 bra LOOP;
        shfl.sync.bfly.b32 %r3, %r1, 0, 31, -1;
        mov.u32 %r1, %r3;";
    let expected: Vec<u32> = (0..32).map(|lane| lane * (lane + 1) / 2).collect();
    assert_eq!(lanes(body), expected);
}

#[test]
fn branches_nest() {
    let body = "
        mov.u32 %r1, 0;
        mov.u32 %r2, 0;
        OUTER:
        and.b32 %r3, %r60, 1;
        setp.eq.u32 %p1, %r3, 0;
        @%p1 bra EVEN;
        setp.gt.u32 %p2, %r60, 15;
        @%p2 bra HIGH;
        add.u32 %r1, %r1, 1;
        bra JOIN;
        HIGH:
        add.u32 %r1, %r1, 10;
        JOIN:
        add.u32 %r1, %r1, 100;
        EVEN:
        activemask.b32 %r4;
        setp.ne.u32 %p3, %r4, -1;
        @%p3 trap;
        add.u32 %r2, %r2, 1;
        setp.lt.u32 %p4, %r2, 3;
        @%p4 bra OUTER;";
    let expected: Vec<u32> = (0..32)
        .map(|lane| match (lane % 2, lane > 15) {
            (0, _) => 0,
            (_, false) => 303,
            (_, true) => 330,
        })
        .collect();
    assert_eq!(lanes(body), expected);
}

#[test]
fn a_guarded_trap_does_not_keep_lanes_apart() {
    let body = "
        mov.u32 %r1, 0;
        setp.lt.u32 %p1, %r60, 7;
        @%p1 bra LOW;
        setp.gt.u32 %p2, %r60, 100;
        @%p2 bra BAD;
        bra MEET;
        BAD:
        trap;
        LOW:
        mov.u32 %r1, 5;
        MEET:
        redux.sync.add.u32 %r1, %r1, -1;";
    assert_eq!(lanes(body), [35; 32]);
}

#[test]
fn a_table_of_targets() {
    let body = "
        and.b32 %r2, %r60, 3;
        brx.idx %r2, LIST;
        LIST: .branchtargets A, B, C, B;
        A: mov.u32 %r1, 10;
        bra END;
        B: mov.u32 %r1, 20;
        bra END;
        C: mov.u32 %r1, 30;
        END:";
    let expected: Vec<u32> = (0..32).map(|lane| [10, 20, 30, 20][lane % 4]).collect();
    assert_eq!(lanes(body), expected);
    let beyond = "brx.idx %r60, LIST;\nLIST: .branchtargets A, B;\nA: B:";
    expect_fault(beyond, 3, FaultKind::OutOfBounds);
}

#[test]
fn exited_lanes_stay_away() {
    let body = "
        mov.u32 %r1, 3;
        setp.ge.u32 %p1, %r60, 20;
        @%p1 exit;
        activemask.b32 %r1;";
    let mut bench = Bench::new("", &format!("{body}\n{STORE}"), &[], 80);
    bench.launch(1, 32, 0).unwrap();
    assert_eq!(bench.output_words(), [0xf_ffff; 20]);
}

#[test]
fn a_uniform_branch_must_not_diverge() {
    let fault = expect_fault("setp.lt.u32 %p1, %r60, 7;\n@%p1 bra.uni X;\nX:", 32, FaultKind::DivergentCollective);
    assert!(fault.to_string().contains("`@%p1 bra.uni X;`"), "{fault}");
    run("setp.lt.u32 %p1, %r60, 32;\n@%p1 bra.uni X;\ntrap;\nX:\nst.global.u32 [%d61], 1;", &[], 1, 1).unwrap();
}

#[test]
fn functions_are_called_with_their_own_registers() {
    let before = "
        .func (.param .b32 result) twice(.param .b32 x)
        {
        .reg .b32 %r<3>;
        .reg .pred %p<2>;
        ld.param.u32 %r1, [x];
        setp.gt.u32 %p1, %r1, 5;
        @%p1 bra BIG;
        add.u32 %r2, %r1, %r1;
        st.param.b32 [result+0], %r2;
        ret;
        BIG:
        st.param.b32 [result], 1000;
        ret;
        }
        .func (.param .b32 result) four(.param .b32 x)
        {
        .reg .b32 %r<3>;
        ld.param.u32 %r1, [x];
        { .param .b32 a; st.param.b32 [a], %r1; .param .b32 b; call.uni (b), twice, (a); ld.param.b32 %r2, [b]; }
        { .param .b32 a; st.param.b32 [a], %r2; .param .b32 b; call (b), twice, (a); ld.param.b32 %r2, [b]; }
        st.param.b32 [result], %r2;
        ret;
        }";
    let body = format!(
        "mov.u32 %r2, 77;
        {{ .param .b32 a; st.param.b32 [a], %r60; .param .b32 b; call.uni (b), four, (a); ld.param.b32 %r1, [b]; }}
        setp.ne.u32 %p1, %r2, 77;
        @%p1 trap;
        redux.sync.max.u32 %r3, %r1, -1;
        {STORE}"
    );
    let twice = |x: u32| if x > 5 { 1000 } else { 2 * x };
    let expected: Vec<u32> = (0..32).map(|lane| twice(twice(lane))).collect();
    assert_eq!(run_with(before, &body, &[], 32, 32).unwrap(), expected);
}

#[test]
fn a_guarded_call_runs_for_its_lanes_only() {
    let before = ".func put(.param .b64 p) { .reg .b64 %d<2>; ld.param.u64 %d1, [p]; st.global.u32 [%d1], 9; ret; }";
    let body = "
        mad.wide.u32 %d1, %r60, 4, %d61;
        st.global.u32 [%d1], 1;
        setp.lt.u32 %p1, %r60, 3;
        { .param .b64 a; st.param.b64 [a], %d1; @%p1 call put, (a); }";
    assert_eq!(run_with(before, body, &[], 5, 5).unwrap(), [9, 9, 9, 1, 1]);
}

#[test]
fn traps_and_failed_assertions_stop_the_launch() {
    let fault = expect_fault("setp.eq.u32 %p1, %r60, 3;\n@%p1 trap;", 32, FaultKind::Trap);
    assert_eq!(fault.place.unwrap().lane, Some(3));
    let before = ".extern .func __assertfail(.param .b64 a);";
    let body = "{ .param .b64 a; st.param.b64 [a], %d60; call.uni __assertfail, (a); }";
    assert_eq!(super::harness::fault_of(before, body, 1, 1).kind, FaultKind::Trap);
}

#[test]
fn an_endless_loop_ends_at_the_step_limit() {
    expect_fault("X: bra X;", 1, FaultKind::StepLimit);
}

#[test]
fn a_spinning_warp_lets_others_run() {
    let body = "
        setp.eq.u32 %p1, %r60, 0;
        @%p1 bra WRITE;
        setp.ne.u32 %p2, %r60, 32;
        @%p2 bra END;
        SPIN:
        ld.acquire.gpu.global.u32 %r1, [%d60];
        setp.eq.u32 %p3, %r1, 0;
        @%p3 bra SPIN;
        ld.global.u32 %r2, [%d60+4];
        st.global.u32 [%d61], %r2;
        bra END;
        WRITE:
        st.global.u32 [%d60+4], 42;
        st.release.gpu.global.u32 [%d60], 1;
        END:";
    for schedule in [Schedule::RoundRobin, Schedule::Random(1), Schedule::Random(2)] {
        let mut bench = Bench::new("", body, &[0; 8], 4);
        bench.machine.set_schedule(schedule);
        bench.launch(1, 64, 0).unwrap();
        assert_eq!(bench.output_words(), [42]);
    }
}
