use super::harness::{expect_fault, fault_of, run_with};
use half::{bf16, f16};
use obsdiff_ptx::FaultKind;

const BOX: &str = ".shared .align 16 .b8 box[1024];";

/// Fills the box with 512 halves that hold their own index, and puts its address into `%r5`.
const FILL: &str = "
    mov.u32 %r5, box;
    mul.lo.u32 %r6, %r60, 32;
    add.u32 %r6, %r6, %r5;
    mul.lo.u32 %r7, %r60, 16;
    mov.u32 %r8, 0;
    FILL:
    add.u32 %r9, %r7, %r8;
    mad.lo.u32 %r10, %r8, 2, %r6;
    st.shared.u16 [%r10], %r9;
    add.u32 %r8, %r8, 1;
    setp.lt.u32 %p1, %r8, 16;
    @%p1 bra FILL;
    bar.warp.sync -1;
    mad.lo.u32 %r11, %r60, 16, %r5;
    mad.wide.u32 %d1, %r60, 16, %d61;";

fn pairs(words: &[u32]) -> Vec<(u32, u32)> {
    words.iter().map(|word| (word & 0xffff, word >> 16)).collect()
}

#[test]
fn ldmatrix_gives_each_lane_its_pair() {
    let load = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r11];\nst.global.v4.u32 [%d1], {%r1, %r2, %r3, %r4};";
    let found = pairs(&run_with(BOX, &format!("{FILL}{load}"), &[], 32, 128).unwrap());
    let transposed = load.replace("x4", "x4.trans");
    let turned = pairs(&run_with(BOX, &format!("{FILL}{transposed}"), &[], 32, 128).unwrap());
    for lane in 0..32u32 {
        for matrix in 0..4u32 {
            // Row `row` of matrix `m` is at 8 (8 m + row).
            let (row, column) = (lane / 4, lane % 4 * 2);
            let first = 8 * (8 * matrix + row) + column;
            assert_eq!(found[(4 * lane + matrix) as usize], (first, first + 1), "lane {lane} matrix {matrix}");
            let at = |row: u32, column: u32| 8 * (8 * matrix + row) + column;
            let expected = (at(column, row), at(column + 1, row));
            assert_eq!(turned[(4 * lane + matrix) as usize], expected, "lane {lane} matrix {matrix} transposed");
        }
    }
}

#[test]
fn fewer_matrices_need_fewer_addresses() {
    let two = "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r1, %r2}, [%r12];\nst.global.v2.u32 [%d1], {%r1, %r2};\nst.global.v2.u32 [%d1+8], {0, 0};";
    // Lanes 16 and above hold no address of the box.
    let addresses = "setp.lt.u32 %p1, %r60, 16;\nselp.b32 %r12, %r11, 0, %p1;\n";
    let found = pairs(&run_with(BOX, &format!("{FILL}{addresses}{two}"), &[], 32, 128).unwrap());
    assert_eq!(found[4 * 9 + 1], (64 + 8 * 2 + 2, 64 + 8 * 2 + 3));
    let one =
        "ldmatrix.sync.aligned.m8n8.x1.trans.shared::cta.b16 {%r1}, [%r12];\nst.global.v4.u32 [%d1], {%r1, 0, 0, 0};";
    let addresses = "setp.lt.u32 %p1, %r60, 8;\nselp.b32 %r12, %r11, 0, %p1;\n";
    let found = pairs(&run_with(BOX, &format!("{FILL}{addresses}{one}"), &[], 32, 128).unwrap());
    assert_eq!(found[4 * 9], (8 * 2 + 2, 8 * 3 + 2));
}

