use super::harness::{Bench, fault_of, run_with};
use obsdiff_ptx::FaultKind;

const BOX: &str = ".shared .align 16 .b8 box[1024];";

fn input() -> Vec<u32> {
    (0..64).map(|word| 0x1111_0000 + word).collect()
}

/// One lane copies with `copy` (from `%d60` to `%r5`), finishes with `wait`, and gives back four words.
fn copied(copy: &str, wait: &str) -> Vec<u32> {
    let body = format!(
        "mov.u32 %r5, box;
        st.shared.v4.u32 [%r5], {{99, 99, 99, 99}};
        {copy}
        {wait}
        ld.shared.v4.u32 {{%r1, %r2, %r3, %r4}}, [%r5];
        st.global.v4.u32 [%d61], {{%r1, %r2, %r3, %r4}};"
    );
    run_with(BOX, &body, &input(), 1, 4).unwrap_or_else(|fault| panic!("{copy}: {fault}"))
}

#[test]
fn all_sizes_arrive() {
    let wait = "cp.async.commit_group;\ncp.async.wait_group 0;";
    let x = input();
    assert_eq!(copied("cp.async.cg.shared.global [%r5], [%d60+16], 16;", wait), x[4..8]);
    assert_eq!(copied("cp.async.cg.shared.global.L2::128B [%r5], [%d60+16], 16;", wait), x[4..8]);
    assert_eq!(copied("cp.async.ca.shared::cta.global.L2::64B [%r5], [%d60], 16;", wait), x[..4]);
    assert_eq!(copied("cp.async.ca.shared.global [%r5], [%d60], 8;", wait), [x[0], x[1], 99, 99]);
    assert_eq!(copied("cp.async.ca.shared.global [%r5+4], [%d60], 4;", wait), [99, x[0], 99, 99]);
    assert_eq!(copied("cp.async.cg.shared.global [%r5], [%d60], 16;", "cp.async.wait_all;"), x[..4]);
}

#[test]
fn what_the_source_size_leaves_out_becomes_zero() {
    let wait = "cp.async.wait_all;";
    let x = input();
    assert_eq!(copied("cp.async.cg.shared.global [%r5], [%d60], 16, 16;", wait), x[..4]);
    assert_eq!(copied("cp.async.cg.shared.global [%r5], [%d60], 16, 8;", wait), [x[0], x[1], 0, 0]);
    assert_eq!(copied("cp.async.cg.shared.global [%r5], [%d60], 16, 7;", wait), [x[0], x[1] & 0xff_ffff, 0, 0]);
    assert_eq!(copied("mov.u32 %r6, 0;\ncp.async.cg.shared.global [%r5], [%d60], 16, %r6;", wait), [0; 4]);
    assert_eq!(copied("cp.async.ca.shared.global [%r5], [%d60], 4, 2;", wait), [x[0] & 0xffff, 99, 99, 99]);
    let ignored = "setp.eq.u32 %p1, %r60, 0;\ncp.async.cg.shared.global [%r5], [%d60], 16, %p1;";
    assert_eq!(copied(ignored, wait), [0; 4]);
    let kept = "setp.ne.u32 %p1, %r60, 0;\ncp.async.cg.shared.global [%r5], [%d60], 16, %p1;";
    assert_eq!(copied(kept, wait), x[..4]);
    // Bytes that are left out need not exist.
    let beyond = "cp.async.cg.shared.global [%r5], [%d60+256], 16, 0;";
    assert_eq!(copied(beyond, wait), [0; 4]);
}

fn fault(body: &str, threads: u32) -> (FaultKind, String) {
    let fault = fault_of(BOX, &format!("mov.u32 %r5, box;\n{body}"), 1, threads);
    (fault.kind, fault.to_string())
}

const COPY: &str = "cp.async.cg.shared.global [%r5], [%d60], 16;";
const READ: &str = "ld.shared.u32 %r1, [%r5];";

