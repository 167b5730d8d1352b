//! The interpreter against what a GPU did: single instructions on recorded inputs.
//!
//! `data/gpu-vectors.txt` is what `scripts/gpu/vectors.cu` printed on a GPU, one case per line:
//!
//! ```text
//! INSTRUCTION CASE | inputs of lane 0 ; of lane 1 ; ... | outputs of lane 0 ; of lane 1 ; ...
//! ```
//!
//! Registers are 32-bit words in hexadecimal: A, B, C, then metadata. Cases named `exact..` hold small whole numbers,
//! whose sums are exact in any order; they must agree to the bit, as must instructions that do no sums. In the others
//! the order and the truncation of a GPU's sums, which PTX leaves open, show in the last bits.

use std::path::Path;

use obsdiff_ptx::numeric::{Convert, ConvertRounding, Number, Rounding, convert};
use obsdiff_ptx::tensor::{Accumulator, Element, Lanes, Mma, SparseMma, WARP, ldmatrix};

/// Allowed distance of a sum from the GPU's, as a share of sum |a| |b| + |c|.
const SUM_TOLERANCE: f64 = 1.0 / (1 << 20) as f64;

/// Bits of a tf32 register that count; whatever reads it ignores the others.
const TF32_BITS: u32 = !0x1fff;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Instruction {
    Dense(Mma, Element),
    Sparse(SparseMma),
    LoadMatrix { transpose: bool },
    ToTf32,
}

impl Instruction {
    fn named(name: &str) -> Option<Self> {
        use Accumulator::F32;
        let dense = |k, element| Some(Instruction::Dense(Mma::new(k, element, F32)?, element));
        match name {
            "mma.m16n8k16.bf16" => dense(16, Element::Bf16),
            "mma.m16n8k16.f16" => dense(16, Element::F16),
            "mma.m16n8k8.tf32" => dense(8, Element::Tf32),
            "mma.sp.m16n8k32.bf16.0" => SparseMma::new(32, Element::Bf16, F32, 0).map(Instruction::Sparse),
            "mma.sp.m16n8k32.f16.1" => SparseMma::new(32, Element::F16, F32, 1).map(Instruction::Sparse),
            "ldmatrix.x4" => Some(Instruction::LoadMatrix { transpose: false }),
            "ldmatrix.x4.trans" => Some(Instruction::LoadMatrix { transpose: true }),
            "cvt.rna.tf32" => Some(Instruction::ToTf32),
            _ => None,
        }
    }

    /// Registers read and written per lane.
    fn registers(self) -> (usize, usize) {
        match self {
            Instruction::Dense(..) => (10, 4),
            Instruction::Sparse(_) => (13, 4),
            Instruction::LoadMatrix { .. } => (4, 4),
            Instruction::ToTf32 => (1, 1),
        }
    }

    /// Whether results are sums, which a GPU may round otherwise.
    fn sums(self) -> bool {
        matches!(self, Instruction::Dense(..) | Instruction::Sparse(_))
    }

    fn run(self, inputs: &[Lanes]) -> Result<Vec<Lanes>, String> {
        let mut d = vec![[0; WARP]; self.registers().1];
        match self {
            Instruction::Dense(mma, _) => mma.run(&inputs[..4], &inputs[4..6], &inputs[6..], &mut d),
            Instruction::Sparse(mma) => mma
                .run(&inputs[..4], &inputs[4..8], &inputs[8..12], &inputs[12], &mut d)
                .map_err(|error| format!("{error:?}"))?,
            Instruction::LoadMatrix { transpose } => {
                let row = |lane: usize| {
                    let mut bytes = [0u8; 16];
                    for (word, register) in bytes.chunks_exact_mut(4).zip(inputs) {
                        word.copy_from_slice(&register[lane].to_le_bytes());
                    }
                    bytes
                };
                let rows: Vec<[u8; 16]> = (0..WARP).map(row).collect();
                ldmatrix(transpose, &rows, &mut d);
            }
            Instruction::ToTf32 => {
                let rounding = ConvertRounding::Float(Rounding::NearestAway);
                let operation = Convert::new(Number::Tf32, Number::F32, rounding);
                d[0] = inputs[0].map(|bits| convert(&operation, bits.into()) as u32 & TF32_BITS);
            }
        }
        Ok(d)
    }

