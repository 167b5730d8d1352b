//! Every form of the matrix instructions is run as written, or refused.

use obsdiff_ptx::FaultKind;
use obsdiff_ptx::tensor::{self, Accumulator, Element, Mma, SparseMma};

#[path = "support/lanes.rs"]
mod lanes;

use lanes::{Lanes, parse, run};

/// Operand bits that differ in every register and lane, all of them finite numbers of moderate size.
fn operand(element: Element, register: usize) -> Lanes {
    std::array::from_fn(|lane| {
        let step = (register * 32 + lane) as u64;
        match element {
            // 1 to 2 in steps of a 32nd, signs alternating, another value in each half.
            Element::F16 => (0xbc00 | (step * 7 % 31) << 5) << 16 | 0x3c00 | (step * 11 % 29) << 5,
            Element::Bf16 => (0xbf80 | (step * 7 % 31) << 2) << 16 | 0x3f80 | (step * 11 % 29) << 2,
            Element::Tf32 => 0x3f80_0000 | step << 31 & 0x8000_0000 | (step * 37 % 251) << 13,
        }
    })
}

fn narrow(registers: &[Lanes]) -> Vec<tensor::Lanes> {
    registers.iter().map(|register| register.map(|bits| bits as u32)).collect()
}

fn name(element: Element) -> &'static str {
    match element {
        Element::F16 => "f16",
        Element::Bf16 => "bf16",
        Element::Tf32 => "tf32",
    }
}

/// `{%a4,%a5}` for registers 4 and 5 of `a`.
fn vector(letter: char, registers: std::ops::Range<usize>) -> String {
    format!("{{{}}}", registers.map(|register| format!("%{letter}{register}")).collect::<Vec<_>>().join(","))
}

#[test]
fn every_dense_product_is_run_as_written_or_refused() {
    let mut known = 0;
    for element in [Element::F16, Element::Bf16, Element::Tf32] {
        for (accumulator, accumulator_name) in [(Accumulator::F16, "f16"), (Accumulator::F32, "f32")] {
            for k in [4, 8, 16, 32] {
                let kind = name(element);
                let opcode =
                    format!("mma.sync.aligned.m16n8k{k}.row.col.{accumulator_name}.{kind}.{kind}.{accumulator_name}");
                let Some(mma) = Mma::new(k, element, accumulator) else {
                    let body = format!("{opcode} {{%d0,%d1}}, {{%a0,%a1}}, {{%a2}}, {{%a3,%a4}};");
                    assert!(parse(&body, &[32; 5], &[32; 2]).is_err(), "{opcode} was accepted");
                    continue;
                };
                known += 1;
                let (a, b, c) = (mma.a_registers(), mma.b_registers(), mma.c_registers());
                let accumulated = if accumulator == Accumulator::F16 { Element::F16 } else { Element::Tf32 };
                let operands: Vec<_> =
                    (0..a + b + c).map(|at| operand(if at < a + b { element } else { accumulated }, at)).collect();
                let body = format!(
                    "{opcode} {}, {}, {}, {};",
                    vector('d', 0..c),
                    vector('a', 0..a),
                    vector('a', a..a + b),
                    vector('a', a + b..a + b + c)
                );
                let typed: Vec<_> = operands.iter().map(|&values| (32, values)).collect();
                let found = run(&body, &typed, &vec![32; c]).unwrap_or_else(|fault| panic!("{body} {fault}"));
                let all = narrow(&operands);
                let mut expected = vec![[0; 32]; c];
                mma.run(&all[..a], &all[a..a + b], &all[a + b..], &mut expected);
                assert_eq!(narrow(&found), expected, "{body}");
            }
        }
    }
    assert_eq!(known, 8);
}

