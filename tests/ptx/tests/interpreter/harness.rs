//! Wraps instructions into kernels.
//!
//! Registers of a snippet: `%p0..`, `%h0..` (16 bits), `%r0..` (32 bits), `%d0..` (64 bits). Instructions on floats use
//! the same untyped registers, which PTX allows.

use obsdiff_ptx::{Fault, FaultKind, Machine, Module, Options, ParseError, Schedule};

/// Input words per lane.
const INPUTS: usize = 8;

pub fn options() -> Options {
    Options { schedule: Schedule::RoundRobin, resident_blocks: 4, max_steps: 1 << 20 }
}

/// A module with one entry `k(in, out)`. `%d60` is the address of the inputs, `%d61` that of the outputs, `%r60` the
/// thread's index in its block, `%r61` the block's index. `before` stands before the entry.
pub fn module_with(before: &str, body: &str) -> Result<Module, ParseError> {
    Module::parse("snippet", &text(before, body))
}

fn text(before: &str, body: &str) -> String {
    format!(
        ".version 9.0
.target sm_90a
.address_size 64
{before}
.visible .entry k(.param .u64 in, .param .u64 out)
{{
.reg .pred %p<16>;
.reg .b16 %h<16>;
.reg .b32 %r<70>;
.reg .b64 %d<70>;
ld.param.u64 %d60, [in];
ld.param.u64 %d61, [out];
mov.u32 %r60, %tid.x;
mov.u32 %r61, %ctaid.x;
{body}
ret;
}}
"
    )
}

/// A machine with the snippet's two buffers.
pub struct Bench {
    pub machine: Machine,
    pub module: Module,
    pub input: u64,
    pub output: u64,
    output_bytes: usize,
}

impl Bench {
    pub fn new(before: &str, body: &str, input: &[u8], output_bytes: usize) -> Bench {
        let module = module_with(before, body).unwrap_or_else(|error| panic!("{error}"));
        let mut machine = Machine::new(options());
        let (place, output) = (machine.allocate(input.len().max(1), "in"), machine.allocate(output_bytes, "out"));
        machine.write(place, input).unwrap();
        Bench { machine, module, input: place, output, output_bytes }
    }

    pub fn launch(&mut self, blocks: u32, threads: u32, shared: u32) -> Result<(), Fault> {
        let mut parameters = self.input.to_le_bytes().to_vec();
        parameters.extend(self.output.to_le_bytes());
        self.machine.launch(&self.module, "k", [blocks, 1, 1], [threads, 1, 1], shared, &parameters).map(|_| ())
    }

    pub fn output(&self) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; self.output_bytes];
        self.machine.read(self.output, &mut bytes)?;
        Ok(bytes)
    }

    pub fn output_words(&self) -> Vec<u32> {
        words(&self.output().unwrap_or_else(|fault| panic!("{fault}")))
    }
}

pub fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

pub fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Runs `body` for each case in a lane of its own: input `n` is in `%r{n+1}`, `%d{n+1}` and `%h{n+1}`, and the result
/// is expected in the register `result`.
pub fn check(body: &str, result: &str, cases: &[(&[u64], u64)]) {
    let mut load = format!("mad.wide.u32 %d62, %r60, {}, %d60;\nmad.wide.u32 %d63, %r60, 8, %d61;\n", 8 * INPUTS);
    for input in 0..INPUTS {
        let (register, offset) = (input + 1, 8 * input);
        load += &format!("ld.global.u64 %d{register}, [%d62+{offset}];\n");
        load += &format!("cvt.u32.u64 %r{register}, %d{register};\ncvt.u16.u32 %h{register}, %r{register};\n");
    }
    let store = match &result[..2] {
        "%d" => format!("st.global.u64 [%d63], {result};"),
        "%r" => format!("cvt.u64.u32 %d59, {result};\nst.global.u64 [%d63], %d59;"),
        "%h" => format!("cvt.u64.u16 %d59, {result};\nst.global.u64 [%d63], %d59;"),
        "%p" => format!("selp.b64 %d59, 1, 0, {result};\nst.global.u64 [%d63], %d59;"),
        _ => panic!("{result} is no register"),
    };
    let mut input = Vec::new();
    for (case, _) in cases {
        let padded = case.iter().copied().chain(std::iter::repeat(0)).take(INPUTS);
        input.extend(padded.flat_map(u64::to_le_bytes));
    }
    let mut bench = Bench::new("", &format!("{load}{body}\n{store}"), &input, 8 * cases.len());
    bench.launch(1, cases.len() as u32, 0).unwrap_or_else(|fault| panic!("{body}: {fault}"));
    let output = bench.output().unwrap();
    for ((inputs, expected), found) in cases.iter().zip(output.chunks_exact(8)) {
        let found = u64::from_le_bytes(found.try_into().unwrap());
        assert_eq!(found, *expected, "{body} of {inputs:x?}: found {found:#x}, expected {expected:#x}");
    }
}

/// Runs `body` in one block; `input` is what lies at `%d60`. The result is the output as words.
pub fn run(body: &str, input: &[u32], threads: u32, outputs: usize) -> Result<Vec<u32>, Fault> {
    run_with("", body, input, threads, outputs)
}

pub fn run_with(before: &str, body: &str, input: &[u32], threads: u32, outputs: usize) -> Result<Vec<u32>, Fault> {
    let mut bench = Bench::new(before, body, &bytes_of(input), 4 * outputs);
    bench.launch(1, threads, 0)?;
    Ok(words(&bench.output()?))
}

/// The fault of a snippet that must fail, under a fixed and under random schedules.
pub fn fault_of(before: &str, body: &str, blocks: u32, threads: u32) -> Fault {
    let fault = |schedule| {
        let mut bench = Bench::new(before, body, &[0; 4096], 4096);
        bench.machine.set_schedule(schedule);
        bench.launch(blocks, threads, 0).expect_err(body)
    };
    let first = fault(Schedule::RoundRobin);
    for seed in 0..5 {
        let other = fault(Schedule::Random(seed));
        assert_eq!(other.kind, first.kind, "seed {seed}: {other}");
    }
    first
}

pub fn expect_fault(body: &str, threads: u32, kind: FaultKind) -> Fault {
    let fault = fault_of("", body, 1, threads);
    assert_eq!(fault.kind, kind, "{body}: {fault}");
    fault
}

pub const fn f32_bits(value: f32) -> u64 {
    value.to_bits() as u64
}