#[test]
fn stmatrix_and_movmatrix_undo_and_turn() {
    let body = format!(
        "{FILL}
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r1, %r2, %r3, %r4}}, [%r11];
        bar.warp.sync -1;
        stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%r11], {{%r1, %r2, %r3, %r4}};
        bar.warp.sync -1;
        ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {{%r13, %r14, %r15, %r16}}, [%r11];
        movmatrix.sync.aligned.m8n8.trans.b16 %r17, %r2;
        movmatrix.sync.aligned.m8n8.trans.b16 %r18, %r17;
        sub.u32 %r13, %r13, %r1;
        sub.u32 %r14, %r14, %r2;
        sub.u32 %r15, %r15, %r3;
        sub.u32 %r18, %r18, %r2;
        st.global.v4.u32 [%d1], {{%r13, %r14, %r15, %r18}};"
    );
    assert_eq!(run_with(BOX, &body, &[], 32, 128).unwrap(), [0; 128]);
}

#[test]
fn a_row_address_must_be_aligned_and_in_bounds() {
    let kind = |offset: &str| {
        let body = format!(
            "{FILL}add.u32 %r11, %r11, {offset};\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r1, %r2, %r3, %r4}}, [%r11];"
        );
        fault_of(BOX, &body, 1, 32).kind
    };
    assert_eq!(kind("8"), FaultKind::Misaligned);
    assert_eq!(kind("1024"), FaultKind::OutOfBounds);
}

#[test]
fn all_lanes_must_take_part() {
    let apart = "setp.lt.u32 %p1, %r60, 31;\n@!%p1 bra END;\n";
    for op in [
        "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%r5];",
        "movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r60;",
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r1, %r2, %r3, %r4}, {%r60, %r60, %r60, %r60}, {%r60, %r60}, {%r60, %r60, %r60, %r60};",
    ] {
        let fault = expect_fault(&format!("mov.u32 %r5, 1024;\n{apart}{op}\nEND:"), 32, FaultKind::DivergentCollective);
        assert!(fault.to_string().contains("lane 31"), "{fault}");
    }
}

/// Runs `mma` on A = row index + 1 in column 0 (zero elsewhere) and B = column index + 1 in row 0, so that D is the
/// table of products plus C, which is 0.5.
fn products(mma: &str, a: usize, b: usize, one: impl Fn(f32) -> u32, c: &str, half_result: bool) {
    // Lane L holds row L / 4 (and + 8), columns 2 (L % 4) or L % 4 of A; column L / 4, rows 2 (L % 4) of B.
    let mut input = vec![0u32; 32 * 8];
    for group in 0..8 {
        input[8 * 4 * group] = one((group + 1) as f32);
        input[8 * 4 * group + 1] = one((group + 9) as f32);
        input[8 * 4 * group + 4] = one((group + 1) as f32);
    }
    let registers =
        |from: usize, count: usize| (from..from + count).map(|at| format!("%r{at}")).collect::<Vec<_>>().join(", ");
    let body = format!(
        "mad.wide.u32 %d1, %r60, 32, %d60;
        ld.global.v2.u32 {{%r1, %r2}}, [%d1];
        mov.u32 %r3, 0;
        mov.u32 %r4, 0;
        ld.global.u32 %r5, [%d1+16];
        mov.u32 %r6, 0;
        mov.u32 %r7, 0;
        mov.u32 %r8, 0;
        mov.u32 %r9, {c};
        {mma} {{{d}}}, {{{a}}}, {{{b}}}, {{{c_registers}}};
        mad.wide.u32 %d2, %r60, 16, %d61;
        st.global.v4.u32 [%d2], {{%r10, %r11, %r12, %r13}};",
        d = registers(10, if half_result { 2 } else { 4 }),
        a = registers(1, a),
        b = registers(5, b),
        c_registers = if half_result { "%r9, %r9" } else { "%r9, %r9, %r9, %r9" },
    );
    let body = if half_result { format!("mov.u32 %r12, 0;\nmov.u32 %r13, 0;\n{body}") } else { body };
    let found = run_with("", &body, &input, 32, 128).unwrap_or_else(|fault| panic!("{mma}: {fault}"));
    for lane in 0..32 {
        for register in 0..4 {
            let (row, column) = (lane / 4 + register / 2 * 8, lane % 4 * 2 + register % 2);
            let expected = ((row + 1) * (column + 1)) as f32 + 0.5;
            let value = if half_result {
                let word = found[4 * lane + register / 2];
                f16::from_bits((word >> (register % 2 * 16)) as u16).to_f32()
            } else {
                f32::from_bits(found[4 * lane + register])
            };
            assert_eq!(value, expected, "{mma}: row {row} column {column}");
        }
    }
}

