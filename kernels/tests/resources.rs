//! What ptxas said about every kernel on every architecture of this build.

use obsdiff_kernels::image::{ALL, RESOURCES};

/// Shared memory that a block gets without asking for more.
const STATIC_SHARED_BYTES: u32 = 48 * 1024;

/// One line of the table.
struct Usage<'a> {
    file: &'a str,
    kernel: &'a str,
    architecture: &'a str,
    registers: u32,
    spill_bytes: u32,
    shared_bytes: u32,
}

fn table() -> Vec<Usage<'static>> {
    let mut lines = RESOURCES.lines();
    let header: Vec<&str> = lines.next().expect("a header").split('\t').collect();
    let at = |name: &str| header.iter().position(|column| *column == name).expect("a column of that name");
    let [file, kernel, architecture] = ["file", "kernel", "architecture"].map(at);
    let [registers, spill, shared] = ["registers", "spill_bytes", "shared_bytes"].map(at);
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let number = |column: usize| fields[column].parse().expect("a number");
            Usage {
                file: fields[file],
                kernel: fields[kernel],
                architecture: fields[architecture],
                registers: number(registers),
                spill_bytes: number(spill),
                shared_bytes: number(shared),
            }
        })
        .collect()
}

#[test]
fn no_kernel_spills_a_register() {
    let table = table();
    println!(
        "{:<12} {:<32} {:<8} {:>9} {:>6} {:>13}",
        "file", "kernel", "target", "registers", "spill", "static shared"
    );
    for Usage { file, kernel, architecture, registers, spill_bytes, shared_bytes } in &table {
        println!("{file:<12} {kernel:<32} {architecture:<8} {registers:>9} {spill_bytes:>6} {shared_bytes:>13}");
    }
    let spilling: Vec<String> = (table.iter().filter(|usage| usage.spill_bytes > 0))
        .map(|usage| format!("{} on {}: {} bytes", usage.kernel, usage.architecture, usage.spill_bytes))
        .collect();
    assert!(spilling.is_empty(), "kernels that spill:\n{}", spilling.join("\n"));
}

#[test]
fn every_kernel_is_compiled_for_the_same_architectures() {
    let table = table();
    for image in ALL {
        assert!(table.iter().any(|usage| usage.file == image.name), "{} has no kernel in the table", image.name);
    }
    let architectures = |kernel: &str| -> Vec<&str> {
        let mut found: Vec<&str> =
            (table.iter().filter(|usage| usage.kernel == kernel)).map(|usage| usage.architecture).collect();
        found.sort_unstable();
        found
    };
    let expected = architectures(table[0].kernel);
    for usage in &table {
        assert_eq!(architectures(usage.kernel), expected, "{}", usage.kernel);
        assert!(usage.registers > 0, "{} on {} has no account of registers", usage.kernel, usage.architecture);
        assert!(usage.shared_bytes <= STATIC_SHARED_BYTES, "{} on {}", usage.kernel, usage.architecture);
    }
}
