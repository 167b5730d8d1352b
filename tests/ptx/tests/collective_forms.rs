//! Every form of the warp collectives is run as written, or refused.

use obsdiff_ptx::FaultKind;

#[path = "support/lanes.rs"]
mod lanes;

use lanes::{Lanes, parse, run};

const ALL: u32 = u32::MAX;

/// A value of its own for each lane.
fn distinct() -> Lanes {
    std::array::from_fn(|lane| (lane as u64 + 1) * 0x0107_2b3d % 0x1_0000_0000)
}

/// The pseudo-code of `shfl` (PTX ISA 9.7.9.6): the value and the predicate of `lane`.
fn shuffled(mode: &str, values: &Lanes, lane: usize, b: u32, c: u32) -> (u64, bool) {
    let lane = lane as i32;
    let (bval, cval, segment) = ((b & 0x1f) as i32, (c & 0x1f) as i32, (c >> 8 & 0x1f) as i32);
    let max_lane = (lane & segment) | (cval & !segment);
    let min_lane = lane & segment;
    let (mut source, inside) = match mode {
        "up" => (lane - bval, lane - bval >= max_lane),
        "down" => (lane + bval, lane + bval <= max_lane),
        "bfly" => (lane ^ bval, lane ^ bval <= max_lane),
        _ => (min_lane | (bval & !segment), (min_lane | (bval & !segment)) <= max_lane),
    };
    if !inside {
        source = lane;
    }
    (values[source as usize], inside)
}

#[test]
fn every_shuffle_follows_its_definition() {
    let values = distinct();
    // Whole warps and segments of 16, 8 and 4 lanes, as `width` gives them.
    let clamps = |mode: &str| {
        [32u32, 16, 8, 4].map(|width| if mode == "up" { (32 - width) << 8 } else { (32 - width) << 8 | 0x1f })
    };
    for mode in ["up", "down", "bfly", "idx"] {
        for c in clamps(mode) {
            for b in [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33] {
                let expected: [(u64, bool); 32] = std::array::from_fn(|lane| shuffled(mode, &values, lane, b, c));
                let what = format!("shfl.{mode} {b:#x} {c:#x}");
                // Immediates, with a predicate.
                let body =
                    format!("shfl.sync.{mode}.b32 %d0|%p0, %a0, {b}, {c:#x}, 0xffffffff; selp.b32 %d1, 1, 0, %p0;");
                let found = run(&body, &[(32, values)], &[32, 32]).unwrap_or_else(|fault| panic!("{what} {fault}"));
                assert_eq!(found[0], expected.map(|(value, _)| value), "{what}");
                assert_eq!(found[1], expected.map(|(_, inside)| u64::from(inside)), "{what}");
                // Registers, without one.
                let body = format!("shfl.sync.{mode}.b32 %d0, %a0, %a1, %a2, %a3;");
                let operands = [(32, values), (32, [b.into(); 32]), (32, [c.into(); 32]), (32, [ALL.into(); 32])];
                let found = run(&body, &operands, &[32]).unwrap_or_else(|fault| panic!("{what} {fault}"));
                assert_eq!(found[0], expected.map(|(value, _)| value), "{what}");
            }
        }
    }
}

#[test]
fn each_lane_may_shuffle_from_a_lane_of_its_own() {
    let values = distinct();
    let from: Lanes = std::array::from_fn(|lane| (lane as u64 * 7 + 3) % 32);
    let operands = [(32, values), (32, from)];
    let found = run("shfl.sync.idx.b32 %d0, %a0, %a1, 31, -1;", &operands, &[32]).expect("it runs");
    assert_eq!(found[0], from.map(|lane| values[lane as usize]));
}