    /// sum |a| |b| + |c| of every result: the product without any sign.
    fn magnitudes(self, inputs: &[Lanes]) -> Result<Vec<Lanes>, String> {
        let halves = 0x7fff_7fff;
        let (operands, signless) = match self {
            Instruction::Dense(_, Element::Tf32) => (6, 0x7fff_ffff),
            Instruction::Dense(..) => (6, halves),
            _ => (8, halves),
        };
        let unsigned = |(index, register): (usize, &Lanes)| match index {
            // Metadata has no sign.
            12 => *register,
            _ if index < operands => register.map(|bits| bits & signless),
            _ => register.map(|bits| bits & 0x7fff_ffff),
        };
        self.run(&inputs.iter().enumerate().map(unsigned).collect::<Vec<_>>())
    }
}

/// One line of the file, registers as slots of all lanes.
#[derive(Debug)]
struct Case<'a> {
    instruction: Instruction,
    name: &'a str,
    exact: bool,
    inputs: Vec<Lanes>,
    outputs: Vec<Lanes>,
}

impl<'a> Case<'a> {
    fn parse(line: &'a str) -> Result<Self, String> {
        let parts: Vec<&str> = line.split('|').collect();
        let [name, inputs, outputs] = parts[..] else { return Err(format!("{} parts, expected 3", parts.len())) };
        let (instruction, case) = name.trim().split_once(' ').ok_or_else(|| format!("`{name}` names no case"))?;
        let instruction =
            Instruction::named(instruction).ok_or_else(|| format!("unknown instruction `{instruction}`"))?;
        let exact = match case.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "exact" => true,
            "random" => false,
            other => return Err(format!("case `{other}` is neither exact nor random")),
        };
        let (reads, writes) = instruction.registers();
        let (inputs, outputs) = (slots(inputs, reads)?, slots(outputs, writes)?);
        Ok(Case { instruction, name: name.trim(), exact, inputs, outputs })
    }

    /// Compares what the interpreter computes with what the GPU did.
    fn check(&self) -> Result<(), String> {
        let found = self.instruction.run(&self.inputs).map_err(|error| format!("{}: {error}", self.name))?;
        let rounded = self.instruction.sums() && !self.exact;
        let scales = if rounded { self.instruction.magnitudes(&self.inputs)? } else { Vec::new() };
        for (register, (found, gpu)) in found.iter().zip(&self.outputs).enumerate() {
            for lane in 0..WARP {
                let (found, gpu) = (found[lane], gpu[lane]);
                let equal = match self.instruction {
                    _ if rounded => {
                        let value = |bits| f64::from(f32::from_bits(bits));
                        (value(found) - value(gpu)).abs() <= SUM_TOLERANCE * value(scales[register][lane])
                    }
                    Instruction::ToTf32 => found == gpu & TF32_BITS,
                    _ => found == gpu,
                };
                if !equal {
                    return Err(format!(
                        "{}: register {register} of lane {lane} is {found:08x} here and {gpu:08x} on the GPU",
                        self.name
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The registers of all lanes, `count` each.
fn slots(text: &str, count: usize) -> Result<Vec<Lanes>, String> {
    let lanes: Vec<&str> = text.split(';').collect();
    if lanes.len() != WARP {
        return Err(format!("{} lanes, expected {WARP}", lanes.len()));
    }
    let mut slots = vec![[0; WARP]; count];
    for (lane, words) in lanes.iter().enumerate() {
        let words: Vec<&str> = words.split_whitespace().collect();
        if words.len() != count {
            return Err(format!("lane {lane} has {} registers, expected {count}", words.len()));
        }
        for (slot, word) in slots.iter_mut().zip(words) {
            slot[lane] = u32::from_str_radix(word, 16).map_err(|error| format!("`{word}`: {error}"))?;
        }
    }
    Ok(slots)
}

#[test]
fn instructions_do_what_a_gpu_did() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gpu-vectors.txt");
    if !path.exists() {
        println!("SKIP: no vectors recorded on a GPU yet");
        println!("0 vectors checked, 1 file skipped");
        return;
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let cases = text.lines().map(|line| Case::parse(line).and_then(|case| case.check().map(|()| case.instruction)));
    let seen: Vec<Instruction> = cases.collect::<Result<_, _>>().unwrap();
    for name in INSTRUCTIONS {
        let instruction = Instruction::named(name).unwrap();
        assert!(seen.contains(&instruction), "{} holds no case of {name}", path.display());
    }
    println!("{} vectors checked, 0 skipped", seen.len());
}

const INSTRUCTIONS: [&str; 8] = [
    "mma.m16n8k16.bf16",
    "mma.m16n8k16.f16",
    "mma.m16n8k8.tf32",
    "mma.sp.m16n8k32.bf16.0",
    "mma.sp.m16n8k32.f16.1",
    "ldmatrix.x4",
    "ldmatrix.x4.trans",
    "cvt.rna.tf32",
];

/// A line of registers by lane and place.
fn line(
    name: &str,
    (reads, input): (usize, impl Fn(usize, usize) -> u32),
    (writes, output): (usize, impl Fn(usize, usize) -> u32),
) -> String {
    let words = |count: usize, word: &dyn Fn(usize, usize) -> u32| {
        let lane = |lane| (0..count).map(|i| format!(" {:08x}", word(lane, i))).collect::<String>();
        (0..WARP).map(lane).collect::<Vec<_>>().join(" ;")
    };
    format!("{name} |{} |{}", words(reads, &input), words(writes, &output))
}

/// Element of A, of B and of C in a product worked out by hand below.
fn a(row: usize, k: usize) -> f32 {
    ((3 * row + 5 * k) % 17) as f32 - 8.0
}

fn b(k: usize, column: usize) -> f32 {
    ((7 * k + 2 * column) % 15) as f32 - 7.0
}

fn c(row: usize, column: usize) -> f32 {
    (row + column) as f32 - 11.0
}

/// bf16 is the upper half of f32, and these whole numbers fit.
fn pair(low: f32, high: f32) -> u32 {
    low.to_bits() >> 16 | high.to_bits() & 0xffff_0000
}

/// mma.m16n8k16 on bf16, its fragments laid out as PTX ISA 9.7.14.5.8 draws them; `wrong` changes results.
fn product(case: &str, wrong: impl Fn(usize, usize, f32) -> f32) -> String {
    let inputs = |lane: usize, i: usize| {
        let (group, thread) = (lane / 4, lane % 4);
        match i {
            0..4 => {
                let (row, k) = (group + 8 * (i % 2), 2 * thread + 8 * (i / 2));
                pair(a(row, k), a(row, k + 1))
            }
            4..6 => {
                let k = 2 * thread + 8 * (i - 4);
                pair(b(k, group), b(k + 1, group))
            }
            _ => c(group + 8 * ((i - 6) / 2), 2 * thread + i % 2).to_bits(),
        }
    };
    let outputs = |lane: usize, i: usize| {
        let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
        let sum = (0..16).map(|k| a(row, k) * b(k, column)).sum::<f32>() + c(row, column);
        wrong(lane, i, sum).to_bits()
    };
    line(&format!("mma.m16n8k16.bf16 {case}"), (10, inputs), (4, outputs))
}

#[test]
fn a_product_by_plain_arithmetic_agrees_and_a_changed_one_does_not() {
    let check = |line: String| Case::parse(&line).unwrap().check();
    check(product("exact0", |_, _, sum| sum)).unwrap();
    check(product("random4", |_, _, sum| sum)).unwrap();
    for (lane, register) in [(0, 0), (13, 2), (31, 3)] {
        let changed = |by: fn(f32) -> f32| move |l, r, sum| if (l, r) == (lane, register) { by(sum) } else { sum };
        // Every sum of |a| |b| + |c| is below 16 * 8 * 7 + 18 < 2^10, and above 2^6.
        let error = check(product("exact0", changed(|sum| sum + 2f32.powi(-15)))).unwrap_err();
        assert!(error.contains(&format!("register {register} of lane {lane} ")), "{error}");
        check(product("random4", changed(|sum| sum + 2f32.powi(-15)))).unwrap();
        let error = check(product("random4", changed(|sum| sum + 2f32.powi(-9)))).unwrap_err();
        assert!(error.contains(&format!("register {register} of lane {lane} ")), "{error}");
        check(product("random4", changed(|_| f32::NAN))).unwrap_err();
    }
}

#[test]
fn moves_and_conversions_are_held_to_the_bit_in_every_case() {
    // Element (row, column) of matrix m is 64 m + 8 row + column; a lane gives row lane % 8 of matrix lane / 8.
    let element = |matrix: usize, row: usize, column: usize| (64 * matrix + 8 * row + column) as u32;
    let inputs = |lane: usize, i: usize| {
        let at = |column| element(lane / 8, lane % 8, column);
        at(2 * i) | at(2 * i + 1) << 16
    };
    let plain = |lane: usize, m: usize| {
        let (row, column) = (lane / 4, 2 * (lane % 4));
        element(m, row, column) | element(m, row, column + 1) << 16
    };
    let turned = |lane: usize, m: usize| {
        let (row, column) = (2 * (lane % 4), lane / 4);
        element(m, row, column) | element(m, row + 1, column) << 16
    };
    let check = |line: String| Case::parse(&line).unwrap().check();
    check(line("ldmatrix.x4 random5", (4, inputs), (4, plain))).unwrap();
    check(line("ldmatrix.x4.trans random5", (4, inputs), (4, turned))).unwrap();
    check(line("ldmatrix.x4 random5", (4, inputs), (4, turned))).unwrap_err();
    check(line("ldmatrix.x4.trans random5", (4, inputs), (4, plain))).unwrap_err();
    // 1 + 2^-11 lies between two tf32 and goes away from zero; the low 13 bits of the answer do not count.
    let half = |_, _| 0x3f80_1000;
    for (answer, agrees) in [(0x3f80_2000, true), (0x3f80_2abc, true), (0x3f80_0000, false), (0x3f80_4000, false)] {
        let outcome = check(line("cvt.rna.tf32 random4", (1, half), (1, |_, _| answer)));
        assert_eq!(outcome.is_ok(), agrees, "{answer:08x}: {outcome:?}");
    }
}

#[test]
fn sparse_products_read_their_metadata() {
    // A keeps columns 1 and 3 of every four and is 1 there, B is its row number, so each result is the sum of the
    // odd numbers below 32: 256, plus C = lane.
    let inputs = |lane: usize, i: usize| match i {
        0..4 => pair(1.0, 1.0),
        4..8 => {
            let k = 2 * (lane % 4) + 8 * (i - 4);
            pair(k as f32, (k + 1) as f32)
        }
        8..12 => (lane as f32).to_bits(),
        _ => 0xdddd_dddd,
    };
    let sum = |of: f32| move |lane: usize, _: usize| (of + lane as f32).to_bits();
    let check = |line: String| Case::parse(&line).unwrap().check();
    check(line("mma.sp.m16n8k32.bf16.0 exact0", (13, inputs), (4, sum(256.0)))).unwrap();
    check(line("mma.sp.m16n8k32.bf16.0 exact0", (13, inputs), (4, sum(240.0)))).unwrap_err();
    check(line("mma.sp.m16n8k32.bf16.0 random4", (13, inputs), (4, sum(240.0)))).unwrap_err();
    let unordered = |lane, i| if i == 12 { 0x7777_7777 } else { inputs(lane, i) };
    check(line("mma.sp.m16n8k32.bf16.0 exact0", (13, unordered), (4, sum(256.0)))).unwrap_err();
}

#[test]
fn lines_that_are_no_vectors_are_refused() {
    for name in INSTRUCTIONS {
        let (reads, writes) = Instruction::named(name).unwrap().registers();
        let text = line(&format!("{name} exact0"), (reads, |_, _| 0), (writes, |_, _| 0));
        assert!(Case::parse(&text).is_ok(), "{name}");
        for (broken, why) in [
            (text.replacen(" 00000000", "", 1), "registers"),
            (text.replacen(" ;", "", 1), "lanes"),
            (text.replacen("00000000", "0000000g", 1), "invalid digit"),
            (text.replacen("exact", "guess", 1), "neither exact nor random"),
            (text.replacen(name, "mma.m16n8k4", 1), "unknown instruction"),
            (text.replacen('|', "", 1), "parts"),
        ] {
            let error = Case::parse(&broken).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
    }
}
