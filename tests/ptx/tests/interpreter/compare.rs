use super::harness::{check, f32_bits as f};

const NAN: u64 = 0x7fc0_0000;
const MINUS: u64 = 0xffff_ffff;

/// Results of a comparison of (1, 2), (2, 2), (2, 1).
fn ordered(opcode: &str, scale: impl Fn(u64) -> u64, register: &str, expected: [u64; 3]) {
    let body = format!("{opcode} %p0, %{register}1, %{register}2;");
    let inputs: Vec<[u64; 2]> = [(1, 2), (2, 2), (2, 1)].iter().map(|&(a, b)| [scale(a), scale(b)]).collect();
    let cases: Vec<(&[u64], u64)> = inputs.iter().zip(expected).map(|(input, truth)| (&input[..], truth)).collect();
    check(&body, "%p0", &cases);
}

#[test]
fn ordered_comparisons_of_all_types() {
    let table = [
        ("eq", [0, 1, 0]),
        ("ne", [1, 0, 1]),
        ("lt", [1, 0, 0]),
        ("le", [1, 1, 0]),
        ("gt", [0, 0, 1]),
        ("ge", [0, 1, 1]),
    ];
    for (name, expected) in table {
        for (suffix, register) in [("s16", "h"), ("u16", "h"), ("s32", "r"), ("u32", "r"), ("s64", "d"), ("u64", "d")] {
            ordered(&format!("setp.{name}.{suffix}"), |x| x, register, expected);
        }
        ordered(&format!("setp.{name}.f32"), |x| f(x as f32), "r", expected);
        ordered(&format!("setp.{name}.ftz.f32"), |x| f(x as f32), "r", expected);
        ordered(&format!("setp.{name}.f64"), |x| (x as f64).to_bits(), "d", expected);
        ordered(&format!("setp.{name}.f16"), |x| 0x3800 + 0x400 * x, "h", expected);
        ordered(&format!("setp.{name}.bf16"), |x| 0x3f00 + 0x80 * x, "h", expected);
        if matches!(name, "eq" | "ne") {
            for (suffix, register) in [("b16", "h"), ("b32", "r"), ("b64", "d")] {
                ordered(&format!("setp.{name}.{suffix}"), |x| x, register, expected);
            }
        } else {
            ordered(&format!("setp.{name}u.f32"), |x| f(x as f32), "r", expected);
        }
    }
    for (name, expected) in [("lo", [1, 0, 0]), ("ls", [1, 1, 0]), ("hi", [0, 0, 1]), ("hs", [0, 1, 1])] {
        ordered(&format!("setp.{name}.u32"), |x| x, "r", expected);
    }
}

#[test]
fn signs_matter_to_signed_comparisons_only() {
    check("setp.lt.s32 %p0, %r1, %r2;", "%p0", &[(&[MINUS, 1], 1)]);
    check("setp.lt.u32 %p0, %r1, %r2;", "%p0", &[(&[MINUS, 1], 0)]);
    check("setp.lt.s16 %p0, %h1, %h2;", "%p0", &[(&[0xffff, 1], 1)]);
    check("setp.gt.u64 %p0, %d1, %d2;", "%p0", &[(&[u64::MAX, 1], 1)]);
    check("setp.gt.s64 %p0, %d1, -1;", "%p0", &[(&[0], 1)]);
}

#[test]
fn nan_is_unordered() {
    for name in ["eq", "ne", "lt", "le", "gt", "ge"] {
        check(&format!("setp.{name}.f32 %p0, %r1, %r2;"), "%p0", &[(&[NAN, 0], 0), (&[0, NAN], 0)]);
        check(&format!("setp.{name}u.f32 %p0, %r1, %r2;"), "%p0", &[(&[NAN, 0], 1), (&[0, NAN], 1)]);
    }
    check("setp.num.f32 %p0, %r1, %r2;", "%p0", &[(&[0, 0], 1), (&[NAN, 0], 0)]);
    check("setp.nan.f64 %p0, %d1, %d2;", "%p0", &[(&[0, 0], 0), (&[f64::NAN.to_bits(), 0], 1)]);
    check("setp.eq.ftz.f32 %p0, %r1, %r2;", "%p0", &[(&[1, 0], 1)]);
    check("setp.eq.f32 %p0, %r1, %r2;", "%p0", &[(&[1, 0], 0), (&[0, 0x8000_0000], 1)]);
}

