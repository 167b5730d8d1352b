//! What ptxas says that each kernel uses, as a table.

use std::fs;
use std::path::Path;

/// Resources of one kernel on one architecture.
#[derive(Default)]
struct Usage {
    kernel: String,
    architecture: String,
    registers: u32,
    spill_bytes: u32,
    stack_bytes: u32,
    shared_bytes: u32,
}

/// Writes `resources.tsv`: file, kernel, architecture, registers per thread, bytes spilled per thread, stack bytes
/// per thread, static shared memory per block.
pub fn write(out: &Path, names: &[String]) -> Result<(), String> {
    let mut table = String::from("file\tkernel\tarchitecture\tregisters\tspill_bytes\tstack_bytes\tshared_bytes\n");
    for name in names {
        let path = out.join(format!("{name}.log"));
        let log = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for usage in parse(&log) {
            let Usage { kernel, architecture, registers, spill_bytes, stack_bytes, shared_bytes } = usage;
            table += &format!(
                "{name}\t{kernel}\t{architecture}\t{registers}\t{spill_bytes}\t{stack_bytes}\t{shared_bytes}\n"
            );
        }
    }
    fs::write(out.join("resources.tsv"), table).map_err(|error| error.to_string())
}

fn parse(log: &str) -> Vec<Usage> {
    let mut found: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let mut parts = rest.split('\'');
            let kernel = parts.next().unwrap_or_default().to_string();
            let architecture = parts.nth(1).unwrap_or_default().to_string();
            found.push(Usage { kernel, architecture, ..Usage::default() });
        }
        let Some(usage) = found.last_mut() else { continue };
        for clause in line.split(',') {
            let number = clause.split_whitespace().find_map(|word| word.parse::<u32>().ok()).unwrap_or(0);
            if clause.contains("bytes stack frame") {
                usage.stack_bytes = number;
            } else if clause.contains("bytes spill") {
                usage.spill_bytes += number;
            } else if clause.contains("registers") {
                usage.registers = number;
            } else if clause.contains("bytes smem") {
                usage.shared_bytes = number;
            }
        }
    }
    found
}