#[test]
fn every_vote_counts_the_lanes_of_its_mask() {
    for yes in [0u32, 1, 0x8000_0000, 0x0f0f_1234, ALL - 1, ALL] {
        let truth: Lanes = std::array::from_fn(|lane| u64::from(yes >> lane & 1));
        let prefix = "setp.ne.b32 %p0, %a0, 0;";
        for (mode, outcome) in [("all", yes == ALL), ("any", yes != 0), ("uni", yes == 0 || yes == ALL)] {
            let body = format!("{prefix} vote.sync.{mode}.pred %p1, %p0, 0xffffffff; selp.b32 %d0, 1, 0, %p1;");
            let found = run(&body, &[(32, truth)], &[32]).expect("it runs");
            assert_eq!(found[0], [u64::from(outcome); 32], "{mode} {yes:#x}");
            // Of the negated predicate.
            let body = format!("{prefix} vote.sync.{mode}.pred %p1, !%p0, 0xffffffff; selp.b32 %d0, 1, 0, %p1;");
            let found = run(&body, &[(32, truth)], &[32]).expect("it runs");
            let outcome = match mode {
                "all" => yes == 0,
                "any" => yes != ALL,
                _ => outcome,
            };
            assert_eq!(found[0], [u64::from(outcome); 32], "!{mode} {yes:#x}");
        }
        let body = format!("{prefix} vote.sync.ballot.b32 %d0, %p0, 0xffffffff;");
        assert_eq!(run(&body, &[(32, truth)], &[32]).expect("it runs")[0], [u64::from(yes); 32]);
    }
}

#[test]
fn matches_compare_all_bits_of_their_type() {
    // Three groups of equal values; as b64 they also differ above bit 32.
    let values: Lanes = std::array::from_fn(|lane| ((lane as u64 % 3) + 10) | ((lane as u64 / 16) << 40));
    let equal = |keep: u64| -> Lanes {
        std::array::from_fn(|lane| {
            (0..32).filter(|&other| (values[other] ^ values[lane]) & keep == 0).fold(0, |mask, other| mask | 1 << other)
        })
    };
    let low = values.map(|value| value & 0xffff_ffff);
    let found = run("match.any.sync.b32 %d0, %a0, 0xffffffff;", &[(32, low)], &[32]).expect("it runs");
    assert_eq!(found[0], equal(0xffff_ffff));
    let found = run("match.any.sync.b64 %d0, %a0, 0xffffffff;", &[(64, values)], &[32]).expect("it runs");
    assert_eq!(found[0], equal(u64::MAX));
    assert_ne!(equal(u64::MAX), equal(0xffff_ffff));
    for (bits, same, differing) in [(32, [7; 32], low), (64, [7 << 40; 32], values)] {
        for (values, outcome) in [(same, true), (differing, false)] {
            let mask = if outcome { u64::from(ALL) } else { 0 };
            let body = format!("match.all.sync.b{bits} %d0|%p0, %a0, 0xffffffff; selp.b32 %d1, 1, 0, %p0;");
            let found = run(&body, &[(bits, values)], &[32, 32]).expect("it runs");
            assert_eq!((found[0], found[1]), ([mask; 32], [u64::from(outcome); 32]), "{bits}");
            let body = format!("match.all.sync.b{bits} %d0, %a0, 0xffffffff;");
            assert_eq!(run(&body, &[(bits, values)], &[32]).expect("it runs")[0], [mask; 32], "{bits}");
        }
    }
}

#[test]
fn every_reduction_folds_all_lanes() {
    let values: Lanes = std::array::from_fn(|lane| (lane as u64 * 0x9e37_79b9 + 0x1234_5678) & 0xffff_ffff);
    let words = values.map(|value| value as u32);
    let signed = words.map(|word| word as i32);
    let minimum = *signed.iter().min().expect("32 lanes");
    let maximum = *signed.iter().max().expect("32 lanes");
    let sum = words.iter().fold(0, |sum: u32, word| sum.wrapping_add(*word));
    for (form, expected) in [
        ("add.u32", sum),
        ("add.s32", sum),
        ("min.u32", *words.iter().min().expect("32 lanes")),
        ("max.u32", *words.iter().max().expect("32 lanes")),
        ("min.s32", minimum as u32),
        ("max.s32", maximum as u32),
        ("and.b32", words.map(|word| word | 0xf0).iter().fold(ALL, |all, word| all & word)),
        ("or.b32", words.iter().fold(0, |all, word| all | word)),
        ("xor.b32", words.iter().fold(0, |all, word| all ^ word)),
    ] {
        let (operation, scalar) = form.split_once('.').expect("two parts");
        let operand = if operation == "and" { values.map(|value| value | 0xf0) } else { values };
        let body = format!("redux.sync.{operation}.{scalar} %d0, %a0, 0xffffffff;");
        assert_eq!(run(&body, &[(32, operand)], &[32]).expect("it runs")[0], [expected.into(); 32], "{form}");
    }
    // The signed and the unsigned order differ on these values.
    assert!(minimum < 0 && maximum > 0);
}