#[test]
fn bytes_in_flight_cannot_be_touched() {
    let commit = "cp.async.commit_group;";
    let waits =
        ["", "cp.async.wait_group 0;", "cp.async.commit_group;\ncp.async.wait_group 1;", "cp.async.commit_group;"];
    for wait in waits {
        let (kind, text) = fault(&format!("{COPY}\n{wait}\n{READ}"), 1);
        assert_eq!(kind, FaultKind::CpAsyncInFlight, "{wait}: {text}");
    }
    let (kind, text) = fault(&format!("{COPY}\nst.shared.u32 [%r5], 1;"), 1);
    assert_eq!(kind, FaultKind::CpAsyncInFlight, "{text}");
    let twice = format!("{COPY}\n{COPY}\n{commit}\ncp.async.wait_group 0;");
    assert_eq!(fault(&twice, 1).0, FaultKind::CpAsyncInFlight);
    let (kind, text) = fault(&format!("{COPY}\n{commit}"), 1);
    assert_eq!(kind, FaultKind::CpAsyncInFlight);
    assert!(text.contains("exits before it waits"), "{text}");
}

#[test]
fn groups_finish_in_order() {
    let two = |pending: u32, offset: u32| {
        format!(
            "{COPY}
            cp.async.commit_group;
            cp.async.cg.shared.global [%r5+16], [%d60+16], 16;
            cp.async.commit_group;
            cp.async.wait_group {pending};
            ld.shared.u32 %r1, [%r5+{offset}];
            st.global.u32 [%d61], %r1;
            cp.async.wait_all;"
        )
    };
    let run = |pending, offset| {
        let body = format!("mov.u32 %r5, box;\n{}", two(pending, offset));
        let mut bench = Bench::new(BOX, &body, &super::harness::bytes_of(&input()), 4);
        bench.launch(1, 1, 0).map(|()| bench.output_words()[0])
    };
    assert_eq!(run(1, 0).unwrap(), input()[0]);
    assert_eq!(run(0, 16).unwrap(), input()[4]);
    assert_eq!(run(1, 16).unwrap_err().kind, FaultKind::CpAsyncInFlight);
    assert_eq!(run(2, 0).unwrap_err().kind, FaultKind::CpAsyncInFlight);
}

#[test]
fn other_lanes_need_a_barrier_after_the_wait() {
    let body = |barrier: &str| {
        format!(
            "setp.eq.u32 %p1, %r60, 0;
            @%p1 cp.async.cg.shared.global [%r5], [%d60], 16;
            cp.async.commit_group;
            cp.async.wait_group 0;
            {barrier}
            {READ}"
        )
    };
    assert_eq!(fault(&body(""), 32).0, FaultKind::Race);
    let mut bench = Bench::new(BOX, &format!("mov.u32 %r5, box;\n{}", body("bar.sync 0;")), &[0; 64], 4);
    bench.launch(1, 64, 0).unwrap();
}

#[test]
fn sources_and_targets_are_checked() {
    let kind = |body: &str| fault(body, 1).0;
    assert_eq!(kind("cp.async.cg.shared.global [%r5+8], [%d60], 16;"), FaultKind::Misaligned);
    assert_eq!(kind("cp.async.cg.shared.global [%r5], [%d60+8], 16;"), FaultKind::Misaligned);
    assert_eq!(kind("cp.async.cg.shared.global [%r5+1024], [%d60], 16;"), FaultKind::OutOfBounds);
    assert_eq!(kind("cp.async.cg.shared.global [%r5], [%d60+4096], 16;"), FaultKind::OutOfBounds);
    assert_eq!(kind("cp.async.cg.shared.global [%r5], [%d61], 16;"), FaultKind::UninitialisedGlobal);
    assert_eq!(kind("cp.async.cg.shared.global [%r5], [%d60], 16, 17;"), FaultKind::Unsupported);
}
