//! One warp runs a few instructions between loads of their operands and stores of their results.

use obsdiff_ptx::{Fault, Machine, Module, Options, ParseError};

/// One value per lane, in the low bits.
pub type Lanes = [u64; 32];

/// Bytes between the operands of two lanes.
const STRIDE: usize = 8;

/// A kernel text: `body` finds its operands in %a0, %a1, ... of the given widths in bits, and leaves its results in
/// %d0, %d1, ... It may use %lane, %t0 to %t15 (32 bits), %q0 to %q7 (64 bits), %p0 to %p7, and `shared`, 1024 bytes
/// of shared memory.
fn text(body: &str, operands: &[u32], results: &[u32]) -> String {
    let mut lines = vec![
        ".version 9.0\n.target sm_90a\n.address_size 64".to_owned(),
        ".visible .entry forms(.param .u64 operands, .param .u64 results)\n{".to_owned(),
        ".shared .align 16 .b8 shared[1024];".to_owned(),
        ".reg .b32 %lane; .reg .b32 %t<16>; .reg .b64 %q<8>; .reg .pred %p<8>; .reg .b64 %from; .reg .b64 %to;"
            .to_owned(),
    ];
    let declare = |name: &'static str, widths: &[u32]| {
        let one = |(place, bits): (usize, &u32)| format!(".reg .b{bits} %{name}{place};");
        widths.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    lines.extend(declare("a", operands));
    lines.extend(declare("d", results));
    lines.push("mov.u32 %lane, %tid.x;".to_owned());
    for (register, parameter, count) in [("from", "operands", operands.len()), ("to", "results", results.len())] {
        lines.push(format!("ld.param.u64 %{register}, [{parameter}];"));
        lines.push(format!("mad.wide.u32 %{register}, %lane, {}, %{register};", STRIDE * count));
    }
    for (place, bits) in operands.iter().enumerate() {
        lines.push(format!("ld.global.b{bits} %a{place}, [%from+{}];", STRIDE * place));
    }
    lines.push(body.to_owned());
    for (place, bits) in results.iter().enumerate() {
        lines.push(format!("st.global.b{bits} [%to+{}], %d{place};", STRIDE * place));
    }
    lines.push("ret;\n}\n".to_owned());
    lines.join("\n")
}

/// Whether the text is understood at all.
pub fn parse(body: &str, operands: &[u32], results: &[u32]) -> Result<Module, ParseError> {
    Module::parse("forms", &text(body, operands, results))
}

/// Runs `body` on operands of the given widths.
#[track_caller]
pub fn run(body: &str, operands: &[(u32, Lanes)], results: &[u32]) -> Result<Vec<Lanes>, Fault> {
    let widths: Vec<u32> = operands.iter().map(|operand| operand.0).collect();
    let module = parse(body, &widths, results).unwrap_or_else(|error| panic!("{error}\n{body}"));
    let mut machine = Machine::new(Options::default());
    let from = machine.allocate((STRIDE * operands.len() * 32).max(STRIDE), "operands");
    let to = machine.allocate((STRIDE * results.len() * 32).max(STRIDE), "results");
    let mut bytes = Vec::new();
    for lane in 0..32 {
        operands.iter().for_each(|(_, values)| bytes.extend(values[lane].to_le_bytes()));
    }
    if !bytes.is_empty() {
        machine.write(from, &bytes).expect("the operands fit");
    }
    machine.fill(to, 0, (STRIDE * results.len() * 32).max(STRIDE)).expect("the results fit");
    let parameters = [from.to_le_bytes(), to.to_le_bytes()].concat();
    machine.launch(&module, "forms", [1; 3], [32, 1, 1], 0, &parameters)?;
    let mut bytes = vec![0; STRIDE * results.len() * 32];
    machine.read(to, &mut bytes)?;
    let word = |place: usize, lane: usize| {
        let at = STRIDE * (lane * results.len() + place);
        u64::from_le_bytes(bytes[at..at + STRIDE].try_into().expect("eight bytes"))
    };
    Ok((0..results.len()).map(|place| std::array::from_fn(|lane| word(place, lane))).collect())
}