#[test]
fn one_lane_is_elected() {
    let body = "elect.sync %d0|%p0, 0xffffffff; selp.b32 %d1, 1, 0, %p0;";
    let found = run(body, &[], &[32, 32]).expect("it runs");
    let elected: Vec<usize> = (0..32).filter(|&lane| found[1][lane] == 1).collect();
    assert_eq!(elected.len(), 1);
    assert_eq!(found[0], [elected[0] as u64; 32]);
}

/// `first` for the lanes of `mask`, `second` for the others; both halves meet again afterwards.
fn in_two_parts(mask: u32, first: &str, second: &str) -> String {
    format!(
        "shr.u32 %t0, {mask:#x}, %lane; and.b32 %t0, %t0, 1; setp.eq.u32 %p7, %t0, 0; mov.b32 %d0, 99;
         @%p7 bra OTHERS;
         {first}
         bra.uni MEET;
         OTHERS:
         {second}
         MEET:"
    )
}

#[test]
fn parts_of_a_warp_work_by_themselves() {
    let values = distinct();
    for mask in [0xffff, 0x1, 0x8000_0001, 0x0ff0_0ff0u32] {
        let others = !mask;
        let inside = |lane: usize| if mask >> lane & 1 == 1 { mask } else { others };
        let each = |instruction: &str| {
            let with = |mask: u32| instruction.replace("MASK", &format!("{mask:#x}"));
            in_two_parts(mask, &with(mask), &with(others))
        };
        let found = run(&each("activemask.b32 %d0;"), &[(32, values)], &[32]).expect("it runs");
        assert_eq!(found[0], std::array::from_fn(|lane| inside(lane).into()), "activemask {mask:#x}");

        let found = run(&each("redux.sync.max.u32 %d0, %a0, MASK;"), &[(32, values)], &[32]).expect("it runs");
        let largest = |lane: usize| (0..32).filter(|at| inside(lane) >> at & 1 == 1).map(|at| values[at]).max();
        assert_eq!(found[0], std::array::from_fn(|lane| largest(lane).expect("not empty")), "redux {mask:#x}");

        let ballot = each("setp.lt.u32 %p0, %lane, 20; vote.sync.ballot.b32 %d0, %p0, MASK;");
        let found = run(&ballot, &[(32, values)], &[32]).expect("it runs");
        assert_eq!(found[0], std::array::from_fn(|lane| u64::from(inside(lane) & 0xf_ffff)), "vote {mask:#x}");

        let found = run(&each("match.any.sync.b32 %d0, 5, MASK;"), &[(32, values)], &[32]).expect("it runs");
        assert_eq!(found[0], std::array::from_fn(|lane| inside(lane).into()), "match {mask:#x}");

        let leader = |lane: usize| inside(lane).trailing_zeros() as usize;
        let shuffle = format!(
            "brev.b32 %t1, MASK; clz.b32 %t1, %t1; sub.u32 %t1, 31, %t1; brev.b32 %t2, MASK; clz.b32 %t2, %t2; {}",
            "shfl.sync.idx.b32 %d0, %a0, %t2, 31, MASK;"
        );
        let found = run(&each(&shuffle), &[(32, values)], &[32]).expect("it runs");
        assert_eq!(found[0], std::array::from_fn(|lane| values[leader(lane)]), "shfl {mask:#x}");
    }
}

#[test]
fn a_collective_with_the_wrong_mask_is_a_fault() {
    for instruction in [
        "shfl.sync.idx.b32 %d0, %a0, 0, 31, MASK;",
        "vote.sync.ballot.b32 %d0, %p7, MASK;",
        "match.any.sync.b32 %d0, %a0, MASK;",
        "match.all.sync.b32 %d0, %a0, MASK;",
        "redux.sync.add.u32 %d0, %a0, MASK;",
        "elect.sync %d0|%p0, MASK;",
        "bar.warp.sync MASK;",
    ] {
        let with = |mask: u32| instruction.replace("MASK", &format!("{mask:#x}"));
        // A mask that names lanes of the other branch, and one that leaves out lanes that run it.
        for (named, lane) in [(0x1_ffff, 16), (0x7fff, 15)] {
            let body = in_two_parts(0xffff, &with(named), "");
            let fault = run(&body, &[(32, distinct())], &[32]).expect_err("the mask is wrong");
            assert_eq!(fault.kind, FaultKind::PartialMask, "{instruction} {named:#x}: {fault}");
            assert_eq!(fault.place.as_ref().and_then(|place| place.lane), Some(lane), "{instruction}: {fault}");
        }
        // Lane 3 has exited.
        let body = format!("mov.b32 %d0, 0; setp.eq.u32 %p7, %lane, 3; @%p7 exit; {}", with(ALL));
        let fault = run(&body, &[(32, distinct())], &[32]).expect_err("lane 3 has exited");
        assert_eq!(fault.kind, FaultKind::PartialMask, "{instruction}: {fault}");
        let body = format!("mov.b32 %d0, 0; setp.eq.u32 %p7, %lane, 3; @%p7 exit; {}", with(ALL & !8));
        run(&body, &[(32, distinct())], &[32]).unwrap_or_else(|fault| panic!("{instruction}: {fault}"));
    }
}