#[test]
fn every_sparse_product_is_run_as_written_or_refused() {
    let mut known = 0;
    for qualifier in ["sp", "sp::ordered_metadata"] {
        for element in [Element::F16, Element::Bf16] {
            for (accumulator, accumulator_name) in [(Accumulator::F16, "f16"), (Accumulator::F32, "f32")] {
                for (k, selector) in [16, 32].into_iter().flat_map(|k| (0..5).map(move |selector| (k, selector))) {
                    let kind = name(element);
                    let opcode = format!(
                        "mma.{qualifier}.sync.aligned.m16n8k{k}.row.col.\
                         {accumulator_name}.{kind}.{kind}.{accumulator_name}"
                    );
                    let (ab, c) = (k / 8, if accumulator == Accumulator::F16 { 2 } else { 4 });
                    let body = format!(
                        "{opcode} {}, {}, {}, {}, %a{}, {selector:#x};",
                        vector('d', 0..c),
                        vector('a', 0..ab),
                        vector('a', ab..2 * ab),
                        vector('a', 2 * ab..2 * ab + c),
                        2 * ab + c
                    );
                    let Some(mma) = SparseMma::new(k, element, accumulator, selector) else {
                        let widths = vec![32; 2 * ab + c + 1];
                        assert!(parse(&body, &widths, &vec![32; c]).is_err(), "{body} was accepted");
                        continue;
                    };
                    known += 1;
                    let accumulated = if accumulator == Accumulator::F16 { Element::F16 } else { Element::Tf32 };
                    let mut operands: Vec<_> = (0..2 * ab + c)
                        .map(|at| operand(if at < 2 * ab { element } else { accumulated }, at))
                        .collect();
                    // Ascending pairs, different in every lane and four.
                    let pairs = [0x4u64, 0x8, 0xc, 0x9, 0xd, 0xe];
                    operands.push(std::array::from_fn(|lane| {
                        (0..8).fold(0, |bits, four| bits | pairs[(lane * 5 + four * 7 + lane * four) % 6] << (4 * four))
                    }));
                    let typed: Vec<_> = operands.iter().map(|&values| (32, values)).collect();
                    let found = run(&body, &typed, &vec![32; c]).unwrap_or_else(|fault| panic!("{body} {fault}"));
                    let all = narrow(&operands);
                    let mut expected = vec![[0; 32]; c];
                    mma.run(&all[..ab], &all[ab..2 * ab], &all[2 * ab..2 * ab + c], &all[2 * ab + c], &mut expected)
                        .expect("the indices ascend");
                    assert_eq!(narrow(&found), expected, "{body}");
                }
            }
        }
    }
    // Two spellings of three types, each with four selectors for k = 16 and two for k = 32.
    assert_eq!(known, 2 * 3 * 6);
}

#[test]
fn a_sparse_product_with_unordered_metadata_is_a_fault() {
    let mut operands: Vec<(u32, Lanes)> = (0..12).map(|at| (32, operand(Element::Bf16, at))).collect();
    let mut metadata = [0x4444_4444; 32];
    metadata[8] = 0x4444_4441;
    operands.push((32, metadata));
    let body = |selector| {
        format!(
            "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 \
             {{%d0,%d1,%d2,%d3}}, {{%a0,%a1,%a2,%a3}}, {{%a4,%a5,%a6,%a7}}, {{%a8,%a9,%a10,%a11}}, %a12, {selector};"
        )
    };
    let fault = run(&body(0), &operands, &[32; 4]).expect_err("row 2 has indices 1 and 0");
    assert_eq!(fault.place.expect("a kernel runs").lane, Some(8), "{}", fault.detail);
    assert!(fault.detail.contains("row 2 columns 0..4"), "{}", fault.detail);
    run(&body(1), &operands, &[32; 4]).expect("the other selector does not ask lane 8");
}

