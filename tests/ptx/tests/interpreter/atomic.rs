use super::harness::{Bench, bytes_of, f32_bits as f, run, run_with};

/// The word at `%d60` after 32 lanes have run `body`, which has the lane in `%r60`.
fn after(body: &str, start: u32) -> u32 {
    let mut bench = Bench::new("", body, &bytes_of(&[start, 0]), 256);
    bench.launch(1, 32, 0).unwrap_or_else(|fault| panic!("{body}: {fault}"));
    let mut word = [0; 4];
    bench.machine.read(bench.input, &mut word).unwrap();
    u32::from_le_bytes(word)
}

#[test]
fn every_lane_is_counted_once() {
    for form in [
        "atom.global.add.u32 %r1,",
        "atom.add.u32 %r1,",
        "red.global.add.u32",
        "atom.relaxed.gpu.global.add.s32 %r1,",
        "atom.acq_rel.gpu.global.add.u32 %r1,",
        "atom.acquire.cta.global.add.u32 %r1,",
        "red.release.sys.global.add.u32",
    ] {
        assert_eq!(after(&format!("{form} [%d60], %r60;"), 100), 100 + 496, "{form}");
    }
}

#[test]
fn operations_on_words() {
    let all = |op: &str| after(&format!("atom.global.{op} %r1, [%d60], %r60;"), 5);
    assert_eq!(all("min.u32"), 0);
    assert_eq!(all("max.u32"), 31);
    assert_eq!(all("or.b32"), 31);
    assert_eq!(all("and.b32"), 0);
    assert_eq!(all("xor.b32"), 5);
    assert_eq!(after("neg.s32 %r2, %r60;\natom.global.min.s32 %r1, [%d60], %r2;", 5), -31i32 as u32);
    assert_eq!(after("neg.s32 %r2, %r60;\natom.global.max.s32 %r1, [%d60], %r2;", 5), 5);
    assert_eq!(after("atom.global.inc.u32 %r1, [%d60], 4;", 0), 32 % 5);
    assert_eq!(after("atom.global.dec.u32 %r1, [%d60], 4;", 0), 3);
    assert!(all("exch.b32") < 32);
}

#[test]
fn the_old_value_comes_back() {
    let body = "
        atom.global.add.u32 %r1, [%d60], 1;
        mad.wide.u32 %d1, %r60, 4, %d61;
        st.global.u32 [%d1], %r1;";
    let mut found = run(body, &[10], 32, 32).unwrap();
    found.sort_unstable();
    assert_eq!(found, (10..42).collect::<Vec<u32>>());
    let swap = "
        atom.global.cas.b32 %r1, [%d60], 10, 99;
        mad.wide.u32 %d1, %r60, 4, %d61;
        st.global.u32 [%d1], %r1;";
    let found = run(swap, &[10], 32, 32).unwrap();
    assert_eq!(found.iter().filter(|&&old| old == 10).count(), 1);
    assert_eq!(found.iter().filter(|&&old| old == 99).count(), 31);
}

#[test]
fn wide_and_narrow_words() {
    let body = "
        mov.b64 %d1, {%r60, 1};
        atom.global.add.u64 %d2, [%d60], %d1;
        atom.global.max.u64 %d3, [%d60+8], %d1;
        atom.global.or.b64 %d4, [%d60+16], %d1;
        atom.global.exch.b64 %d5, [%d60+24], %d1;
        atom.global.cas.b64 %d6, [%d60+32], 0, 7;
        atom.global.cas.b16 %h1, [%d60+40], 0, 7;
        atom.global.min.s64 %d7, [%d60+48], -3;";
    let mut bench = Bench::new("", body, &[0; 64], 4);
    bench.launch(1, 32, 0).unwrap();
    let mut bytes = [0; 64];
    bench.machine.read(bench.input, &mut bytes).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(word(0), (32 << 32) + 496);
    assert_eq!(word(8), (1 << 32) + 31);
    assert_eq!(word(16), (1 << 32) + 31);
    assert_eq!(word(24) >> 32, 1);
    assert_eq!(word(32), 7);
    assert_eq!(word(40), 7);
    assert_eq!(word(48) as i64, -3);
}

#[test]
fn floats_add_up() {
    assert_eq!(
        after("cvt.rn.f32.u32 %r2, %r60;\natom.global.add.f32 %r1, [%d60], %r2;", f(0.5) as u32),
        f(496.5) as u32
    );
    assert_eq!(after("red.global.add.f32 [%d60], 0f3F800000;", 0), f(32.0) as u32);
    assert_eq!(after("mov.b32 %r3, 0x3c003c00;\nred.global.add.noftz.f16x2 [%d60], %r3;", 0), 0x5000_5000);
    assert_eq!(after("mov.b32 %r3, 0x3f803f80;\natom.global.add.noftz.bf16x2 %r1, [%d60], %r3;", 0), 0x4200_4200);
    assert_eq!(after("mov.b16 %h1, 0x3c00;\natom.global.add.noftz.f16 %h2, [%d60], %h1;", 0), 0x5000);
    assert_eq!(after("mov.b16 %h1, 0x3f80;\nred.global.add.noftz.bf16 [%d60], %h1;", 0), 0x4200);
    let mut bench = Bench::new("", "cvt.rn.f64.u32 %d1, %r60;\natom.global.add.f64 %d2, [%d60], %d1;", &[0; 8], 4);
    bench.launch(1, 32, 0).unwrap();
    let mut bytes = [0; 8];
    bench.machine.read(bench.input, &mut bytes).unwrap();
    assert_eq!(f64::from_le_bytes(bytes), 496.0);
}

#[test]
fn global_additions_flush_subnormals_and_shared_ones_do_not() {
    assert_eq!(after("red.global.add.f32 [%d60], 0f00000001;", 0), 0);
    let body = "
        st.shared.u32 [box], 0;
        red.shared.add.f32 [box], 0f00000001;
        ld.shared.u32 %r1, [box];
        st.global.u32 [%d61], %r1;";
    assert_eq!(run_with(".shared .align 4 .b8 box[4];", body, &[], 1, 1).unwrap(), [1]);
}

#[test]
fn blocks_add_to_one_counter() {
    let mut bench = Bench::new("", "red.global.add.u32 [%d60], 1;", &[0; 4], 4);
    bench.launch(10, 48, 0).unwrap();
    let mut bytes = [0; 4];
    bench.machine.read(bench.input, &mut bytes).unwrap();
    assert_eq!(u32::from_le_bytes(bytes), 480);
}