#[test]
fn comparisons_combine_with_a_predicate() {
    let set = "setp.ne.s32 %p1, %r3, 0;\n";
    let cases = |table: [u64; 4]| {
        let inputs: [[u64; 3]; 4] = [[1, 2, 0], [1, 2, 1], [2, 1, 0], [2, 1, 1]];
        (inputs, table)
    };
    for (name, expected) in [("and", [0, 1, 0, 0]), ("or", [1, 1, 0, 1]), ("xor", [1, 0, 0, 1])] {
        let (inputs, table) = cases(expected);
        let rows: Vec<(&[u64], u64)> = inputs.iter().zip(table).map(|(input, truth)| (&input[..], truth)).collect();
        check(&format!("{set}setp.lt.{name}.s32 %p0, %r1, %r2, %p1;"), "%p0", &rows);
    }
    check(&format!("{set}setp.lt.and.s32 %p0, %r1, %r2, !%p1;"), "%p0", &[(&[1, 2, 0], 1), (&[1, 2, 1], 0)]);
    // The second result combines the opposite comparison.
    check(&format!("{set}setp.lt.and.s32 %p0|%p2, %r1, %r2, %p1;"), "%p2", &[(&[2, 1, 1], 1), (&[2, 1, 0], 0)]);
    check("setp.lt.s32 %p0|%p2, %r1, %r2;", "%p2", &[(&[2, 1], 1), (&[1, 2], 0)]);
}

#[test]
fn pairs_give_two_predicates() {
    let body = "setp.lt.f16x2 %p0|%p1, %r1, %r2;";
    let one_two: &[u64] = &[0x4000_3c00, 0x3c00_4000];
    check(body, "%p0", &[(one_two, 1)]);
    check(body, "%p1", &[(one_two, 0)]);
    check("setp.gt.bf16x2 %p0|%p1, %r1, %r2;", "%p1", &[(&[0x4000_3f80, 0x3f80_4000], 1)]);
}

#[test]
fn predicates_combine_and_copy() {
    let set = "setp.ne.s32 %p1, %r1, 0;\nsetp.ne.s32 %p2, %r2, 0;\n";
    let rows =
        |table: [u64; 4]| [(&[0u64, 0][..], table[0]), (&[0, 1], table[1]), (&[1, 0], table[2]), (&[1, 1], table[3])];
    check(&format!("{set}and.pred %p0, %p1, %p2;"), "%p0", &rows([0, 0, 0, 1]));
    check(&format!("{set}or.pred %p0, %p1, %p2;"), "%p0", &rows([0, 1, 1, 1]));
    check(&format!("{set}xor.pred %p0, %p1, %p2;"), "%p0", &rows([0, 1, 1, 0]));
    check(&format!("{set}not.pred %p0, %p1;"), "%p0", &rows([1, 1, 0, 0]));
    check(&format!("{set}mov.pred %p0, %p2;"), "%p0", &rows([0, 1, 0, 1]));
    for (constant, expected) in [("0", 0), ("1", 1), ("-1", 1)] {
        check(&format!("{set}mov.pred %p0, {constant};"), "%p0", &rows([expected; 4]));
    }
}

#[test]
fn set_writes_ones() {
    check("set.lt.u32.s32 %r0, %r1, %r2;", "%r0", &[(&[1, 2], MINUS), (&[2, 1], 0)]);
    check("set.lt.f32.s32 %r0, %r1, %r2;", "%r0", &[(&[1, 2], f(1.0))]);
    check("set.gt.f32.f32 %r0, %r1, %r2;", "%r0", &[(&[f(2.0), f(1.0)], f(1.0))]);
    check("set.eq.f16.f16 %h0, %h1, %h2;", "%h0", &[(&[0x3c00, 0x3c00], 0x3c00), (&[0x3c00, 0], 0)]);
    check("set.eq.bf16.bf16 %h0, %h1, %h2;", "%h0", &[(&[0x3f80, 0x3f80], 0x3f80)]);
    check("set.lt.f16x2.f16x2 %r0, %r1, %r2;", "%r0", &[(&[0x3c00_4000, 0x4000_3c00], 0x3c00_0000)]);
    check("set.geu.u32.f16x2 %r0, %r1, %r2;", "%r0", &[(&[0x3c00_4000, 0x4000_3c00], 0xffff)]);
    check("setp.ne.s32 %p1, %r3, 0;\nset.lt.or.u32.s32 %r0, %r1, %r2, %p1;", "%r0", &[(&[2, 1, 1], MINUS)]);
}

#[test]
fn classes_of_numbers() {
    let tiny = 1;
    let rows = [
        ("finite", 1, 0, 0, 1),
        ("infinite", 0, 1, 0, 0),
        ("number", 1, 1, 0, 1),
        ("notanumber", 0, 0, 1, 0),
        ("normal", 1, 0, 0, 0),
        ("subnormal", 0, 0, 0, 1),
    ];
    for (class, one, infinity, nan, subnormal) in rows {
        let cases: [(&[u64], u64); 4] =
            [(&[f(1.0)], one), (&[f(f32::INFINITY)], infinity), (&[NAN], nan), (&[tiny], subnormal)];
        check(&format!("testp.{class}.f32 %p0, %r1;"), "%p0", &cases);
    }
    check("testp.infinite.f64 %p0, %d1;", "%p0", &[(&[f64::INFINITY.to_bits()], 1), (&[0], 0)]);
    check("testp.normal.f32 %p0, %r1;", "%p0", &[(&[0], 1)]);
}
