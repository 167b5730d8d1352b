//! Small kernels as nvcc 13 compiles them (`data/*.ptx`, made by `data/generate` from the `.cu` files beside them):
//! right results under a fixed and under random schedules, with no fault.

use half::{bf16, f16};
use obsdiff_ptx::{LaunchStats, Machine, Module, Options, Schedule};

const SCHEDULES: [Schedule; 6] = [
    Schedule::RoundRobin,
    Schedule::Random(1),
    Schedule::Random(2),
    Schedule::Random(3),
    Schedule::Random(4),
    Schedule::Random(5),
];

fn module(name: &str) -> Module {
    let path = format!("{}/tests/data/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    Module::parse(name, &text).unwrap_or_else(|error| panic!("{error}"))
}

fn machine(schedule: Schedule) -> Machine {
    Machine::new(Options { schedule, resident_blocks: 3, max_steps: 1 << 24 })
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn put(machine: &mut Machine, name: &str, bytes: &[u8]) -> u64 {
    let address = machine.allocate(bytes.len(), name);
    machine.write(address, bytes).unwrap();
    address
}

fn get(machine: &Machine, address: u64, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * count];
    machine.read(address, &mut bytes).unwrap_or_else(|fault| panic!("{fault}"));
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// A struct of pointers, then 32-bit fields, padded to a multiple of 8 bytes.
fn parameters(pointers: &[u64], fields: &[u32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = pointers.iter().flat_map(|pointer| pointer.to_le_bytes()).collect();
    bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn launch(
    machine: &mut Machine,
    name: &str,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    parameters: &[u8],
) -> LaunchStats {
    machine.launch(&module(name), name, grid, block, shared, parameters).unwrap_or_else(|fault| panic!("{fault}"))
}

/// Small whole numbers, so that sums are exact in any order.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 37 % 101) as f32 - 50.0).collect()
}

#[test]
fn saxpy_covers_every_element_once() {
    for n in [1, 31, 32, 33, 255, 1000] {
        for schedule in SCHEDULES {
            let mut machine = machine(schedule);
            let (x, y) = (numbers(n), vec![0.5; n]);
            let (px, py) = (put(&mut machine, "x", &floats(&x)), put(&mut machine, "y", &floats(&y)));
            let parameters = parameters(&[px, py], &[n as u32, 2f32.to_bits()]);
            launch(&mut machine, "saxpy", [3, 1, 1], [64, 1, 1], 0, &parameters);
            let expected: Vec<f32> = x.iter().map(|x| 2.0 * x + 0.5).collect();
            assert_eq!(get(&machine, py, n), expected, "n = {n}");
        }
    }
}

#[test]
fn block_sum_adds_each_block() {
    for schedule in SCHEDULES {
        let mut machine = machine(schedule);
        let x = numbers(2500);
        let px = put(&mut machine, "x", &floats(&x));
        let out = machine.allocate(12, "out");
        launch(&mut machine, "block_sum", [3, 1, 1], [256, 1, 1], 0, &parameters(&[px, out], &[2500]));
        let expected: Vec<f32> = x.chunks(1024).map(|part| part.iter().sum()).collect();
        assert_eq!(get(&machine, out, 3), expected);
    }
}

#[test]
fn transpose_of_ragged_sizes() {
    for (rows, columns) in [(1, 1), (32, 32), (33, 31), (70, 40)] {
        for schedule in SCHEDULES {
            let mut machine = machine(schedule);
            let x = numbers(rows * columns);
            let input = put(&mut machine, "in", &floats(&x));
            let out = machine.allocate(4 * rows * columns, "out");
            let grid = [columns.div_ceil(32) as u32, rows.div_ceil(32) as u32, 1];
            let parameters = parameters(&[input, out], &[rows as u32, columns as u32]);
            launch(&mut machine, "transpose", grid, [32, 8, 1], 0, &parameters);
            let found = get(&machine, out, rows * columns);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(found[column * rows + row], x[row * columns + column], "({row}, {column})");
                }
            }
        }
    }
}

#[test]
fn pipeline_sees_every_stage_whole() {
    for n in [1usize, 4, 511, 512, 513, 2050] {
        for schedule in SCHEDULES {
            let mut machine = machine(schedule);
            // The source ends with n, and only whole words of it are read.
            let x: Vec<i32> = (0..n as i32).map(|i| i * i).collect();
            let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
            let input = put(&mut machine, "in", &bytes);
            let out = machine.allocate(4 * n, "out");
            let shared = 3 * 512 * 4;
            launch(&mut machine, "pipeline", [1; 3], [128, 1, 1], shared, &parameters(&[input, out], &[n as u32]));
            let mut bytes = vec![0; 4 * n];
            machine.read(out, &mut bytes).unwrap();
            for i in 0..n {
                let other = i / 512 * 512 + (i + 256) % 512;
                let expected = x[i] + x.get(other).copied().unwrap_or(0);
                let found = i32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap());
                assert_eq!(found, expected, "n = {n}, element {i}");
            }
        }
    }
}