#[test]
fn malformed_matrix_instructions_are_refused() {
    let registers = "{%d0,%d1,%d2,%d3}, {%a0,%a1,%a2,%a3}, {%a4,%a5}, {%a6,%a7,%a8,%a9}";
    let product = |opcode: &str, registers: &str| parse(&format!("mma.{opcode} {registers};"), &[32; 10], &[32; 4]);
    product("sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", registers).expect("the well-formed one");
    for opcode in [
        "sync.aligned.m16n8k16.col.col.f32.bf16.bf16.f32",
        "sync.aligned.m16n8k16.row.row.f32.bf16.bf16.f32",
        "sync.aligned.m16n8k16.row.col.f32.bf16.f16.f32",
        "sync.aligned.m16n8k16.row.col.f16.f16.f16.f32",
        "sync.m16n8k16.row.col.f32.bf16.bf16.f32",
        "aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        "sync.aligned.m16n8k16.row.col.satfinite.f32.bf16.bf16.f32",
        "sync.aligned.m8n8k16.row.col.f32.bf16.bf16.f32",
    ] {
        assert!(product(opcode, registers).is_err(), "{opcode} was accepted");
    }
    for registers in [
        "{%d0,%d1,%d2,%d3}, {%a0,%a1,%a2}, {%a4,%a5}, {%a6,%a7,%a8,%a9}",
        "{%d0,%d1,%d2,%d3}, {%a0,%a1,%a2,%a3}, {%a4}, {%a6,%a7,%a8,%a9}",
        "{%d0,%d1,%d2,%d3}, {%a0,%a1,%a2,%a3}, {%a4,%a5,%a6}, {%a6,%a7,%a8,%a9}",
        "{%d0,%d1}, {%a0,%a1,%a2,%a3}, {%a4,%a5}, {%a6,%a7,%a8,%a9}",
        "{%d0,%d1,%d2,%d3}, {%a0,%a1,%a2,%a3}, {%a4,%a5}",
    ] {
        let opcode = "sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32";
        assert!(product(opcode, registers).is_err(), "{registers} was accepted");
    }
    for body in [
        "ldmatrix.sync.aligned.m8n8.x3.shared.b16 {%d0,%d1,%d2}, [%a0];",
        "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%d0,%d1,%d2}, [%a0];",
        "ldmatrix.sync.aligned.m8n8.x1.shared.b8 {%d0}, [%a0];",
        "ldmatrix.sync.aligned.m8n8.x1.global.b16 {%d0}, [%a0];",
        "ldmatrix.aligned.m8n8.x1.shared.b16 {%d0}, [%a0];",
        "movmatrix.sync.aligned.m8n8.b16 %d0, %a0;",
    ] {
        assert!(parse(body, &[32; 10], &[32; 4]).is_err(), "{body} was accepted");
    }
}

/// Eight bytes of shared memory per lane and matrix row half, written and made visible; then `rest`.
fn with_rows(rest: &str) -> String {
    // Operands 0 and 1 are the upper and lower 64 bits of the row at 16 lane.
    format!(
        "mov.u32 %t0, shared; mad.lo.u32 %t1, %lane, 16, %t0;
         st.shared.v2.b64 [%t1], {{%a0, %a1}};
         bar.warp.sync 0xffffffff;
         {rest}"
    )
}

/// Row `lane` of the four matrices, as two operands and as bytes.
fn rows() -> ([(u32, Lanes); 2], Vec<[u8; 16]>) {
    let half = |second: u64| std::array::from_fn(|lane| 0x0101_0203_0507_0b0d * (1 + 2 * lane as u64 + second));
    let (low, high): (Lanes, Lanes) = (half(0), half(1));
    let bytes =
        |lane: usize| [low[lane].to_le_bytes(), high[lane].to_le_bytes()].concat().try_into().expect("16 bytes");
    ([(64, low), (64, high)], (0..32).map(bytes).collect())
}

#[test]
fn every_ldmatrix_is_run_as_written() {
    let (operands, rows) = rows();
    for (count, number) in [(1, "x1"), (2, "x2"), (4, "x4")] {
        for (transpose, trans) in [(false, ""), (true, ".trans")] {
            for space in [".shared", ".shared::cta", ""] {
                // Lanes beyond the last row pass an address that must not be used.
                let address = match space {
                    "" => "cvt.u64.u32 %q0, %t2; cvta.shared.u64 %q0, %q0;",
                    _ => "cvt.u64.u32 %q0, %t2;",
                };
                let body = with_rows(&format!(
                    "setp.lt.u32 %p0, %lane, {rows}; selp.b32 %t2, %t1, 0, %p0;
                     {address}
                     ldmatrix.sync.aligned.m8n8.{number}{trans}{space}.b16 {registers}, [%q0];",
                    rows = 8 * count,
                    registers = vector('d', 0..count)
                ));
                let found = run(&body, &operands, &vec![32; count]).unwrap_or_else(|fault| panic!("{body} {fault}"));
                let mut expected = vec![[0; 32]; count];
                tensor::ldmatrix(transpose, &rows, &mut expected);
                assert_eq!(narrow(&found), expected, "{body}");
            }
        }
    }
}