#[test]
fn a_shuffle_from_a_lane_outside_its_mask_is_a_fault() {
    let body = in_two_parts(0xffff, "shfl.sync.idx.b32 %d0, %a0, 20, 31, 0xffff;", "");
    let fault = run(&body, &[(32, distinct())], &[32]).expect_err("lane 20 is not there");
    assert_eq!(fault.kind, FaultKind::PartialMask, "{fault}");
}

#[test]
fn collectives_order_no_memory_but_the_warp_barrier_does() {
    let through_shared = |between: &str| {
        format!(
            "mov.u32 %t0, shared; mad.lo.u32 %t1, %lane, 4, %t0; xor.b32 %t2, %t1, 4; mov.b32 %t4, 0;
             st.shared.b32 [%t1], %a0; {between} ld.shared.b32 %d0, [%t2];"
        )
    };
    let values = distinct();
    for between in ["bar.warp.sync 0xffffffff;", "bar.warp.sync %t5;", "bar.sync 0;", "barrier.cta.sync.aligned 0;"] {
        let body = format!("mov.b32 %t5, -1; {}", through_shared(between));
        let found = run(&body, &[(32, values)], &[32]).unwrap_or_else(|fault| panic!("{between} {fault}"));
        assert_eq!(found[0], std::array::from_fn(|lane| values[lane ^ 1]), "{between}");
    }
    for between in [
        "",
        "shfl.sync.idx.b32 %t3, %t4, 0, 31, 0xffffffff;",
        "vote.sync.ballot.b32 %t3, %p6, 0xffffffff;",
        "redux.sync.add.u32 %t3, %t4, 0xffffffff;",
        "membar.cta;",
        "fence.acq_rel.cta;",
        "bar.warp.sync %t5;",
    ] {
        // Lanes of one parity at a time, where the barrier takes a mask.
        let body = format!(
            "and.b32 %t6, %lane, 1; setp.eq.u32 %p6, %t6, 0; selp.b32 %t5, 0x55555555, 0xaaaaaaaa, %p6; {}",
            through_shared(between)
        );
        let fault = run(&body, &[(32, values)], &[32]).expect_err("nothing orders the lanes");
        assert_eq!(fault.kind, FaultKind::Race, "{between}: {fault}");
    }
}

#[test]
fn forms_that_ptx_lacks_are_refused() {
    for body in [
        "shfl.idx.b32 %d0, %a0, 0, 31;",
        "shfl.sync.idx.b64 %d0, %a0, 0, 31, -1;",
        "shfl.sync.rotate.b32 %d0, %a0, 0, 31, -1;",
        "shfl.sync.idx.b32 %d0, %a0, 0, -1;",
        "vote.sync.ballot.pred %d0, %p0, -1;",
        "vote.sync.all.b32 %d0, %p0, -1;",
        "vote.ballot.b32 %d0, %p0;",
        "match.any.sync.b16 %d0, %a0, -1;",
        "match.any.sync.b32 %d0|%p0, %a0, -1;",
        "redux.sync.add.b32 %d0, %a0, -1;",
        "redux.sync.and.u32 %d0, %a0, -1;",
        "redux.sync.mul.u32 %d0, %a0, -1;",
        "redux.add.u32 %d0, %a0, -1;",
        "elect.sync %d0, -1;",
        "activemask.u32 %d0;",
        "bar.warp.sync;",
        "bar.warp.arrive -1;",
    ] {
        assert!(parse(body, &[32], &[32]).is_err(), "{body} was accepted");
    }
}