#[test]
fn tile_multiplies_on_tensor_cores() {
    for k in [16, 32, 80] {
        let mut machine = machine(Schedule::RoundRobin);
        let matrix = |rows: usize, step: usize| -> Vec<bf16> {
            (0..rows * k).map(|i| bf16::from_f32((i * step % 13) as f32 - 6.0)).collect()
        };
        let bytes = |m: &[bf16]| m.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let (a, b) = (matrix(16, 5), matrix(8, 7));
        let (pa, pb) = (put(&mut machine, "a", &bytes(&a)), put(&mut machine, "b", &bytes(&b)));
        let pc = machine.allocate(16 * 8 * 4, "c");
        launch(&mut machine, "tile", [1; 3], [32, 1, 1], 0, &parameters(&[pa, pb, pc], &[k as u32]));
        let found = get(&machine, pc, 16 * 8);
        for row in 0..16 {
            for column in 0..8 {
                let products = (0..k).map(|at| a[row * k + at].to_f32() * b[column * k + at].to_f32());
                assert_eq!(found[row * 8 + column], products.sum::<f32>(), "k = {k}, ({row}, {column})");
            }
        }
    }
}

#[test]
fn the_last_block_sees_all_parts_and_resets_the_counter() {
    for schedule in SCHEDULES {
        let mut machine = machine(schedule);
        let n = 3000;
        let x = numbers(n);
        let px = put(&mut machine, "x", &floats(&x));
        let parts = machine.allocate(5 * 4, "parts");
        let counter = put(&mut machine, "counter", &[0; 4]);
        let out = machine.allocate(4, "out");
        let parameters = parameters(&[px, parts, counter, out], &[n as u32]);
        for _ in 0..2 {
            launch(&mut machine, "last_block", [5, 1, 1], [128, 1, 1], 0, &parameters);
            assert_eq!(get(&machine, out, 1), [x.iter().sum::<f32>()]);
        }
    }
}

/// What each row of `functions.cu` computes, in f64.
fn function_rows(x: &[f32], i: usize) -> Vec<f64> {
    let v = f64::from(x[i]);
    let n = (x[i] * 1000.0) as i32;
    let table = [1.0, -2.0, 0.5, 3.0];
    let slot = (0..8).find(|k| (k * 3 + i) & 7 == i & 7).unwrap();
    let bf = |value: f32| bf16::from_f32(value).to_f32();
    let hf = |value: f32| f16::from_f32(value).to_f32();
    let coefficients = [0, 1, 2, 3].map(|at| f64::from(x[at]));
    vec![
        v.exp(),
        v.exp2(),
        (v.abs() + 0.5).ln(),
        v.tanh(),
        erf(v),
        f64::from(1e6 * x[i]).sin(),
        v.abs().sqrt(),
        1.0 / (v.abs() + 1.0).sqrt(),
        (v.abs() + 0.1).powf(1.5),
        1.0 / (1.0 + (-v).exp()),
        v % 0.75,
        v.exp() + v.abs().sqrt(),
        f64::from(bf(bf(x[i]) * 3.0)),
        f64::from(hf(hf(x[i]) + 0.5)),
        f64::from(hf(x[i])).exp(),
        coefficients.iter().fold(0.0, |sum, c| sum * v + c),
        table[slot & 3] * slot as f64,
        f64::from(n / 7 + n % 13),
        f64::from(n as u32 / 10 % 1000),
        match i % 6 {
            0 => v + 1.0,
            1 => v * 2.0,
            2 => v.floor(),
            3 => v.ceil(),
            4 => (v * 4.0).round_ties_even(),
            _ => -v,
        },
    ]
}

/// The error function by its Taylor series, for |x| of a few units.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn functions_agree_with_mathematics() {
    let n = 150;
    let mut machine = machine(Schedule::RoundRobin);
    let x: Vec<f32> = (0..n).map(|i| (i as f32 - 74.3) / 25.0).collect();
    let px = put(&mut machine, "x", &floats(&x));
    let rows = function_rows(&x, 0).len();
    let out = machine.allocate(4 * rows * n, "out");
    launch(&mut machine, "functions", [2, 1, 1], [96, 1, 1], 0, &parameters(&[px, out], &[n as u32]));
    let found = get(&machine, out, rows * n);
    for i in 0..n {
        for (row, expected) in function_rows(&x, i).into_iter().enumerate() {
            let value = f64::from(found[row * n + i]);
            // Row 14 is rounded to f16; the others are good to a few ulp of f32.
            let tolerance = if row == 14 { 1e-3 } else { 2e-6 } * expected.abs().max(0.1);
            assert!((value - expected).abs() <= tolerance, "row {row}, x = {}: {value}, expected {expected}", x[i]);
        }
    }
}