#[test]
fn every_stmatrix_is_run_as_written() {
    let registers: Vec<(u32, Lanes)> = (0..4).map(|at| (32, operand(Element::F16, at))).collect();
    for (count, number) in [(1, "x1"), (2, "x2"), (4, "x4")] {
        for (transpose, trans) in [(false, ""), (true, ".trans")] {
            for space in [".shared", ".shared::cta"] {
                let body = format!(
                    "mov.u32 %t0, shared; mad.lo.u32 %t1, %lane, 16, %t0;
                     mov.b64 %q1, 0; st.shared.v2.b64 [%t1], {{%q1, %q1}};
                     bar.warp.sync 0xffffffff;
                     stmatrix.sync.aligned.m8n8.{number}{trans}{space}.b16 [%t1], {registers};
                     bar.warp.sync 0xffffffff;
                     ld.shared.v2.b64 {{%d0, %d1}}, [%t1];",
                    registers = vector('a', 0..count)
                );
                let found = run(&body, &registers, &[64; 2]).unwrap_or_else(|fault| panic!("{body} {fault}"));
                let all = narrow(&registers.iter().map(|operand| operand.1).collect::<Vec<_>>());
                let mut rows = [[0; 16]; 32];
                tensor::stmatrix(transpose, &all[..count], &mut rows);
                for lane in 0..32 {
                    let row = [found[0][lane].to_le_bytes(), found[1][lane].to_le_bytes()].concat();
                    assert_eq!(row, rows[lane], "{body} row {lane}");
                }
            }
        }
    }
}

#[test]
fn movmatrix_is_run_as_written() {
    let a = operand(Element::F16, 3);
    let found = run("movmatrix.sync.aligned.m8n8.trans.b16 %d0, %a0;", &[(32, a)], &[32]).expect("it runs");
    assert_eq!(narrow(&found)[0], tensor::movmatrix(&narrow(&[a])[0]));
}

#[test]
fn matrix_instructions_need_the_whole_warp() {
    for instruction in [
        "movmatrix.sync.aligned.m8n8.trans.b16 %d0, %a0;",
        "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%d0,%d1,%d2,%d3}, {%a0,%a1}, {%a2}, {%a3,%a4,%a5,%a6};",
        "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%d0}, [shared];",
    ] {
        let body = format!(
            "mov.b32 %d0, 0; mov.b32 %d1, 0; mov.b32 %d2, 0; mov.b32 %d3, 0;
             setp.ne.u32 %p0, %lane, 5; @!%p0 bra LATER; {instruction} LATER:"
        );
        let operands: Vec<_> = (0..7).map(|at| (32, operand(Element::Bf16, at))).collect();
        let fault = run(&body, &operands, &[32; 4]).expect_err("lane 5 does not take part");
        assert_eq!(fault.kind, FaultKind::DivergentCollective, "{instruction}");
        assert_eq!(fault.place.expect("a kernel runs").lane, Some(5), "{instruction}");
    }
}

#[test]
fn ldmatrix_needs_the_rows_to_be_written_and_ordered() {
    let (operands, _) = rows();
    let load = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%d0,%d1,%d2,%d3}, [%t1];";
    let unsynchronised = with_rows(load).replace("bar.warp.sync 0xffffffff;", "");
    // Each lane reads the row that it wrote itself: that needs no barrier.
    run(&unsynchronised, &operands, &[32; 4]).expect("own rows");
    let neighbours = with_rows(&format!("xor.b32 %t1, %t1, 16; {load}"));
    run(&neighbours, &operands, &[32; 4]).expect("a barrier orders the rows");
    let racing = neighbours.replace("bar.warp.sync 0xffffffff;", "");
    assert_eq!(run(&racing, &operands, &[32; 4]).expect_err("nothing orders the rows").kind, FaultKind::Race);
    let beyond = with_rows(&format!("add.u32 %t1, %t1, 256; {load}"));
    let fault = run(&beyond, &operands, &[32; 4]).expect_err("half of the rows were never written");
    assert_eq!(fault.kind, FaultKind::UninitialisedShared);
    let crooked = with_rows(&format!("add.u32 %t1, %t1, 8; {load}"));
    assert_eq!(run(&crooked, &operands, &[32; 4]).expect_err("rows are 16-aligned").kind, FaultKind::Misaligned);
}