#[test]
fn mma_of_every_shape_multiplies() {
    let bf = |value: f32| u32::from(bf16::from_f32(value).to_bits());
    let hf = |value: f32| u32::from(f16::from_f32(value).to_bits());
    let single = "0x3f000000";
    products("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 4, 2, bf, single, false);
    products("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", 2, 1, bf, single, false);
    products("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 4, 2, hf, single, false);
    products("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 2, 1, hf, single, false);
    products("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", 4, 2, hf, "0x38003800", true);
    products("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", 2, 1, hf, "0x38003800", true);
    products("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 4, 2, f32::to_bits, single, false);
    products("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", 2, 1, f32::to_bits, single, false);
}

#[test]
fn sparse_mma_places_values_by_their_metadata() {
    // Every group of four columns keeps columns 2 and 3 (metadata 1110 per group); A is all ones there, B row k is k.
    let body = "
        mov.u32 %r1, 0x3f803f80;
        mov.u32 %r20, 0xeeeeeeee;
        and.b32 %r2, %r60, 3;
        mul.lo.u32 %r2, %r2, 2;
        mad.wide.u32 %d1, %r2, 2, %d60;
        ld.global.u32 %r5, [%d1];
        ld.global.u32 %r6, [%d1+16];
        ld.global.u32 %r7, [%d1+32];
        ld.global.u32 %r8, [%d1+48];
        mov.f32 %r9, 0f00000000;
        MMA
        mad.wide.u32 %d2, %r60, 16, %d61;
        st.global.v4.f32 [%d2], {%r10, %r11, %r12, %r13};";
    let rows: Vec<u32> = (0..16)
        .map(|pair| {
            let bits = |value: u32| u32::from(bf16::from_f32(value as f32).to_bits());
            bits(2 * pair + 1) << 16 | bits(2 * pair)
        })
        .collect();
    let sum = |k: u32| (0..k).filter(|row| row % 4 >= 2).sum::<u32>() as f32;
    let k32 = "{%r10, %r11, %r12, %r13}, {%r1, %r1, %r1, %r1}, {%r5, %r6, %r7, %r8}, {%r9, %r9, %r9, %r9}, %r20";
    let k16 = "{%r10, %r11, %r12, %r13}, {%r1, %r1}, {%r5, %r6}, {%r9, %r9, %r9, %r9}, %r20";
    for (form, operands, k, selectors) in [("m16n8k32", k32, 32, 0..2), ("m16n8k16", k16, 16, 0..4)] {
        for selector in selectors {
            for name in ["mma.sp::ordered_metadata", "mma.sp"] {
                let mma = format!("{name}.sync.aligned.{form}.row.col.f32.bf16.bf16.f32 {operands}, {selector};");
                let found = run_with("", &body.replace("MMA", &mma), &rows, 32, 128)
                    .unwrap_or_else(|fault| panic!("{mma}: {fault}"));
                assert!(found.iter().all(|&bits| f32::from_bits(bits) == sum(k)), "{mma}");
            }
        }
    }
    let bad = body
        .replace("0xeeeeeeee", "0x11111111")
        .replace("MMA", &format!("mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 {k32}, 0;"));
    let fault = fault_of("", &bad, 1, 32);
    assert_eq!(fault.kind, FaultKind::Unsupported);
    assert!(fault.to_string().contains("not ascending"), "{fault}");
}
